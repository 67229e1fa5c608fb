"""What the engine tells a component: the `BUBU_*` variables of one step (workloads 6.1, 24.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bobrapet.sdk.durations import parse_duration
from bobrapet.sdk.errors import EnvironmentInvalid
from bobrapet.sdk.secrets import Secret, expand_secrets

DEFAULT_STEP_TIMEOUT = 1800.0
_CONFIG_OVERRIDE = "BUBU_CONFIG_"
_BATCH = frozenset({"", "job", "batch", "hybrid"})
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on", "debug"})


class StepIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Which step of which run this process is."""

    namespace: str
    step_run: str
    step: str = ""
    story_run: str = ""
    story: str = ""
    story_version: str = ""
    engram: str = ""
    engram_version: str = ""
    pod: str = ""
    attempt: int | None = None
    """Retries before this process was started. None: the operator does not number attempts."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.step_run}"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of JSON that may stand in a StepRun's status for one signal and for the details of one effect."""

    signal_payload: int = 8192
    effect_details: int = 8192


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """A step's surroundings, read once at the start."""

    step: StepIdentity
    inputs: Mapping[str, Any] = {}
    config: Mapping[str, Any] = {}
    secrets: Mapping[str, Secret] = {}
    timeout: float = DEFAULT_STEP_TIMEOUT
    """Seconds that the whole component may take."""

    started_at: str = ""
    """RFC 3339 moment at which the step began, also before this process existed."""

    debug: bool = False
    operation_timeout: float = 30.0
    """Seconds that reporting the result may take, with its repetitions."""

    request_timeout: float = 30.0
    patch_retries: int = 5
    user_agent: str = ""
    limits: Limits = Limits()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Environment:
        """Raises EnvironmentInvalid, naming the variable, when the process was not started as a step."""
        step = identity(environ)
        _check_mode(environ.get("BUBU_EXECUTION_MODE", ""))
        return cls(
            step=step,
            inputs=json_object(environ, "BUBU_TRIGGER_DATA"),
            config={**json_object(environ, "BUBU_STEP_CONFIG"), **_config_overrides(environ)},
            secrets=expand_secrets(environ),
            timeout=_positive(_seconds(environ, "BUBU_STEP_TIMEOUT", DEFAULT_STEP_TIMEOUT), DEFAULT_STEP_TIMEOUT),
            started_at=environ.get("BUBU_STARTED_AT", ""),
            debug=environ.get("BUBU_DEBUG", "").strip().lower() in _TRUE,
            operation_timeout=_seconds(environ, "BUBU_K8S_OPERATION_TIMEOUT", 30.0),
            request_timeout=_positive(_seconds(environ, "BUBU_K8S_TIMEOUT", 30.0), 30.0),
            patch_retries=_count(environ, "BUBU_K8S_PATCH_MAX_RETRIES", 5),
            user_agent=environ.get("BUBU_K8S_USER_AGENT", "").strip(),
            limits=Limits(
                signal_payload=_count(environ, "BUBU_SIGNAL_MAX_PAYLOAD_BYTES", 8192),
                effect_details=_count(environ, "BUBU_EFFECT_MAX_DETAILS_BYTES", 8192),
            ),
        )


def identity(environ: Mapping[str, str]) -> StepIdentity:
    """The part that reporting a failure needs, even when everything else is malformed."""
    return StepIdentity(
        namespace=_required(environ, "BUBU_STEPRUN_NAMESPACE"),
        step_run=_required(environ, "BUBU_STEPRUN_NAME"),
        step=environ.get("BUBU_STEP_NAME", ""),
        story_run=environ.get("BUBU_STORYRUN_ID", ""),
        story=environ.get("BUBU_STORY_NAME", ""),
        story_version=environ.get("BUBU_STORY_VERSION", ""),
        engram=environ.get("BUBU_ENGRAM_NAME", ""),
        engram_version=environ.get("BUBU_ENGRAM_VERSION", ""),
        pod=environ.get("BUBU_POD_NAME", ""),
        attempt=_integer(environ, "BUBU_STEP_ATTEMPT"),
    )


def _check_mode(mode: str) -> None:
    """Empty, `job`, `batch` and `hybrid` are a step with a beginning and an end (workloads 20.4)."""
    if mode.strip().lower() not in _BATCH:
        raise EnvironmentInvalid(
            f"BUBU_EXECUTION_MODE={mode}: this component runs as a batch step; give its Engram mode: job"
        )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise EnvironmentInvalid(f"{name} is not set: an Engram is started by the engine, as a step of a StoryRun")
    return value


def json_object(environ: Mapping[str, str], name: str) -> dict[str, Any]:
    """The object in a variable; empty where it is not set. Raises EnvironmentInvalid."""
    text = environ.get(name, "")
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise EnvironmentInvalid(f"{name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise EnvironmentInvalid(f"{name} must hold a JSON object, not {type(value).__name__}")
    return value


def _config_overrides(environ: Mapping[str, str]) -> dict[str, str]:
    """`BUBU_CONFIG_<key>` replaces one top-level key of the configuration by the text as it is."""
    return {
        name.removeprefix(_CONFIG_OVERRIDE): value
        for name, value in environ.items()
        if name.startswith(_CONFIG_OVERRIDE) and name != _CONFIG_OVERRIDE
    }


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    try:
        return parse_duration(text) if text else default
    except ValueError as error:
        raise EnvironmentInvalid(f"{name}: {error}") from error


def _positive(seconds: float, default: float) -> float:
    return seconds if seconds > 0 else default


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    number = _integer(environ, name)
    return default if number is None or number < 0 else number


def _integer(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    try:
        return int(text) if text else None
    except ValueError as error:
        raise EnvironmentInvalid(f"{name}={text!r} is no whole number") from error
