"""Story (bubustack.io): the declarative graph of steps and its policy (spec api 5.1)."""

from typing import Annotated, ClassVar

from pydantic import Field

from bobrapet.api.enums import (
    ConcurrencyMode,
    ConcurrencyScope,
    StepType,
    StoryPattern,
    TransportMode,
    ValidationStatus,
)
from bobrapet.api.execution import ExecutionOverrides, ExecutionPolicy, RetryPolicy, StoragePolicy
from bobrapet.api.meta import Conditions, KubernetesObject, ObservedStatus, Spec
from bobrapet.api.references import EngramReference
from bobrapet.api.streaming import TransportStreamingSettings
from bobrapet.api.wire import (
    Bool,
    Duration,
    Int32,
    Int64,
    Items,
    JSONObject,
    Label,
    Map,
    Model,
    NonEmpty,
    Rule,
    Schema,
    StepName,
    Version,
    unset_items,
    unset_map,
)


class PostExecution(Model):
    """A check of a step's result after the component succeeded."""

    condition: NonEmpty
    """Template that must give true; otherwise the step is Failed although its component succeeded."""
    failure_message: str | None = None
    """Message of the failure. Default: one that quotes the condition."""


class Step(Model):
    """A node of the graph: it runs an Engram (ref) or is a primitive (type)."""

    RULES: ClassVar = (Rule("S-XOR", "has(self.ref) != has(self.type)", "a step sets exactly one of ref and type"),)

    name: StepName
    """Name of the step, unique among steps, compensations and finally. Other steps need it and read it by this name."""
    id: Annotated[str, Schema(max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] | None = None
    """Identifier that stays when the step is renamed. Default: none."""
    needs: Items[str] = unset_items()
    """Names of steps that must be finished before this one starts. Steps read in templates are added to them."""
    type: StepType | None = None
    """Makes the step a primitive: condition, parallel, sleep, stop, wait, executeStory or gate. Excludes ref."""
    ref: EngramReference | None = None
    """Engram that the step runs. Excludes type."""
    if_: str | None = Field(default=None, alias="if")
    """Template; when it gives false the step is Skipped."""
    allow_failure: Bool | None = None
    """Whether a failure of this step leaves the run unharmed and lets the steps that need it go on. Default: false."""
    side_effects: Bool | None = None
    """Says that running twice does harm: without an explicit retry policy the step is not retried. Default: false."""
    requires: Items[str] = unset_items()
    """Paths such as steps.fetch.output.body that must have a value before the step starts; otherwise it fails."""
    idempotency_key_template: Annotated[str, Schema(max_length=512)] | None = None
    """Template over inputs and steps for the idempotency key. Default: a key made of namespace, run and step."""
    with_: JSONObject | None = Field(default=None, alias="with")
    """Configuration of the step. In a batch Story templates see inputs and steps when the step starts; in a streaming
    Story they see inputs only."""
    runtime: JSONObject | None = None
    """Per-packet configuration of a streaming step; templates see inputs, steps and packet."""
    transport: Label | None = None
    """Name of an entry of spec.transports that carries the step's packets."""
    secrets: Map[str, str] = unset_map()
    """Secret names by key of the template's secretSchema. Default: those of the Engram."""
    execution: ExecutionOverrides | None = None
    """Changes of execution for this step."""
    post_execution: PostExecution | None = None
    """A check of the result after the component succeeded."""


class StoryConcurrency(Model):
    """Overlap of the cycles of a streaming pipeline."""

    mode: Annotated[ConcurrencyMode, Schema(default="parallel")] | None = None
    """serial queues cycles, cancelPrevious cancels the older one, parallel allows all. Default: parallel."""
    scope: Annotated[ConcurrencyScope, Schema(default="storyrun")] | None = None
    """What the mode counts: the whole storyrun or each participant. Default: storyrun."""


class StoryTimeouts(Model):
    """Time limits of a run."""

    story: Duration | None = None
    """Longest time of the whole run, as a Go duration above 0. Default: the operator's."""
    step: Duration | None = None
    """Longest time of a step, as a Go duration above 0. Default: the operator's."""
    graceful_shutdown_timeout: Duration | None = None
    """Time that running steps get after a cancel request, as a Go duration above 0. Default: 30s."""


class StoryRetries(Model):
    """Behaviour on failing steps."""

    step_retry_policy: RetryPolicy | None = None
    """Retry policy of steps without one of their own."""
    continue_on_step_failure: Annotated[Bool, Schema(default=False)] | None = None
    """Whether steps that do not depend on a failed one still start. Default: false."""


class StoryPolicy(Model):
    """Defaults and limits of the Story's runs."""

    timeouts: StoryTimeouts | None = None
    """Time limits of a run."""
    with_: JSONObject | None = Field(default=None, alias="with")
    """Inputs for Stories that executeStory steps start."""
    retries: StoryRetries | None = None
    """Behaviour on failing steps."""
    concurrency: Int32 | None = None
    """Steps of one run that may be active at the same time; 0: no limit. Default: no limit."""
    queue: Annotated[str, Schema(max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] | None = None
    """Scheduling queue of the runs. Default: default."""
    priority: Annotated[Int32, Schema(minimum=0)] | None = None
    """Priority in the queue, higher first. Default: the queue's."""
    storage: StoragePolicy | None = None
    """Payload store."""
    execution: ExecutionPolicy | None = None
    """Defaults of execution for all steps."""


class StoryTransport(Model):
    """A transport that steps of a streaming Story use by name."""

    name: Label
    """Name that steps use in their field transport."""
    transport_ref: NonEmpty
    """Name of a Transport, which is cluster-scoped."""
    description: str | None = None
    """What the transport is for."""
    streaming: TransportStreamingSettings | None = None
    """Settings on top of those of the Transport."""
    settings: JSONObject | None = None
    """Settings for the provider, on top of the Transport's defaultSettings."""


class StorySpec(Spec):
    """The graph and its policy."""

    version: Version | None = None
    """Version of the Story's contract, for references that pin one."""
    pattern: Annotated[StoryPattern, Schema(default="batch")] | None = None
    """batch runs each step to its end; streaming (also called realtime) keeps steps running and passes packets.
    Default: batch."""
    concurrency: StoryConcurrency | None = None
    """Overlap of the cycles of a streaming pipeline."""
    inputs_schema: JSONObject | None = None
    """JSON Schema of the StoryRun's inputs. Its defaults fill inputs that are missing."""
    outputs_schema: JSONObject | None = None
    """JSON Schema of the output."""
    output: JSONObject | None = None
    """Template object, evaluated when the run succeeded, over inputs and steps; becomes status.output of the run."""
    steps: Annotated[Items[Step], Schema(min_items=1, max_items=1000, list_type="map", map_keys=("name",))]
    """Nodes of the graph, 1 to 1,000."""
    compensations: Annotated[Items[Step], Schema(max_items=50, list_type="map", map_keys=("name",))] = unset_items()
    """Steps that run after the main steps when the run failed, at most 50."""
    finally_: Annotated[Items[Step], Schema(max_items=50, list_type="map", map_keys=("name",))] = unset_items(
        alias="finally"
    )
    """Steps that always run, after the compensations, at most 50."""
    policy: StoryPolicy | None = None
    """Defaults and limits of the runs."""
    transports: Annotated[Items[StoryTransport], Schema(list_type="map", map_keys=("name",))] = unset_items()
    """Transports of a streaming Story, each with a name of its own."""

    @property
    def is_streaming(self) -> bool:
        """Whether the pattern is streaming or realtime, two names of one thing."""
        return self.pattern is not None and self.pattern.is_streaming


class StoryTransportStatus(Model):
    """How a transport of the Story is used."""

    name: str
    """Name in spec.transports."""
    transport_ref: str
    """Name of the Transport."""
    mode: TransportMode | None = None
    """hot streams, fallback does not."""
    mode_reason: str | None = None
    """Why the mode was chosen: batch-pattern, streaming-default or story-missing."""


class StoryStatus(ObservedStatus):
    """What the Story controller observed."""

    conditions: Conditions = unset_items()
    """Lifecycle of the Story: Ready."""
    steps_total: Int32 | None = None
    """Number of spec.steps."""
    transports: Items[StoryTransportStatus] = unset_items()
    """How each transport is used."""
    validation_status: ValidationStatus | None = None
    """Outcome of validation by the controller: valid, invalid, unknown or pending."""
    validation_errors: Items[str] = unset_items()
    """What is wrong, for people."""
    validation_warnings: Items[str] = unset_items()
    """What is doubtful, for people."""
    usage_count: Int32 | None = None
    """Impulses that refer to this Story."""
    triggers: Int64 | None = None
    """StoryRuns of this Story so far."""


class Story(KubernetesObject):
    """Story is a declarative workflow: a graph of steps and its policy. Each execution is a StoryRun."""

    API_VERSION: ClassVar = "bubustack.io/v1alpha1"
    KIND: ClassVar = "Story"
    PLURAL: ClassVar = "stories"
    SHORT_NAMES: ClassVar = ("story",)
    CATEGORIES: ClassVar = ("bubu", "ai", "workflows")
    COLUMNS: ClassVar = (
        ("Steps", "integer", ".status.stepsTotal"),
        ("Status", "string", ".status.validationStatus"),
        ("Usage", "integer", ".status.usageCount"),
        ("Triggers", "integer", ".status.triggers"),
    )

    spec: StorySpec
    """The graph and its policy. Written by the author."""
    status: StoryStatus = Field(default_factory=StoryStatus)
    """What the Story controller observed."""
