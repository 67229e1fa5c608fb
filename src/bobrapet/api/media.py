"""Codecs and media bindings of transports (spec api 4.18)."""

from bobrapet.api.enums import AudioCodecName, MediaDirection, VideoCodecName
from bobrapet.api.wire import Bool, Int32, Items, Model, unset_items


class AudioCodec(Model):
    """An audio encoding."""

    name: AudioCodecName
    """Name of the codec."""
    sample_rate_hz: Int32 | None = None
    """Samples per second. Unset: any."""
    channels: Int32 | None = None
    """Number of channels. Unset: any."""


class VideoCodec(Model):
    """A video encoding."""

    name: VideoCodecName
    """Name of the codec."""
    profile: str | None = None
    """Profile of the codec. Unset: any."""


class AudioBinding(Model):
    """Audio between a component and its connector."""

    direction: MediaDirection
    """publish, subscribe or bidirectional, seen from the component."""
    codecs: Items[AudioCodec] = unset_items()
    """Codecs wanted, best first. Empty: pcm16."""


class VideoBinding(Model):
    """Video between a component and its connector."""

    direction: MediaDirection
    """publish, subscribe or bidirectional, seen from the component."""
    codecs: Items[VideoCodec] = unset_items()
    """Codecs wanted, best first."""
    raw: Bool | None = None
    """Whether frames are passed undecoded. Default: false."""


class BinaryBinding(Model):
    """Binary frames between a component and its connector."""

    direction: MediaDirection
    """publish, subscribe or bidirectional, seen from the component."""
    mime_types: Items[str] = unset_items()
    """MIME types wanted, best first."""
