"""Evaluates values that hold expressions: any JSON value in, a JSON value out (spec expressions 2.4, 3, 7)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from bobrapet.expressions.errors import ExpressionError
from bobrapet.expressions.functions import DETERMINISTIC_LIBRARY, LIBRARY
from bobrapet.expressions.limits import Run
from bobrapet.expressions.parser import NESTING_LIMIT
from bobrapet.expressions.program import Program
from bobrapet.expressions.wrapper import TEMPLATE_KEY, VARIABLES_KEY

CACHE_SIZE = 1000
"""Compiled strings that are kept, of those with the functions and of those without the random ones."""

_TRUE = frozenset({"true", "1", "yes", "y"})
_FALSE = frozenset({"false", "0", "no", "n", ""})


LARGEST_CACHED = 16 * 1024
"""Characters of a string that is kept. Longer ones are compiled each time, with an eye on the clock."""


def cache_hits() -> int:
    """How often a compiled string was found, since the process began."""
    return compiled_text.cache_info().hits


@lru_cache(CACHE_SIZE)
def compiled_text(text: str, deterministic: bool) -> Program:
    """Returns the program of a template, which evaluators share; raises ExpressionError of kind `parse`."""
    return Program(text, DETERMINISTIC_LIBRARY if deterministic else LIBRARY)


class Evaluator:
    """Replaces the expressions in JSON values by what they mean in a context.

    `deterministic`: the functions that read the clock or random numbers do not exist.
    `max_output_bytes`: limit for the text of one template; None or 0: none.
    `timeout`: seconds for one call; None or 0: none.

    An evaluator has no state besides these; it may be used from any number of threads. Contexts are only read.
    """

    __slots__ = ("_clock", "_deterministic", "_max_output_bytes", "_observe", "_timeout")

    def __init__(
        self,
        deterministic: bool = False,
        max_output_bytes: int | None = None,
        timeout: float | None = None,
        *,
        clock: Callable[[], int] = time.time_ns,
        observe: Callable[[bool, float], None] | None = None,
    ) -> None:
        """`clock` tells the nanoseconds since 1970 that `now` returns. `observe` hears of each call with an expression
        in it: whether it gave a value, and how many seconds it took."""
        if max_output_bytes is not None and max_output_bytes < 0:
            raise ValueError(f"max_output_bytes is {max_output_bytes}; it must not be negative")
        if timeout is not None and timeout < 0:
            raise ValueError(f"timeout is {timeout}; it must not be negative")
        self._deterministic = deterministic
        self._max_output_bytes = max_output_bytes
        self._timeout = timeout
        self._clock = None if deterministic else clock
        self._observe = observe

    def resolve(self, value: Any, context: Mapping[str, Any]) -> Any:
        """Returns `value` with every expression in it evaluated.

        `context` maps the roots (`inputs`, `steps`, `packet`) and any further variables to JSON values, which may hold
        `Absent`. Raises ExpressionError.
        """
        if self._observe is None or (type(value) is str and "{{" not in value):
            return self._resolve(value, context)
        began, gave_value = time.perf_counter(), False
        try:
            result = self._resolve(value, context)
            gave_value = True
        finally:
            self._observe(gave_value, time.perf_counter() - began)
        return result

    def _resolve(self, value: Any, context: Mapping[str, Any]) -> Any:
        if type(value) is str:
            return self.resolve_text(value, context, None)
        deadline = time.monotonic() + self._timeout if self._timeout else None
        return _Resolution(self, context, deadline).resolve(value, 0, ())

    def condition(self, value: Any, context: Mapping[str, Any]) -> bool:
        """Returns what `value` means as a condition (spec expressions 11.1); blank text is true.

        Raises ExpressionError of kind `notBoolean` for a result that is neither.
        """
        if isinstance(value, str) and not value.strip():
            return True
        result = self.resolve(value, context)
        if isinstance(result, bool):
            return result
        if isinstance(result, str):
            word = result.strip().lower()
            if word in _TRUE:
                return True
            if word in _FALSE:
                return False
        hint = ""
        if isinstance(value, str) and "{{" not in value:
            hint = "; text without {{ }} is not evaluated"
        raise ExpressionError(
            "notBoolean",
            f"a condition must be true or false, not {_shown(result)}{hint}",
            template=value if isinstance(value, str) else "",
        )

    def resolve_text(self, text: str, context: Any, deadline: float | None) -> Any:
        """Returns what one string means; `deadline` is that of the value that it is a part of."""
        if "{{" not in text:
            return text
        if len(text) <= LARGEST_CACHED:
            program = compiled_text(text, self._deterministic)
            if program.path is not None:
                return program.path(context)
            return program.render(context, Run(self._max_output_bytes, self._timeout, self._clock, deadline))
        run = Run(self._max_output_bytes, self._timeout, self._clock, deadline)
        program = Program(text, DETERMINISTIC_LIBRARY if self._deterministic else LIBRARY, run.check_time)
        return program.path(context) if program.path is not None else program.render(context, run)


class _Resolution:
    """One walk through a container."""

    __slots__ = ("context", "deadline", "evaluator")

    def __init__(self, evaluator: Evaluator, context: Any, deadline: float | None) -> None:
        self.evaluator = evaluator
        self.context = context
        self.deadline = deadline

    def resolve(self, value: Any, depth: int, outer: tuple[int, ...]) -> Any:
        """`outer` holds the identities of the containers around `value`."""
        if isinstance(value, str):
            return self.evaluator.resolve_text(str(value), self.context, self.deadline)
        if not isinstance(value, (dict, list, tuple)):
            return value
        if depth >= NESTING_LIMIT:
            raise ExpressionError("depth", f"nested deeper than {NESTING_LIMIT} levels")
        if id(value) in outer:
            raise ExpressionError("depth", "a container contains itself")
        outer = (*outer, id(value))
        if isinstance(value, dict):
            if TEMPLATE_KEY in value:
                return self.wrapper(value, depth, outer)
            result = {}
            for key, element in value.items():
                try:
                    result[key] = self.resolve(element, depth + 1, outer)
                except ExpressionError as problem:
                    raise problem.inside(str(key)) from None
            return result
        elements = []
        for index, element in enumerate(value):
            try:
                elements.append(self.resolve(element, depth + 1, outer))
            except ExpressionError as problem:
                raise problem.inside(f"[{index}]") from None
        return elements

    def wrapper(self, value: dict[str, Any], depth: int, outer: tuple[int, ...]) -> Any:
        """Evaluates a `$bubuTemplate` object in the context and its own variables."""
        template = value[TEMPLATE_KEY]
        if not isinstance(template, str):
            raise ExpressionError("wrapper", f"{TEMPLATE_KEY} must be a string, not {_shown(template)}")
        variables = value.get(VARIABLES_KEY)
        if variables is not None:
            try:
                variables = self.resolve(variables, depth + 1, outer)
            except ExpressionError as problem:
                raise problem.inside(VARIABLES_KEY) from None
            if variables is not None and not isinstance(variables, dict):
                raise ExpressionError("wrapper", f"{VARIABLES_KEY} must be an object, not {_shown(variables)}")
        context = {**self.context, **variables} if variables else self.context
        return self.evaluator.resolve_text(str(template), context, self.deadline)


def _shown(value: Any) -> str:
    """A short description of a value for a message."""
    if isinstance(value, str):
        return f"the text “{value if len(value) <= 40 else value[:40] + '…'}”"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return "an object" if isinstance(value, dict) else "a list"
