"""Settings of a streaming lane between steps (spec api 4.17), of a Transport and of a Story's transport."""

from typing import Annotated

from bobrapet.api.enums import (
    BufferDropPolicy,
    DeliverySemantics,
    FlowControlMode,
    OrderingMode,
    ReplayMode,
    TransportFanInMode,
    TransportFanOutMode,
    TransportLaneDirection,
    TransportLaneKind,
    TransportPartitionMode,
    TransportRecordingMode,
    TransportRoutingMode,
    TransportRoutingRuleAction,
    TransportUpgradeStrategy,
)
from bobrapet.api.wire import LABEL_PATTERN, Bool, Duration, Int32, Items, Model, Schema, unset_items

Count = Annotated[Int32, Schema(minimum=0)]
Positive = Annotated[Int32, Schema(minimum=1)]
Percent = Annotated[Int32, Schema(minimum=0, maximum=100)]


class Buffer(Model):
    """What is kept while a receiver is slow."""

    max_messages: Count | None = None
    """Messages kept at most. Default: the hub's."""
    max_bytes: Count | None = None
    """Bytes kept at most. Default: the hub's."""
    max_age_seconds: Count | None = None
    """Seconds after which a kept message is dropped. Default: the hub's."""
    drop_policy: BufferDropPolicy | None = None
    """drop_newest or drop_oldest: what goes when the buffer is full. Default: the hub's."""


class Backpressure(Model):
    """Behaviour towards slow receivers."""

    buffer: Buffer | None = None
    """The buffer in front of a receiver."""


class Credits(Model):
    """An amount of messages and bytes."""

    messages: Count | None = None
    """Number of messages."""
    bytes: Count | None = None
    """Number of bytes."""


class AckEvery(Credits):
    """When received messages are acknowledged; the first condition that holds decides."""

    max_delay: Duration | None = None
    """Longest wait before an acknowledgement, as a Go duration above 0."""


class Threshold(Model):
    """A fill level of the buffer."""

    buffer_pct: Percent | None = None
    """Percent of the buffer, 0 to 100."""


class FlowControl(Model):
    """How a sender is kept from sending too much."""

    mode: FlowControlMode | None = None
    """none, credits or window. Default: none."""
    initial_credits: Credits | None = None
    """What may be sent before the first acknowledgement."""
    ack_every: AckEvery | None = None
    """When received messages are acknowledged."""
    pause_threshold: Threshold | None = None
    """Fill level at which the sender pauses."""
    resume_threshold: Threshold | None = None
    """Fill level at which the sender goes on."""


class Replay(Model):
    """Repeating messages after a reconnect."""

    mode: ReplayMode | None = None
    """none, memory or durable. Default: none."""
    retention_seconds: Count | None = None
    """Seconds for which messages can be repeated."""
    checkpoint_interval: Duration | None = None
    """Time between checkpoints, as a Go duration above 0."""


class Delivery(Model):
    """Guarantees of delivery."""

    ordering: OrderingMode | None = None
    """none, per_stream or per_partition. Default: per_stream."""
    semantics: DeliverySemantics | None = None
    """best_effort or at_least_once. Default: best_effort."""
    replay: Replay | None = None
    """Repeating messages after a reconnect."""


class RoutingTarget(Model):
    """Receivers of a routing rule."""

    steps: Items[str] = unset_items()
    """Names of steps of the Story. Empty: all steps downstream."""


class RoutingRule(Model):
    """Sends or holds back packets that match."""

    name: str | None = None
    """Name of the rule in logs and metrics."""
    when: str | None = None
    """Template over packet, inputs and steps that must give true for the rule to apply. Default: always."""
    action: TransportRoutingRuleAction | None = None
    """allow or deny. Default: allow."""
    target: RoutingTarget | None = None
    """Receivers that the rule is about."""


class Routing(Model):
    """Which way packets take."""

    mode: TransportRoutingMode | None = None
    """auto, hub or p2p. Default: auto."""
    fan_out: TransportFanOutMode | None = None
    """sequential or parallel sending to several receivers. Default: sequential."""
    max_downstreams: Positive | None = None
    """Receivers at most. Default: no limit."""
    rules: Items[RoutingRule] = unset_items()
    """Rules, the first that matches decides."""


