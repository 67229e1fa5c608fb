"""StoryRun and StepRun (runs.bubustack.io): executions of a Story and of one of its steps (spec api 5.6, 5.7)."""

from typing import Annotated, ClassVar

from pydantic import Field

from bobrapet.api.enums import ExitClass, Phase
from bobrapet.api.execution import RetryPolicy, StepExecutionOverrides
from bobrapet.api.meta import (
    CONDITION_MESSAGES_ARE_SHORT,
    CONDITION_REASONS_ARE_SHORT,
    CONDITIONS_HAVE_READY,
    CONDITIONS_HAVE_TIMES,
    Conditions,
    KubernetesObject,
    ObservedStatus,
    Spec,
)
from bobrapet.api.references import EngramReference, ImpulseReference, StoryReference, StoryRunReference
from bobrapet.api.run_types import (
    DownstreamTarget,
    EffectRecord,
    GateStatus,
    HandoffStatus,
    SchemaReference,
    SignalEvent,
    StepState,
    StructuredError,
    TraceInfo,
)
from bobrapet.api.wire import (
    Bool,
    Duration,
    Int32,
    Int64,
    Items,
    JSONObject,
    Map,
    Schema,
    StepName,
    Time,
    unset_items,
    unset_map,
)


class StoryRunSpec(Spec):
    """What to execute. Immutable, but for cancelRequested, which may become true."""

    story_ref: StoryReference
    """Story to execute."""
    impulse_ref: ImpulseReference | None = None
    """Impulse that started the run. Unset: started by a person or program."""
    inputs: JSONObject | None = None
    """Inputs, checked against the Story's inputsSchema."""
    cancel_requested: Bool | None = None
    """Asks for a graceful end: nothing new starts, running steps get time to finish. Cannot be taken back."""


class StoryRunStatus(ObservedStatus):
    """What the StoryRun controller observed and decided."""

    RULES: ClassVar = (
        CONDITIONS_HAVE_READY,
        CONDITIONS_HAVE_TIMES,
        CONDITION_REASONS_ARE_SHORT,
        CONDITION_MESSAGES_ARE_SHORT,
    )

    phase: Phase | None = None
    """Summary of the lifecycle. Unset: not yet seen by the controller."""
    message: str | None = None
    """Why the run is where it is, for people."""
    active: Items[str] = unset_items()
    """Names of steps that are under way."""
    completed: Items[str] = unset_items()
    """Names of steps that are finished."""
    primitive_children: Map[str, Items[str]] = unset_map()
    """Names of child StepRuns by primitive step."""
    started_at: Time | None = None
    """When the run started."""
    finished_at: Time | None = None
    """When the run reached a terminal phase."""
    children_cleaned_at: Time | None = None
    """When the StepRuns and pods of the finished run were removed."""
    duration: str | None = None
    """Time from start to end, as a Go duration rounded to seconds."""
    trace: TraceInfo | None = None
    """Where to find the trace of the run."""
    attempts: Int32 | None = None
    """How often the run was started: 1, and 1 more for each redrive."""
    input_schema_ref: SchemaReference | None = None
    """Schema that the inputs were checked against."""
    output_schema_ref: SchemaReference | None = None
    """Schema that the output was checked against."""
    output: JSONObject | None = None
    """Output of the Story, or a reference to it when it is large."""
    step_states: Map[str, StepState] = unset_map()
    """State of each step by name."""
    gates: Map[str, GateStatus] = unset_map()
    """Decisions about gate steps by name. Written by people."""
    error: JSONObject | None = None
    """Why the run failed."""
    conditions: Conditions = unset_items()
    """Lifecycle of the run: Ready, Progressing, Degraded."""
    steps_total: Int32 | None = None
    """Number of steps."""
    steps_complete: Int32 | None = None
    """Number of steps that succeeded."""
    steps_failed: Int32 | None = None
    """Number of steps that failed."""
    steps_skipped: Int32 | None = None
    """Number of steps that were skipped."""
    allowed_failures: Items[str] = unset_items()
    """Names of failed steps that had allowFailure."""
    trigger_tokens: Items[str] = unset_items()
    """What this run has been counted as: story, impulse, impulse-success, impulse-failed."""
    story_generation: Int64 | None = None
    """metadata.generation of the Story when the run started."""


class StoryRun(KubernetesObject):
    """StoryRun is one execution of a Story."""

    API_VERSION: ClassVar = "runs.bubustack.io/v1alpha1"
    KIND: ClassVar = "StoryRun"
    PLURAL: ClassVar = "storyruns"
    SHORT_NAMES: ClassVar = ("srun",)
    CATEGORIES: ClassVar = ("bubu", "ai", "runs")
    COLUMNS: ClassVar = (
        ("Story", "string", ".spec.storyRef.name"),
        ("Phase", "string", ".status.phase"),
        ("Duration", "string", ".status.duration"),
    )
    SELECTABLE: ClassVar = (".spec.storyRef.name", ".status.phase")

    spec: StoryRunSpec
    """What to execute. Written by whoever starts the run."""
    status: StoryRunStatus = Field(default_factory=StoryRunStatus)
    """What the StoryRun controller observed and decided."""


