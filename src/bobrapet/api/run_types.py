"""What StoryRuns and StepRuns record: errors, signals, effects, targets, traces (spec api 4.15)."""

from typing import Annotated, ClassVar

from pydantic import Field

from bobrapet.api.enums import (
    ExitClass,
    GateDecisionState,
    HandoffPhase,
    Phase,
    StopMode,
    StructuredErrorType,
    TransportUpgradeStrategy,
)
from bobrapet.api.execution import TLSConfig
from bobrapet.api.wire import Bool, Int32, Int64, JSONObject, Map, Model, Rule, Schema, Time, unset_map


class SchemaReference(Model):
    """The schema that a payload was checked against."""

    ref: str | None = None
    """Identifier such as bubu://story/<namespace>/<story>/inputs."""
    version: str | None = None
    """spec.version of the object that holds the schema."""


class TraceInfo(Model):
    """Where to find the trace of a run."""

    trace_id: str | None = None
    """Trace id, 32 hexadecimal digits."""
    span_id: str | None = None
    """Span id, 16 hexadecimal digits."""
    sampled: Bool | None = None
    """Whether the trace is recorded."""


class StepState(Model):
    """State of one step of a StoryRun."""

    phase: Phase
    """Phase of the step."""
    message: str | None = None
    """Why the step is where it is, for people."""
    reason: str | None = None
    """The same as one word for programs, such as QueueConcurrency or ExpressionFailed."""
    started_at: Time | None = None
    """When the step got its first phase."""
    until: Time | None = None
    """When a sleep ends, or a wait, a gate or a missing reference runs out of time. Never moves once set."""
    finished_at: Time | None = None
    """When the step reached a terminal phase."""
    sub_story_run_name: str | None = None
    """StoryRun that an executeStory step started."""
    attempt: Int32 | None = None
    """The attempt of the run in which the step began, when that is not the first."""


class GateStatus(Model):
    """Decision about a gate step. Written by people."""

    state: GateDecisionState | None = None
    """Pending, Approved or Rejected."""
    message: str | None = None
    """Reason of the decision."""
    updated_at: Time | None = None
    """When it was decided."""
    updated_by: str | None = None
    """Who decided."""


class StructuredError(Model):
    """Why a StepRun failed (error contract v1)."""

    version: Annotated[str, Schema(default="v1")]
    """Version of the error contract: v1."""
    type: StructuredErrorType
    """Kind of error, for programs."""
    message: str
    """What happened, for people."""
    retryable: Bool | None = None
    """Whether another attempt may succeed. Default: derived from exitClass."""
    exit_code: Int32 | None = None
    """Exit code of the component, 0 or more."""
    exit_class: ExitClass | None = None
    """How the exit is read."""
    code: str | None = None
    """The component's own error code."""
    details: JSONObject | None = None
    """Anything else, free form."""


class SignalEvent(Model):
    """A signal that a component sent while it ran."""

    seq: Int64
    """Number of the event, growing within the StepRun."""
    key: str
    """Name of the signal."""
    emitted_at: Time | None = None
    """When it was sent."""
    payload: JSONObject | None = None
    """Value of the signal, at most 8 KiB."""


class EffectRecord(Model):
    """A side effect that a component reported. The EffectClaim is the authority, this list mirrors it."""

    seq: Int64
    """Number of the record, growing within the StepRun."""
    key: str
    """Key of the effect, unique within the StepRun."""
    name: str | None = None
    """Name of the effect, for people."""
    status: str | None = None
    """Outcome of the effect."""
    emitted_at: Time | None = None
    """When it was reported."""
    committed_at: Time | None = None
    """When it succeeded."""
    metadata: JSONObject | None = None
    """Anything else, free form, at most 8 KiB."""
    details: JSONObject | None = None
    """Other name of metadata."""


class GRPCTarget(Model):
    """A gRPC receiver of a streaming step's packets."""

    RULES: ClassVar = (
        Rule("D-ADDRESS", "has(self.endpoint) || has(self.address)", "endpoint (or address) is required"),
    )

    endpoint: str | None = None
    """host:port of the receiver."""
    address: str | None = None
    """Other name of endpoint."""
    tls: TLSConfig | None = None
    """Certificates of the connection. Default: the operator's."""
    metadata: Map[str, str] = unset_map()
    """gRPC metadata sent with the stream."""


class TerminateTarget(Model):
    """Ends the stream here."""

    stop_mode: StopMode
    """success, failure or cancel: how the StoryRun ends."""


class DownstreamTarget(Model):
    """Where a streaming step's packets go: exactly one of grpc and terminate."""

    grpc: GRPCTarget | None = None
    """A gRPC receiver."""
    terminate: TerminateTarget | None = None
    """The end of the stream."""


class HandoffStatus(Model):
    """Replacement of a running streaming component."""

    strategy: TransportUpgradeStrategy | None = None
    """rolling, drain_cutover or blue_green."""
    phase: HandoffPhase | None = None
    """Where the replacement is. Absent: none."""
    message: str | None = None
    """What is going on, for people."""
    connector_id: str | None = Field(default=None, alias="connectorID")
    """Connector that takes over."""
    requested_at: Time | None = None
    """When the replacement was requested."""
    updated_at: Time | None = None
    """When the phase changed last."""
    completed_at: Time | None = None
    """When the replacement was complete."""
