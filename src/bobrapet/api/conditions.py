"""Conditions: their types, their reasons, and the one way to set one (spec api 4.1, 7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from bobrapet.api.enums import Phase
from bobrapet.api.meta import Condition
from bobrapet.api.timestamps import format_time

MAX_REASON: Final = 64
MAX_MESSAGE: Final = 2048
"""What the CRDs of the run kinds accept (rules C-REASON and C-MSG); longer text is cut here, not refused there."""


class ConditionType(StrEnum):
    READY = "Ready"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    TERMINATING = "Terminating"
    VALIDATED = "Validated"
    TEMPLATE_RESOLVED = "TemplateResolved"
    LARGE_DATA_DELEGATED = "LargeDataDelegated"
    COMPILED = "Compiled"
    SCHEDULED = "Scheduled"
    RESOLVED_INPUTS = "ResolvedInputs"
    STEPS_COMPLETED = "StepsCompleted"
    LISTENING = "Listening"
    STORY_RESOLVED = "StoryResolved"
    TRANSPORT_READY = "TransportReady"


class Reason(StrEnum):
    """Why a condition has its status, as one word for programs. Events use the same words."""

    VALIDATION_PASSED = "ValidationPassed"
    TEMPLATE_RESOLVED = "TemplateResolved"
    STORY_RESOLVED = "StoryResolved"
    COMPILED = "Compiled"
    LISTENING = "Listening"
    LARGE_DATA_DELEGATED = "LargeDataDelegated"
    SCHEDULED = "Scheduled"
    COMPLETED = "Completed"
    VALIDATION_FAILED = "ValidationFailed"
    TEMPLATE_NOT_FOUND = "TemplateNotFound"
    TEMPLATE_RESOLUTION_FAILED = "TemplateResolutionFailed"
    OUTPUT_RESOLUTION_FAILED = "OutputResolutionFailed"
    STORY_NOT_FOUND = "StoryNotFound"
    STORY_REFERENCE_INVALID = "StoryReferenceInvalid"
    ENGRAM_REFERENCE_INVALID = "EngramReferenceInvalid"
    TRANSPORT_REFERENCE_INVALID = "TransportReferenceInvalid"
    COMPILATION_FAILED = "CompilationFailed"
    SCHEDULING_FAILED = "SchedulingFailed"
    EXECUTION_FAILED = "ExecutionFailed"
    REFERENCE_NOT_FOUND = "ReferenceNotFound"
    INVALID_CONFIGURATION = "InvalidConfiguration"
    DEPLOYMENT_READY = "DeploymentReady"
    VALIDATING = "Validating"
    RESOLVING_TEMPLATE = "ResolvingTemplate"
    RESOLVING_STORY = "ResolvingStory"
    COMPILING = "Compiling"
    PROCESSING_STEPS = "ProcessingSteps"
    STARTING_EXECUTION = "StartingExecution"
    DELETION_REQUESTED = "DeletionRequested"
    CLEANING_UP = "CleaningUp"
    INPUT_TOO_LARGE = "InputTooLarge"
    OUTPUT_TOO_LARGE = "OutputTooLarge"
    CANCELED = "Canceled"
    TRANSPORT_READY = "TransportReady"
    TRANSPORT_FAILED = "TransportFailed"
    RECONCILING = "Reconciling"
    AWAITING_TRANSPORT = "AwaitingTransport"
    AWAITING_STORY_RUN = "AwaitingStoryRun"
    PENDING = "Pending"
    RUNNING = "Running"
    PAUSED = "Paused"
    BLOCKED = "Blocked"
    TIMED_OUT = "TimedOut"
    SKIPPED = "Skipped"
    COMPENSATED = "Compensated"
    COMPENSATION_FAILED = "CompensationFailed"
    CLEANUP_FAILED = "CleanupFailed"
    RETRY_SCHEDULED = "RetryScheduled"
    INPUT_SCHEMA_FAILED = "InputSchemaFailed"
    OUTPUT_SCHEMA_FAILED = "OutputSchemaFailed"
    EXPRESSION_FAILED = "ExpressionFailed"
    DEPENDENCY_FAILED = "DependencyFailed"
    TOPOLOGY_TERMINATED = "TopologyTerminated"
    DRIVER_MISSING = "DriverMissing"
    CAPABILITIES_MISSING = "CapabilitiesMissing"
    CODEC_INVALID = "CodecInvalid"
    CODEC_DUPLICATE = "CodecDuplicate"
    MIME_TYPE_INVALID = "MimeTypeInvalid"
    STORY_RUN_CREATED = "StoryRunCreated"
    STORY_RUN_REUSED = "StoryRunReused"
    STORY_RUN_CONFLICT = "StoryRunConflict"
    STORY_VERSION_MISMATCH = "StoryVersionMismatch"
    INPUT_HASH_MISMATCH = "InputHashMismatch"
    RESERVED = "Reserved"
    RELEASED = "Released"
    ABANDONED = "Abandoned"
    STEP_RUN_MISSING = "StepRunMissing"
    STEP_RUN_UID_DRIFT = "StepRunUIDDrift"


REASON_OF_PHASE: Final[dict[Phase, Reason]] = {
    Phase.PENDING: Reason.PENDING,
    Phase.RUNNING: Reason.RUNNING,
    Phase.PAUSED: Reason.PAUSED,
    Phase.BLOCKED: Reason.BLOCKED,
    Phase.SCHEDULING: Reason.SCHEDULED,
    Phase.TIMEOUT: Reason.TIMED_OUT,
    Phase.SKIPPED: Reason.SKIPPED,
    Phase.COMPENSATED: Reason.COMPENSATED,
    Phase.CANCELED: Reason.CANCELED,
    Phase.FINISHED: Reason.CANCELED,
    Phase.ABORTED: Reason.CANCELED,
    Phase.SUCCEEDED: Reason.COMPLETED,
    Phase.FAILED: Reason.EXECUTION_FAILED,
}
"""Reason of Ready when a phase is written without a better one."""


def find_condition(conditions: Iterable[Condition], type: str) -> Condition | None:
    """The condition of a type, or None."""
    return next((condition for condition in conditions if condition.type == type), None)


def is_condition_true(conditions: Iterable[Condition], type: str) -> bool:
    """Whether the condition of a type exists and is True."""
    condition = find_condition(conditions, type)
    return condition is not None and condition.status == "True"


def set_condition(
    conditions: Sequence[Condition],
    type: str,
    status: bool | Literal["True", "False", "Unknown"],
    reason: str,
    message: str = "",
    *,
    now: datetime,
    generation: int | None = None,
) -> list[Condition]:
    """`conditions` with one of them set; the list itself is not changed.

    The time moves only when the status does. Reason and message are cut to what the CRDs accept. Equal input gives an
    equal list, so that a caller can compare before it writes.
    """
    value: Literal["True", "False", "Unknown"]
    match status:
        case bool():
            value = "True" if status else "False"
        case _:
            value = status
    old = find_condition(conditions, type)
    moved = old is None or old.status != value
    new = Condition(
        type=str(type),
        status=value,
        reason=shorten(reason, MAX_REASON),
        message=shorten(message, MAX_MESSAGE),
        last_transition_time=format_time(now) if moved or old is None else old.last_transition_time,
    )
    if generation is not None:
        new.observed_generation = generation
    if old is None:
        return [*conditions, new]
    return [new if condition is old else condition for condition in conditions]


def shorten(text: str, limit: int) -> str:
    """`text` in at most `limit` characters; a cut is shown by three dots."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
