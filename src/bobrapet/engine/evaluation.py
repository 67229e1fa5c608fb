"""Templates as the engine asks for them: a value, a condition, or why there is none yet or never.

The expression room raises; here an answer is one of a closed set. References of the engine are always to finished
steps, so an expression that is `blocked` reads a key that does not exist and fails (decisions 2, 3, 20); only a wait
step waits. Offloaded data is asked for, and put in place of its references once it is there (decision 8).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from bobrapet.api.payloads import PayloadReference, SelectorError, select
from bobrapet.engine.snapshot import Unreadable
from bobrapet.expressions import Absent, Evaluator, ExpressionError, references

if TYPE_CHECKING:
    from bobrapet.config.operator import OperatorConfig
    from bobrapet.engine.snapshot import RunSnapshot, StepSnapshot

REFERENCE: Final = "$bubuStorageRef"

observers: Final[list[Callable[[str, bool, float], None]]] = []
"""Hear of each evaluation: the kind of its template, whether it gave a value, and the seconds that it took. They count;
no decision depends on them."""

_NOT_IN_ALIAS: Final = re.compile("[^A-Za-z0-9_]")


@dataclass(frozen=True, slots=True)
class Value:
    value: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The expression cannot be evaluated; the message tells why and where."""

    message: str
    is_final: bool = True
    """Whether it will never be otherwise; a wait step may still become true when it is False."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Offloaded values must be read first."""

    references: tuple[Mapping[str, Any], ...]


Materialize = Callable[[Literal["condition", "object"], Any, Mapping[str, Any]], "Value | Failed | Needs"]
"""Lets a component evaluate a template, given the mode, the template and the values that it reads. `Needs` without
references: the component has not answered yet."""


@dataclass(frozen=True, slots=True)
class Offloaded:
    """What is known of data that lies in storage."""

    can_be_read: bool
    payloads: Mapping[str, Any]
    """Storage path -> the value there, or `Unreadable`."""


def offloaded(snapshot: RunSnapshot | StepSnapshot) -> Offloaded:
    return Offloaded(snapshot.has_storage, snapshot.payloads)