class StepRunSpec(Spec):
    """What to execute. Written by the StoryRun controller."""

    story_run_ref: StoryRunReference
    """StoryRun that the step belongs to."""
    step_id: StepName
    """Name of the step in the Story."""
    idempotency_key: Annotated[str, Schema(max_length=256)] | None = None
    """Key that stays over all attempts; effects are committed once per key. Default: derived from namespace, run and
    step."""
    engram_ref: EngramReference | None = None
    """Engram to run. Unset for primitives."""
    template_generation: Int64 | None = None
    """Generation of the EngramTemplate when the StepRun was made."""
    input: JSONObject | None = None
    """Inputs of the step, templates still in place."""
    timeout: Duration | None = None
    """Longest execution time, as a Go duration; stronger than every other layer."""
    retry: RetryPolicy | None = None
    """Retry behaviour of the step."""
    execution_overrides: StepExecutionOverrides | None = None
    """Changes of execution for this StepRun."""
    downstream_targets: Items[DownstreamTarget] = unset_items()
    """Where a streaming step's packets go. Written by the streaming controllers."""


class StepRunStatus(ObservedStatus):
    """What the StepRun controller and the component observed."""

    RULES: ClassVar = (CONDITION_REASONS_ARE_SHORT, CONDITION_MESSAGES_ARE_SHORT)
    ALWAYS: ClassVar = frozenset({"retries"})

    phase: Phase | None = None
    """Summary of the lifecycle. Unset: not yet seen by the controller."""
    started_at: Time | None = None
    """When the current attempt started."""
    finished_at: Time | None = None
    """When the StepRun reached a terminal phase."""
    last_output_at: Time | None = None
    """When the component wrote its output."""
    next_retry_at: Time | None = None
    """When the next attempt starts, with milliseconds."""
    duration: str | None = None
    """Time from start to end, as a Go duration."""
    trace: TraceInfo | None = None
    """Where to find the trace of the step."""
    exit_code: Int32 | None = None
    """Exit code of the component."""
    exit_class: ExitClass | None = None
    """How the exit is read: success, retry, terminal, rateLimited or unknown."""
    pod_name: str | None = None
    """Pod of the last attempt."""
    retries: Annotated[Int32, Schema(required=True)] = 0
    """Attempts after the first one. Always written."""
    last_failure_msg: str | None = None
    """Message of the last failure."""
    input_schema_ref: SchemaReference | None = None
    """Schema that the inputs were checked against."""
    output_schema_ref: SchemaReference | None = None
    """Schema that the output was checked against."""
    output: JSONObject | None = None
    """Output of the component, or a reference to it when it is large."""
    logs: JSONObject | None = None
    """Reference to the stored log."""
    error: StructuredError | None = None
    """Why the step failed."""
    conditions: Conditions = unset_items()
    """Lifecycle of the step: Ready, Progressing, Degraded, TransportReady."""
    handoff: HandoffStatus | None = None
    """Replacement of a running streaming component."""
    needs: Items[str] = unset_items()
    """Names of StepRuns that had to finish first."""
    signals: Map[str, JSONObject] = unset_map()
    """Latest value of each signal."""
    signal_events: Annotated[Items[SignalEvent], Schema(max_items=256, list_type="map", map_keys=("seq",))] = (
        unset_items()
    )
    """Signals in order, at most 256."""
    effects: Annotated[Items[EffectRecord], Schema(max_items=256, list_type="map", map_keys=("seq",))] = unset_items()
    """Side effects in order, at most 256."""


class StepRun(KubernetesObject):
    """StepRun is the execution of one step of a StoryRun."""

    API_VERSION: ClassVar = "runs.bubustack.io/v1alpha1"
    KIND: ClassVar = "StepRun"
    PLURAL: ClassVar = "stepruns"
    SHORT_NAMES: ClassVar = ("step",)
    CATEGORIES: ClassVar = ("bubu", "ai", "runs")
    COLUMNS: ClassVar = (
        ("StoryRun", "string", ".spec.storyRunRef.name"),
        ("Step", "string", ".spec.stepId"),
        ("Phase", "string", ".status.phase"),
        ("Retries", "integer", ".status.retries"),
    )
    SELECTABLE: ClassVar = (".spec.storyRunRef.name", ".spec.stepId", ".status.phase")

    spec: StepRunSpec
    """What to execute. Written by the StoryRun controller."""
    status: StepRunStatus = Field(default_factory=StepRunStatus)
    """What the StepRun controller and the component observed."""
