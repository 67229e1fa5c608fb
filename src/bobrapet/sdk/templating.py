"""Templates that an operator left for the component (workloads 24.1, rules 6 and 7; expressions 8).

The Go operator does not read stored data: a template that reads an output which lies in storage reaches the component
as it was written, with `BUBU_TEMPLATE_CONTEXT` to evaluate it in. Ours never does that, and says so by
`BUBU_SKIP_INPUT_TEMPLATING`.

Everything else in inputs and configuration was evaluated before, and may hold what a stranger wrote. So a text is
evaluated only when it reads something that is a reference in the context: no other text can have been left over.
Stored data itself is never evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bobrapet.api import env
from bobrapet.sdk.durations import parse_duration
from bobrapet.sdk.environment import json_object
from bobrapet.sdk.errors import ComponentFault, EnvironmentInvalid

if TYPE_CHECKING:
    from bobrapet.expressions import Evaluator

_EVALUATION_TIMEOUT = 30.0
_OMITTED = "$bubuOmitted"

Hydrate = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def evaluate_left_over(
    value: Mapping[str, Any],
    environ: Mapping[str, str],
    hydrate: Hydrate,
    *,
    what: str,
    fault: type[ComponentFault],
) -> Mapping[str, Any]:
    """`value` with the templates evaluated that the operator left in it.

    Raises `fault` for a template that cannot be evaluated, EnvironmentInvalid for a malformed context.
    """
    if environ.get(env.SKIP_INPUT_TEMPLATING, "").strip().lower() == "true" or not _holds_template(value):
        return value
    context = json_object(environ, env.TEMPLATE_CONTEXT)
    if env.STORAGE_REF not in environ.get(env.TEMPLATE_CONTEXT, ""):
        return value
    from bobrapet.expressions import ExpressionError

    try:
        evaluated = _LeftOver(environ, context, hydrate).evaluate(value)
    except ExpressionError as error:
        raise fault(f"{what}: a template over stored data cannot be evaluated: {error}") from error
    return dict(evaluated)


class _LeftOver:
    def __init__(self, environ: Mapping[str, str], context: Mapping[str, Any], hydrate: Hydrate) -> None:
        self._context = context
        self._hydrate = hydrate
        self._evaluator = _evaluator(environ)

    def evaluate(self, value: Any) -> Any:
        from bobrapet.expressions.wrapper import TEMPLATE_KEY

        if isinstance(value, Mapping):
            if env.STORAGE_REF in value:
                return value
            if TEMPLATE_KEY in value:
                return self._evaluated(value)
            return {key: self.evaluate(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self.evaluate(part) for part in value]
        return self._evaluated(value) if isinstance(value, str) and "{{" in value else value

    def _evaluated(self, template: Any) -> Any:
        from bobrapet.expressions import references

        read = references(template)
        if not any(self._is_stored(reference.path) for reference in read):
            return template
        # Only what the template reads is fetched: the context may refer to far more.
        steps = self._context.get("steps") or {}
        wanted = {name: steps[name] for name in {reference.step for reference in read} if name in steps}
        return self._evaluator.resolve(template, self._hydrate({**self._context, "steps": wanted}))

    def _is_stored(self, path: tuple[str | int, ...]) -> bool:
        """Whether the way to a value leads through a reference, or the value holds one."""
        found: Any = self._context
        for part in path:
            if isinstance(found, Mapping) and (env.STORAGE_REF in found or _OMITTED in found):
                return True
            try:
                found = found[part]
            except (KeyError, IndexError, TypeError):
                return False
        return _holds_reference(found)


def _evaluator(environ: Mapping[str, str]) -> Evaluator:
    from bobrapet.expressions import Evaluator

    timeout = environ.get(env.TEMPLATE_EVALUATION_TIMEOUT, "").strip()
    limit = environ.get(env.TEMPLATE_MAX_OUTPUT_BYTES, "").strip()
    try:
        return Evaluator(
            max_output_bytes=int(limit) if limit else None,
            timeout=parse_duration(timeout) if timeout else _EVALUATION_TIMEOUT,
        )
    except ValueError as error:
        raise EnvironmentInvalid(f"limits of templates: {error}") from error


def _holds_template(value: Any) -> bool:
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, Mapping):
        return env.STORAGE_REF not in value and any(map(_holds_template, value.values()))
    return isinstance(value, list) and any(map(_holds_template, value))


def _holds_reference(value: Any) -> bool:
    if isinstance(value, Mapping):
        return env.STORAGE_REF in value or any(map(_holds_reference, value.values()))
    return isinstance(value, list) and any(map(_holds_reference, value))