class Lane(Model):
    """One lane of a transport."""

    name: Annotated[str, Schema(min_length=1, pattern=LABEL_PATTERN)]
    """Name of the lane, unique in the transport."""
    kind: TransportLaneKind
    """audio, video, binary, payload or control; each kind at most once."""
    direction: TransportLaneDirection | None = None
    """publish, subscribe or bidirectional. Default: bidirectional."""
    description: str | None = None
    """What the lane is for."""
    max_messages: Count | None = None
    """Messages in the lane's buffer. Default: the transport's."""
    max_bytes: Count | None = None
    """Bytes in the lane's buffer. Default: the transport's."""


class FanIn(Model):
    """How packets of several senders are joined."""

    mode: TransportFanInMode | None = None
    """all, any or quorum. Default: any."""
    quorum: Positive | None = None
    """Senders that must have sent. Needed with mode quorum, refused otherwise."""
    timeout_seconds: Count | None = None
    """Seconds to wait for the missing senders. Default: no limit."""
    max_entries: Positive | None = None
    """Joins that may be open at the same time. Default: the hub's."""


class Partitioning(Model):
    """Distribution of packets over partitions."""

    mode: TransportPartitionMode | None = None
    """none, preserve or hash. Default: none."""
    key: str | None = None
    """Path into the packet whose value selects the partition."""
    partitions: Positive | None = None
    """Number of partitions."""
    sticky: Bool | None = None
    """Whether a key stays on its partition after a reconnect. Default: false."""


class Lifecycle(Model):
    """Replacing a running component by a new version."""

    strategy: TransportUpgradeStrategy | None = None
    """rolling, drain_cutover or blue_green. Default: rolling."""
    drain_timeout_seconds: Count | None = None
    """Seconds that the old version gets to finish."""
    max_in_flight: Count | None = None
    """Packets that may be under way during the change."""


class Switch(Model):
    """Something that can be switched off."""

    enabled: Bool | None = None
    """Whether it is on. Default: true."""


class Tracing(Switch):
    """Traces of packets."""

    sample_rate: Percent | None = None
    """Percent of packets that are traced, 0 to 100."""
    sample_policy: str | None = None
    """rate, random, always or never. Default: rate."""


class Watermark(Model):
    """Progress of event time."""

    enabled: Bool | None = None
    """Whether watermarks are kept. Default: false."""
    timestamp_source: str | None = None
    """Path of the event time in the packet, for example metadata.event_time_ms."""


class Observability(Model):
    """What can be seen of the traffic."""

    metrics: Switch | None = None
    """Metrics of the transport."""
    tracing: Tracing | None = None
    """Traces of packets."""
    watermark: Watermark | None = None
    """Progress of event time."""


class Recording(Model):
    """Keeping a copy of the traffic."""

    mode: TransportRecordingMode | None = None
    """off, metadata or payload. Quote "off" in YAML. Default: off."""
    sample_rate: Percent | None = None
    """Percent of packets that are recorded, 0 to 100."""
    retention_seconds: Count | None = None
    """Seconds for which recordings are kept."""
    redact_fields: Items[str] = unset_items()
    """Paths in the packet that are blanked out."""


class TransportStreamingSettings(Model):
    """Behaviour of a streaming transport. What is unset comes from the Transport, then from the hub."""

    backpressure: Backpressure | None = None
    """Behaviour towards slow receivers."""
    flow_control: FlowControl | None = None
    """How a sender is kept from sending too much."""
    delivery: Delivery | None = None
    """Guarantees of delivery."""
    routing: Routing | None = None
    """Which way packets take."""
    lanes: Items[Lane] = unset_items()
    """Lanes of the transport."""
    fan_in: FanIn | None = None
    """How packets of several senders are joined."""
    partitioning: Partitioning | None = None
    """Distribution of packets over partitions."""
    lifecycle: Lifecycle | None = None
    """Replacing a running component by a new version."""
    observability: Observability | None = None
    """What can be seen of the traffic."""
    recording: Recording | None = None
    """Keeping a copy of the traffic."""