class Templates:
    """Templates over one context: `inputs` and `steps`."""

    def __init__(
        self,
        context: Mapping[str, Any],
        config: OperatorConfig,
        offloaded: Offloaded,
        materialize: Materialize | None = None,
        *,
        kind: str,
        prefers_component: bool = False,
    ) -> None:
        """
        Args:
            kind: where the templates stand, for who counts them: `if`, `with`, `until`, `output` ...
            materialize: lets a component evaluate what the controller cannot; None: nothing does.
            prefers_component: and what it could, too (decision 8: the `with` of a step under the policy inject).
        """
        self._context = context
        self._offloaded = offloaded
        self._materialize = materialize
        self._prefers_component = prefers_component
        self._policy = config.templating.offloaded_data_policy
        self._evaluator = _evaluator(
            config.templating.evaluation_timeout.total_seconds(),
            config.templating.max_output_bytes,
            config.templating.deterministic,
            kind,
        )

    def value(self, template: Any) -> Value | Failed | Needs:
        """Any JSON value with the templates in it replaced by what they give."""
        return self._answer(template, lambda context: Value(self._evaluator.resolve(template, context)))

    def text(self, template: str) -> Value | Failed | Needs:
        """The text that a template gives."""
        return self._answer(template, lambda context: Value(_text(self._evaluator.resolve(template, context))))

    def condition(self, template: str) -> bool | Failed | Needs:
        """Whether a condition holds."""
        found = self._answer(
            template, lambda context: Value(self._evaluator.condition(template, context)), mode="condition"
        )
        return bool(found.value) if isinstance(found, Value) else found

    def _answer(
        self,
        template: Any,
        evaluate: Callable[[Mapping[str, Any]], Value],
        mode: Literal["condition", "object"] = "object",
    ) -> Value | Failed | Needs:
        works_on_stored = self._works_on_stored(template, mode)
        if not works_on_stored:
            try:
                return evaluate(self._context)
            except ExpressionError as error:
                if error.kind != "offloaded":
                    return _failed(error)
        context = self._narrowed(template)
        if not works_on_stored:
            try:
                return evaluate(context)  # what is offloaded beside the values that are read does not matter
            except ExpressionError as again:
                if again.kind != "offloaded":
                    return _failed(again)
        if self._policy == "error":
            return Failed("it reads offloaded data, which templating.offloaded-data-policy (error) forbids")
        materialize = self._materialize
        if materialize is not None and (self._prefers_component or not self._offloaded.can_be_read):
            return materialize(mode, template, plain(self._read(template, context)))
        if not self._offloaded.can_be_read:
            return Failed("it reads offloaded data, and this operator has no storage to read it from")
        read = distinct(stored_in(self._read(template, context)))
        payloads = self._offloaded.payloads
        missing = tuple(reference for reference in read if reference[REFERENCE] not in payloads)
        if missing:
            return Needs(missing)
        for reference in read:
            if isinstance(payload := payloads[reference[REFERENCE]], Unreadable):
                if payload.is_too_large and materialize is not None:
                    return materialize(mode, template, plain(self._read(template, context)))
                return Failed(f"it reads offloaded data that cannot be read: {payload.message}")
        try:
            return evaluate(_hydrated(context, payloads))
        except ExpressionError as error:
            return _failed(error)
        except SelectorError as error:
            return Failed(str(error))

    def _works_on_stored(self, template: Any, mode: Literal["condition", "object"]) -> bool:
        """Whether a template needs stored data, although the expressions would not say so and take the reference for
        the value: a function over an input of the run (they know of outputs only, spec expressions 9.1), and a
        condition that is nothing but a path (decision 8)."""
        is_condition = mode == "condition"
        return any(
            (is_condition or (reference.root == "inputs" and not reference.is_plain))
            and _leads_to_stored(self._context, reference.path)
            for reference in references(template)
        )

    def _narrowed(self, template: Any) -> Mapping[str, Any]:
        """The context with only those inputs and outputs that a template reads, where it reads them by name."""
        read: set[str] | None = set()
        wanted: dict[str, set[str] | None] = {}
        for reference in references(template):
            path = reference.path
            if reference.root == "inputs":
                read = _and(read, path[1:])
            elif reference.step is not None:
                known = wanted.setdefault(reference.step, set())
                wanted[reference.step] = _and(known, path[3:] if path[2:3] in (("output",), ("outputs",)) else ())
        steps = dict(self._context.get("steps", {}))
        for name, keys in wanted.items():
            entry = steps.get(name)
            if keys is None or not isinstance(entry, Mapping):
                continue
            output = entry.get("output")
            if isinstance(output, Mapping) and PayloadReference.parse(output) is None:
                kept = {key: value for key, value in output.items() if key in keys}
                steps[name] = {**entry, "output": kept, "outputs": kept}
        inputs = self._context.get("inputs")
        if read is not None and isinstance(inputs, Mapping) and PayloadReference.parse(inputs) is None:
            inputs = {key: value for key, value in inputs.items() if key in read}
        return {**self._context, "inputs": inputs, "steps": steps}

    def _read(self, template: Any, context: Mapping[str, Any]) -> dict[str, Any]:
        """The part of the context that a template reads."""
        steps, inputs = context.get("steps", {}), context.get("inputs")
        return {
            "inputs": inputs if any(reference.root == "inputs" for reference in references(template)) else {},
            "steps": {name: steps[name] for name in references_in(template) if name in steps},
        }


def _and(known: set[str] | None, path: tuple[str | int, ...]) -> set[str] | None:
    """The keys that are read, with the first one of another path; None: all of them."""
    if known is None or not path or not isinstance(path[0], str):
        return None
    return {*known, path[0]}


