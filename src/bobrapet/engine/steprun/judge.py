"""Judging what a component reported: its success against the contract, its failure against the exit classes.

Rules: spec workloads 14.3, 16.3, 17; decision 6 (a silent success has no output).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bobrapet.api.conditions import ConditionType, find_condition
from bobrapet.api.enums import ExitClass
from bobrapet.engine import evaluation
from bobrapet.engine.plans import Event
from bobrapet.engine.retry import exit_class
from bobrapet.validation.json_schema import InvalidSchema, compile_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bobrapet.api import Engram, EngramTemplate, StepRun, StepRunStatus
    from bobrapet.api.story import Step
    from bobrapet.engine.snapshot import StepSnapshot

MAX_OUTPUT_BYTES: Final = 256 * 1024
"""Status patches pass no admission, so this is the only bound that an inline output has before etcd's."""


@dataclass(frozen=True, slots=True)
class Accepted:
    message: str
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """The component reported success, but broke its contract."""

    reason: str
    message: str


def success(snapshot: StepSnapshot, definition: Step | None, output: Mapping[str, Any] | None) -> Accepted | Rejected:
    """Checks the output of a reported or silent success, or of an earlier run, before anybody sees it."""
    template = snapshot.template
    if output is not None and (size := len(msgspec.json.encode(output))) > MAX_OUTPUT_BYTES:
        return Rejected(
            "OutputTooLarge",
            f"the output has {size} bytes, at most {MAX_OUTPUT_BYTES} fit inline; configure storage, so that large "
            "values are offloaded, or return less",
        )
    if template is not None and template.spec.output_schema and (faults := _schema_faults(template, output or {})):
        missing = "" if output is not None else " (the component reported no output)"
        return Rejected("OutputSchemaFailed", f"output does not match outputSchema{missing}: {'; '.join(faults)}")
    if definition is not None and definition.post_execution is not None:
        check = definition.post_execution
        verdict = evaluation.post_execution(snapshot, definition.name, check.condition, output or {})
        if isinstance(verdict, evaluation.Failed):
            return Rejected("ExpressionFailed", f"Post-execution verification failed: {verdict.message}")
        if verdict is not True:
            told = check.failure_message or f"condition is false: {check.condition}"
            return Rejected("ExpressionFailed", f"Post-execution verification failed: {told}")
    keys = _key_mismatch(template, output or {})
    events = (Event("Warning", "OutputKeyMismatch", keys),) if keys else ()
    return Accepted("" if output is not None else "ended without reporting an output", events)


def reported_class(status: StepRunStatus, code: int | None) -> ExitClass:
    """The class of a failure that the component reported itself (R-14.1)."""
    if status.exit_class is not None and status.exit_class is not ExitClass.SUCCESS:
        return status.exit_class
    error = status.error
    if error is not None and error.exit_class is not None and error.exit_class is not ExitClass.SUCCESS:
        return error.exit_class
    if error is not None and error.retryable is not None:
        return ExitClass.RETRY if error.retryable else ExitClass.TERMINAL
    if code:
        return exit_class(code)
    # It had the time to say that it failed, and did not say that trying again helps.
    return ExitClass.TERMINAL


def reported_message(status: StepRunStatus, code: int | None) -> str:
    if status.last_failure_msg:
        return status.last_failure_msg
    if status.error is not None and status.error.message:
        return status.error.message
    return f"the component reported {status.phase.value if status.phase else 'a failure'}" + (
        f" with exit code {code}" if code else ""
    )


def retry_after(status: StepRunStatus) -> timedelta:
    """The pause that a rate-limited component asks for; zero when it asks for none."""
    details = status.error.details if status.error is not None else None
    seconds = (details or {}).get("retryAfterSeconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 86_400:
        return timedelta(0)
    return timedelta(seconds=seconds)


def schema_references(step: StepRun, engram: Engram, template: EngramTemplate) -> dict[str, dict[str, Any] | None]:
    """`inputSchemaRef` and `outputSchemaRef` as the status must have them; None: absent (R-3.14)."""
    pinned = step.spec.engram_ref.version if step.spec.engram_ref is not None else None
    version = (pinned or engram.spec.version or "").strip()
    base = f"bubu://engram/{engram.metadata.namespace}/{engram.metadata.name}"

    def reference(schema: Mapping[str, Any] | None, suffix: str) -> dict[str, Any] | None:
        if not schema:
            return None
        return {"ref": f"{base}/{suffix}"} | ({"version": version} if version else {})

    return {
        "inputSchemaRef": reference(template.spec.input_schema, "input"),
        "outputSchemaRef": reference(template.spec.output_schema, "output"),
    }


def ready(step: StepRun) -> tuple[str, str]:
    """Reason and message of the Ready condition; empty without one."""
    condition = find_condition(step.status.conditions, ConditionType.READY)
    return (condition.reason, condition.message) if condition is not None else ("", "")


def _schema_faults(template: EngramTemplate, output: Mapping[str, Any]) -> list[str]:
    try:
        schema = compile_schema(template.spec.output_schema or {})
    except InvalidSchema as error:
        return [f"outputSchema of EngramTemplate {template.metadata.name} is invalid: {error}"]
    return [str(violation) for violation in schema.violations(output)[:5]]


def _key_mismatch(template: EngramTemplate | None, output: Mapping[str, Any]) -> str:
    declared = list(template.spec.declared_output_keys) if template is not None else []
    if not declared:
        return ""
    missing = [key for key in declared if key not in output]
    extra = sorted(set(output) - set(declared))
    parts = [f"missing {', '.join(missing)}" if missing else "", f"not declared {', '.join(extra)}" if extra else ""]
    told = "; ".join(part for part in parts if part)
    return f"output keys differ from declaredOutputKeys: {told}" if told else ""
