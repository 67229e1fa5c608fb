"""Transport and TransportBinding (transport.bubustack.io): streaming providers and their use (spec api 5.10, 5.11)."""

from typing import ClassVar

from pydantic import Field

from bobrapet.api.enums import ValidationStatus
from bobrapet.api.media import AudioBinding, AudioCodec, BinaryBinding, VideoBinding, VideoCodec
from bobrapet.api.meta import Conditions, KubernetesObject, ObservedStatus, Spec
from bobrapet.api.references import StoryRunReference
from bobrapet.api.streaming import TransportStreamingSettings
from bobrapet.api.wire import Int32, Items, JSONObject, NonEmpty, Time, unset_items


class TransportSpec(Spec):
    """A provider of streaming and what it can carry."""

    provider: NonEmpty
    """Name of the provider."""
    driver: NonEmpty
    """Driver that connectors must speak."""
    connector_image: str | None = None
    """Container image of the connector."""
    supported_audio: Items[AudioCodec] = unset_items()
    """Audio codecs that can be carried."""
    supported_video: Items[VideoCodec] = unset_items()
    """Video codecs that can be carried."""
    supported_binary: Items[str] = unset_items()
    """MIME types that can be carried."""
    streaming: TransportStreamingSettings | None = None
    """Behaviour of the transport, unless a Story says otherwise."""
    config_schema: JSONObject | None = None
    """JSON Schema of the provider's settings."""
    default_settings: JSONObject | None = None
    """Settings for the provider, unless a Story says otherwise."""


class TransportStatus(ObservedStatus):
    """What the Transport controller observed."""

    validation_status: ValidationStatus | None = None
    """Outcome of validation by the controller: valid, invalid, unknown or pending."""
    validation_errors: Items[str] = unset_items()
    """What is wrong, for people."""
    usage_count: Int32 | None = None
    """Stories and bindings that refer to this Transport."""
    available_audio: Items[AudioCodec] = unset_items()
    """Audio codecs that bindings negotiated."""
    available_video: Items[VideoCodec] = unset_items()
    """Video codecs that bindings negotiated."""
    available_binary: Items[str] = unset_items()
    """MIME types that bindings negotiated."""
    conditions: Conditions = unset_items()
    """Lifecycle of the Transport: Ready."""
    pending_bindings: Int32 | None = None
    """Bindings that are not ready yet."""
    last_heartbeat_time: Time | None = None
    """When a connector was seen last."""


class Transport(KubernetesObject):
    """Transport is a provider of streaming: its driver, what it can carry, and its settings."""

    API_VERSION: ClassVar = "transport.bubustack.io/v1alpha1"
    KIND: ClassVar = "Transport"
    PLURAL: ClassVar = "transports"
    NAMESPACED: ClassVar = False
    SHORT_NAMES: ClassVar = ("transport",)
    CATEGORIES: ClassVar = ("bubu", "ai")

    spec: TransportSpec
    """The provider and what it can carry. Written by the platform's operator."""
    status: TransportStatus = Field(default_factory=TransportStatus)
    """What the Transport controller observed."""


class TransportBindingSpec(Spec):
    """What one step of a run needs of a Transport. Written by the streaming controllers."""

    transport_ref: NonEmpty
    """Name of the Transport. Immutable."""
    story_run_ref: StoryRunReference | None = None
    """StoryRun that the step belongs to."""
    step_name: NonEmpty
    """Name of the step."""
    engram_name: NonEmpty
    """Name of the workload that runs the step."""
    driver: NonEmpty
    """Driver of the Transport. Immutable."""
    audio: AudioBinding | None = None
    """Audio that the step needs. At least one of audio, video and binary."""
    video: VideoBinding | None = None
    """Video that the step needs."""
    binary: BinaryBinding | None = None
    """Binary frames that the step needs."""
    connector_endpoint: str | None = None
    """host:port of the connector inside the pod."""
    raw_settings: JSONObject | None = None
    """Settings for the provider."""


class TransportBindingStatus(ObservedStatus):
    """What was agreed on. Written by the connector."""

    negotiated_audio: AudioCodec | None = None
    """Audio codec that was chosen."""
    negotiated_video: VideoCodec | None = None
    """Video codec that was chosen."""
    negotiated_binary: str | None = None
    """MIME type that was chosen."""
    endpoint: str | None = None
    """host:port where the connector listens."""
    downstream_host: str | None = None
    """Host that packets are sent to."""
    upstream_host: str | None = None
    """Host that packets come from."""
    conditions: Conditions = unset_items()
    """Lifecycle of the binding: Ready."""


class TransportBinding(KubernetesObject):
    """TransportBinding ties one streaming step to a Transport and records what was agreed on."""

    API_VERSION: ClassVar = "transport.bubustack.io/v1alpha1"
    KIND: ClassVar = "TransportBinding"
    PLURAL: ClassVar = "transportbindings"
    SHORT_NAMES: ClassVar = ("tb", "tbind")
    CATEGORIES: ClassVar = ("bubu", "transport")
    COLUMNS: ClassVar = (
        ("Transport", "string", ".spec.transportRef"),
        ("Step", "string", ".spec.stepName"),
        ("Driver", "string", ".spec.driver"),
        ("Endpoint", "string", ".status.endpoint"),
    )
    SELECTABLE: ClassVar = (".spec.transportRef", ".spec.storyRunRef.name")

    spec: TransportBindingSpec
    """What the step needs."""
    status: TransportBindingStatus = Field(default_factory=TransportBindingStatus)
    """What was agreed on. Written by the connector."""