def _failed(error: ExpressionError) -> Failed:
    """What is wrong with the text itself stays wrong; what is wrong with the data may be right later."""
    return Failed(str(error), is_final=error.kind in ("parse", "wrapper", "depth"))


def post_execution(snapshot: StepSnapshot, name: str, condition: str, output: Any) -> bool | Failed:
    """Whether the check of a step's own output holds; it sees the step, its outputs and the inputs of the run."""
    entry = finished_step(output)
    inputs = (snapshot.run.spec.inputs or {}) if snapshot.run is not None else {}
    context = {"inputs": inputs, "outputs": output, "steps": {name: entry, alias_of(name): entry}}
    match Templates(context, snapshot.config, offloaded(snapshot), kind="postExecution").condition(condition):
        case Needs():
            return Failed("it reads offloaded data, which a check cannot")
        case verdict:
            return verdict


def references_in(template: Any) -> frozenset[str]:
    """Names of the steps that the templates inside a JSON value read."""
    return frozenset(reference.step for reference in references(template) if reference.step)


def alias_of(name: str) -> str:
    """The name under which templates may write a step: letters, digits and underscores only."""
    return _NOT_IN_ALIAS.sub("_", name)


def finished_step(output: Mapping[str, Any], signals: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The context entry of a step that succeeded."""
    return {"output": output, "outputs": output, "phase": "Succeeded"} | ({"signals": signals} if signals else {})


def absent_step(signals: Mapping[str, Any] | None = None) -> Any:
    """The context entry of a step that ended without success: null at any depth."""
    return {"output": Absent, "outputs": Absent, "signals": signals} if signals else Absent


def unfinished_step(signals: Mapping[str, Any]) -> dict[str, Any]:
    """The context entry of a step that runs: only what it signals."""
    return {"signals": signals}


def is_null(context: Mapping[str, Any], path: str) -> bool:
    """Whether a dot path such as `steps.fetch.output.id` leads to nothing or null."""
    value: Any = context
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return True
        value = value[part]
    return value is None or value is Absent


def plain(context: Mapping[str, Any]) -> dict[str, Any]:
    """A context as JSON, for a component: absent steps have empty outputs."""
    steps = {
        name: {"output": {}, "outputs": {}} if entry is Absent else _without_absent(entry)
        for name, entry in context["steps"].items()
    }
    return {"inputs": context["inputs"], "steps": steps}


def _without_absent(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: {} if value is Absent else value for key, value in entry.items()}


@lru_cache(maxsize=64)
def _evaluator(timeout: float, max_output_bytes: int, deterministic: bool, kind: str) -> Evaluator:
    def observe(gave_value: bool, seconds: float) -> None:
        for observer in observers:
            observer(kind, gave_value, seconds)

    return Evaluator(timeout=timeout, max_output_bytes=max_output_bytes, deterministic=deterministic, observe=observe)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def distinct(references: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Each stored object once."""
    return tuple({reference[REFERENCE]: reference for reference in references}.values())


def _leads_to_stored(value: Any, path: tuple[str | int, ...]) -> bool:
    """Whether a path comes to a storage reference, or ends at a value that holds one."""
    for part in path:
        if PayloadReference.parse(value) is not None:
            return True
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return False
    return any(stored_in(value))


def stored_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """The storage references inside a value."""
    if isinstance(value, Mapping):
        if PayloadReference.parse(value) is not None:
            yield value
            return
        for member in value.values():
            yield from stored_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from stored_in(member)


def _hydrated(value: Any, payloads: Mapping[str, Any]) -> Any:
    """`value` with references replaced by what they refer to, where that was read. Raises SelectorError."""
    if isinstance(value, Mapping):
        reference = PayloadReference.parse(value)
        if reference is not None and reference.path in payloads:
            return select(payloads[reference.path], reference.selector)
        return {key: _hydrated(member, payloads) for key, member in value.items()}
    if isinstance(value, list):
        return [_hydrated(member, payloads) for member in value]
    return value
