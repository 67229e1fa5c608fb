"""Every check of a Transport and a TransportBinding beyond their CRDs (spec admission A9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from bobrapet.api import Transport, TransportBinding
from bobrapet.api.env import TRANSPORT_SECURITY_MODE
from bobrapet.api.media import AudioCodec, VideoCodec
from bobrapet.validation.faults import FaultReason, Findings, did_you_mean, quoted
from bobrapet.validation.scene import Scene
from bobrapet.validation.schema_text import type_of
from bobrapet.validation.streaming import check_streaming
from bobrapet.validation.values import check_schema

_SECURITY_MODES: Final = ("tls",)


def check_transport(transport: Transport, scene: Scene, findings: Findings) -> None:
    """Adds to `findings` what is wrong with `transport`."""
    spec = transport.spec
    if not spec.driver.strip():
        findings.required("spec.driver", "required; the driver that connectors must speak")
    if not (spec.supported_audio or spec.supported_video or spec.supported_binary):
        findings.required("spec", "at least one of supportedAudio, supportedVideo and supportedBinary is required")
    _check_unique(findings, "spec.supportedAudio", "name", [codec.name for codec in spec.supported_audio])
    _check_unique(findings, "spec.supportedVideo", "name", [codec.name for codec in spec.supported_video])
    for index, codec in enumerate(spec.supported_audio):
        for name, value in (("sampleRateHz", codec.sample_rate_hz), ("channels", codec.channels)):
            if value is not None and value < 0:
                findings.invalid(f"spec.supportedAudio[{index}].{name}", f"must be at least 0, is {value}", value)
    _check_unique(findings, "spec.supportedBinary", "", spec.supported_binary)
    for index, mime in enumerate(spec.supported_binary):
        if "/" not in mime.strip():
            findings.invalid(
                f"spec.supportedBinary[{index}]",
                f"{quoted(mime)} is no valid MIME type, such as application/json",
                mime,
            )
    check_streaming(findings, "spec.streaming", spec.streaming)
    check_schema(findings, "spec.configSchema", spec.config_schema, "configSchema")
    _check_settings(findings, "spec.defaultSettings", spec.default_settings)


def check_transport_binding(binding: TransportBinding, scene: Scene, findings: Findings) -> None:
    """Adds to `findings` what is wrong with `binding`."""
    spec = binding.spec
    if spec.audio is None and spec.video is None and spec.binary is None:
        findings.required("spec", "at least one lane is required: audio, video or binary")
    if not spec.driver.strip():
        findings.required("spec.driver", "required; the driver of the Transport")
    _check_settings(findings, "spec.rawSettings", spec.raw_settings)
    name = spec.transport_ref.strip()
    if not name:
        findings.required("spec.transportRef", "required; the name of a Transport")
        return
    transport = scene.lookup.find(Transport, "", name)
    if transport is None:
        findings.not_found("spec.transportRef", f"Transport '{name}' not found", name)
        return
    if spec.driver.strip() and spec.driver != transport.spec.driver:
        findings.invalid(
            "spec.driver", f"must match transport driver {quoted(transport.spec.driver)}, is {quoted(spec.driver)}"
        )
    offers = f"Transport '{name}' offers"
    if spec.audio is not None:
        for index, audio in enumerate(spec.audio.codecs):
            if not any(_audio_fits(audio, offered) for offered in transport.spec.supported_audio):
                shown = ", ".join(map(_audio_text, transport.spec.supported_audio)) or "no audio"
                _not_offered(findings, f"spec.audio.codecs[{index}]", _audio_text(audio), f"{offers} {shown}")
    if spec.video is not None:
        for index, video in enumerate(spec.video.codecs):
            if not any(_video_fits(video, offered) for offered in transport.spec.supported_video):
                shown = ", ".join(map(_video_text, transport.spec.supported_video)) or "no video"
                _not_offered(findings, f"spec.video.codecs[{index}]", _video_text(video), f"{offers} {shown}")
    if spec.binary is not None:
        known = {mime.strip().lower() for mime in transport.spec.supported_binary}
        for index, mime in enumerate(spec.binary.mime_types):
            if mime.strip().lower() not in known:
                shown = ", ".join(transport.spec.supported_binary) or "no binary"
                hint = did_you_mean(mime, transport.spec.supported_binary)
                _not_offered(findings, f"spec.binary.mimeTypes[{index}]", mime, f"{offers} {shown}{hint}")


def check_transport_binding_update(new: TransportBinding, old: TransportBinding, findings: Findings) -> None:
    """What may not change in a TransportBinding."""
    for path, now, then in (
        ("spec.transportRef", new.spec.transport_ref, old.spec.transport_ref),
        ("spec.driver", new.spec.driver, old.spec.driver),
    ):
        if now.strip() != then.strip():
            findings.forbidden(path, f"{path.rpartition('.')[2]} is immutable after creation")


def _check_unique(findings: Findings, path: str, member: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        at = f"{path}[{index}].{member}" if member else f"{path}[{index}]"
        folded = value.strip().lower()
        if not folded:
            findings.required(at, "required; must not be blank")
        elif folded in seen:
            findings.duplicate(at, f"{quoted(value)} is listed twice", value)
        seen.add(folded)


def _check_settings(findings: Findings, path: str, settings: Mapping[str, Any] | None) -> None:
    env = (settings or {}).get("env")
    if env is None:
        return
    if not isinstance(env, Mapping):
        findings.add(f"{path}.env", FaultReason.TYPE_INVALID, f"must be an object, is {type_of(env)}", env)
        return
    mode = env.get(TRANSPORT_SECURITY_MODE)
    if mode is None:
        return
    at = f"{path}.env.{TRANSPORT_SECURITY_MODE}"
    if not isinstance(mode, str):
        findings.add(at, FaultReason.TYPE_INVALID, f"must be a string, is {type_of(mode)}", mode)
    elif mode.strip().lower() not in _SECURITY_MODES:
        findings.add(at, FaultReason.NOT_SUPPORTED, f'{quoted(mode)}: only "tls" is supported', mode)


def _not_offered(findings: Findings, path: str, wanted: str, offers: str) -> None:
    findings.invalid(path, f"{quoted(wanted)} is not offered; {offers}", wanted)


def _audio_fits(wanted: AudioCodec, offered: AudioCodec) -> bool:
    return (
        wanted.name.lower() == offered.name.lower()
        and (not wanted.sample_rate_hz or wanted.sample_rate_hz == offered.sample_rate_hz)
        and (not wanted.channels or wanted.channels == offered.channels)
    )


def _video_fits(wanted: VideoCodec, offered: VideoCodec) -> bool:
    profile = (wanted.profile or "").strip().lower()
    return wanted.name.lower() == offered.name.lower() and profile in ("", (offered.profile or "").strip().lower())


def _audio_text(codec: AudioCodec) -> str:
    rate = f" {codec.sample_rate_hz} Hz" if codec.sample_rate_hz else ""
    return f"{codec.name}{rate}{f' {codec.channels} channels' if codec.channels else ''}"


def _video_text(codec: VideoCodec) -> str:
    return f"{codec.name} {codec.profile}" if codec.profile else codec.name
