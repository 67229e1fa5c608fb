"""How a run ends: the phase, the error, the output (spec runs 15.2, 16.1; decisions 14, 18)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bobrapet.api.conditions import MAX_MESSAGE, ConditionType, shorten
from bobrapet.api.enums import Phase
from bobrapet.engine import evaluation
from bobrapet.engine.graph import Block
from bobrapet.engine.materialize import Site
from bobrapet.engine.plans import Event
from bobrapet.engine.status import failed_steps
from bobrapet.engine.work import Cause, Work
from bobrapet.validation.json_schema import InvalidSchema, compile_schema

if TYPE_CHECKING:
    from bobrapet.engine.status import RunStatus

MAX_OUTPUT_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class End:
    """What ending a run brings besides its status."""

    events: tuple[Event, ...] = ()
    loads: tuple[Mapping[str, Any], ...] = ()
    """Offloaded values that the output reads; while there are any, the run goes on."""
    is_early: bool = False
    """Whether a value that the output reads is not in the snapshot yet; until it is, the run goes on."""


def conclude(current: Work, status: RunStatus) -> End:
    """Writes the end of a run whose blocks are all done."""
    main = current.failures(Block.MAIN)
    compensations, cleanup = current.failures(Block.COMPENSATIONS), current.failures(Block.FINALLY)
    ending = current.ending
    if ending is not None and ending.cause is Cause.TIMEOUT:
        return _fail(current, status, Phase.TIMEOUT, "TimedOut", ending.message, main + compensations + cleanup)
    if ending is not None and ending.cause is Cause.CANCEL:
        return _ended(current, status, ending.phase, ending.message, main)
    if cleanup:
        message = f"finally step {cleanup[0]} failed"
        return _fail(current, status, Phase.FAILED, "CleanupFailed", message, main + compensations + cleanup)
    if compensations:
        message = f"compensation {compensations[0]} failed"
        return _fail(current, status, Phase.FAILED, "CompensationFailed", message, main + compensations)
    if ending is not None:
        return _ended(current, status, ending.phase, ending.message, main)
    if main:
        first = current.states[main[0]]
        message = shorten(f"step {main[0]} failed" + (f": {first.message}" if first.message else ""), MAX_MESSAGE)
        if current.graph.has(Block.COMPENSATIONS):
            return _fail(current, status, Phase.COMPENSATED, "Compensated", message, main)
        return _fail(current, status, Phase.FAILED, "DependencyFailed", message, main)
    return _succeed(current, status, "")


def _ended(current: Work, status: RunStatus, phase: Phase, message: str, main: list[str]) -> End:
    """A run that was stopped or canceled."""
    if phase is Phase.SUCCEEDED:
        return _succeed(current, status, message)
    if phase is Phase.FAILED:
        return _fail(current, status, phase, "ExecutionFailed", message, main)
    status.phase(phase, message, reason="Canceled")
    return End((Event("Normal", "StoryRunCanceled", message),))


def _fail(current: Work, status: RunStatus, phase: Phase, reason: str, message: str, names: list[str]) -> End:
    if reason.startswith("Output"):
        current.needs_confirmation = True  # the Story in the cache says so, not a step
    failed = failed_steps(current.graph, current.states, names)
    error_type = "DependencyFailed" if phase is Phase.COMPENSATED else reason
    status.set("error", {"type": error_type, "message": message} | ({"failedSteps": failed} if failed else {}))
    status.phase(phase, message, reason=reason)
    event = "StoryRunTimedOut" if phase is Phase.TIMEOUT else "StoryRunFailed"
    return End((Event("Warning", event, message),))


def _succeed(current: Work, status: RunStatus, message: str) -> End:
    spec = current.story.spec
    message = message or _success_message(current)
    if not spec.output:
        return _succeeded(status, message)
    if not _shows_what_is_read(current, spec.output):
        return End(is_early=True)
    match current.templates(Site("story-output")).value(spec.output):
        case evaluation.Needs(references=references):
            return End(loads=references, is_early=not references)
        case evaluation.Failed(message=fault):
            return _fail(current, status, Phase.FAILED, "OutputResolutionFailed", f"output: {fault}", [])
        case evaluation.Value(value=value):
            output = value
    if not isinstance(output, dict):
        fault = f"output must be an object, not {type(output).__name__}"
        return _fail(current, status, Phase.FAILED, "OutputResolutionFailed", fault, [])
    if faults := _schema_faults(spec.outputs_schema, output):
        fault = f"output does not match outputsSchema: {'; '.join(faults)}"
        return _fail(current, status, Phase.FAILED, "OutputSchemaFailed", fault, [])
    if (size := len(msgspec.json.encode(output))) > MAX_OUTPUT_BYTES:
        told = f"the output was left out: it has {size} bytes, at most {MAX_OUTPUT_BYTES} are kept"
        end = _succeeded(status, f"{message}; {told}")
        status.condition(ConditionType.DEGRADED, True, "OutputTooLarge", told)
        return end
    status.set("output", output)
    return _succeeded(status, message)


def _shows_what_is_read(current: Work, output: Any) -> bool:
    """Whether the snapshot has every output that a template of the Story's output reads."""
    graph = current.graph
    shown = True
    for name in evaluation.references_in(output):
        node = graph.nodes.get(graph.step_of(name))
        state = current.states.get(node.name) if node is not None else None
        if node is not None and state is not None and state.phase is Phase.SUCCEEDED:
            shown = current.shows_output(node, state) and shown
    return shown


def _succeeded(status: RunStatus, message: str) -> End:
    status.phase(Phase.SUCCEEDED, message)
    return End((Event("Normal", "StoryRunSucceeded", message),))


def _success_message(current: Work) -> str:
    allowed = [
        name
        for name, node in current.graph.nodes.items()
        if node.step.allow_failure and (state := current.states.get(name)) is not None and state.is_failed
    ]
    return f"all steps ended; allowed failures: {', '.join(allowed)}" if allowed else "all steps completed"


def _schema_faults(schema: Mapping[str, Any] | None, output: dict[str, Any]) -> list[str]:
    if not schema:
        return []
    try:
        return [str(violation) for violation in compile_schema(schema).violations(output)[:5]]
    except InvalidSchema as error:
        return [f"the schema is invalid: {error}"]


def progress(current: Work) -> str:
    """What a run that goes on is doing, as `status.message`."""
    active = [name for name, state in current.states.items() if not state.is_terminal and not state.is_unstarted]
    if current.ending is not None:
        return f"{current.ending.message}; ending"
    return f"running {', '.join(active[:5])}" + (", ..." if len(active) > 5 else "") if active else "waiting"


def summary(current: Work, status: RunStatus) -> str:
    """The same in one sentence part, whatever the phase."""
    return str(status.get("message") or "")
