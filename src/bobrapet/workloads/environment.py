"""The environment of a batch component, in the order of the table in spec workloads 6.1."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from bobrapet.api import duration, env
from bobrapet.api.tracing import TRACEPARENT, traceparent
from bobrapet.workloads.context import compact

if TYPE_CHECKING:
    from bobrapet.api import Engram, StepRun, Story, StoryRun
    from bobrapet.config.operator import OperatorConfig
    from bobrapet.config.policy import StepPolicy


def step_environment(
    *,
    step: StepRun,
    run: StoryRun,
    story: Story,
    policy: StepPolicy,
    config: OperatorConfig,
    trigger_data: dict[str, Any],
    skip_templating: bool,
    attempt: int,
) -> list[dict[str, Any]]:
    """The variables up to those of Secrets. `trigger_data` is the entry of BUBU_TRIGGER_DATA, with its name."""
    defaults = config.engram
    storage = policy.storage.value
    storage_timeout = storage.timeout_seconds if storage is not None else None
    variables = [
        _plain(env.STORY_NAME, story.metadata.name or ""),
        _plain(env.STORY_VERSION, (story.spec.version or "").strip()),
        _plain(env.STORYRUN_ID, run.metadata.name or ""),
        _plain(env.STEP_NAME, step.spec.step_id),
        _plain(env.STEPRUN_NAME, step.metadata.name or ""),
        _plain(env.STEPRUN_NAMESPACE, step.metadata.namespace or ""),
        _plain(env.STEP_ATTEMPT, str(attempt)),
        trigger_data,
        _plain(env.EXECUTION_MODE, "batch"),
        _plain(env.HYBRID_BRIDGE, "false"),
        _plain(env.GRPC_PORT, str(defaults.grpc_port)),
        _plain(env.MAX_INLINE_SIZE, str(policy.max_inline_size.value)),
        _plain(env.STORAGE_TIMEOUT, f"{storage_timeout or defaults.storage_timeout_seconds}s"),
        _plain(env.STEP_TIMEOUT, duration.from_timedelta(policy.timeout.value)),
        _plain(env.MAX_RECURSION_DEPTH, str(policy.max_recursion_depth.value)),
        _plain(env.DEBUG, _bool(policy.debug.value)),
        _field(env.POD_NAME, "metadata.name"),
        _field(env.POD_NAMESPACE, "metadata.namespace"),
        _field(env.SERVICE_ACCOUNT_NAME, "spec.serviceAccountName"),
    ]
    if skip_templating:
        variables.append(_plain(env.SKIP_INPUT_TEMPLATING, "true"))
    if config.telemetry.enabled and config.telemetry.trace_propagation:
        variables.append(_plain(TRACEPARENT, traceparent(run.metadata.uid or "", step.metadata.uid or "")))
    variables += [
        _plain(env.GRPC_MAX_RECV_BYTES, str(defaults.max_recv_msg_bytes)),
        _plain(env.GRPC_MAX_SEND_BYTES, str(defaults.max_send_msg_bytes)),
        _plain(env.GRPC_CLIENT_MAX_RECV_BYTES, str(defaults.max_recv_msg_bytes)),
        _plain(env.GRPC_CLIENT_MAX_SEND_BYTES, str(defaults.max_send_msg_bytes)),
        _plain(env.GRPC_DIAL_TIMEOUT, f"{defaults.dial_timeout_seconds}s"),
        _plain(env.GRPC_CHANNEL_BUFFER_SIZE, str(defaults.channel_buffer_size)),
        _plain(env.GRPC_RECONNECT_MAX_RETRIES, str(defaults.reconnect_max_retries)),
        _plain(
            env.GRPC_RECONNECT_BASE_BACKOFF,
            duration.from_timedelta(timedelta(milliseconds=defaults.reconnect_base_backoff_millis)),
        ),
        _plain(env.GRPC_RECONNECT_MAX_BACKOFF, f"{defaults.reconnect_max_backoff_seconds}s"),
        _plain(env.GRPC_HANG_TIMEOUT, f"{defaults.hang_timeout_seconds}s"),
        _plain(env.GRPC_MESSAGE_TIMEOUT, f"{defaults.message_timeout_seconds}s"),
        _plain(env.GRPC_CHANNEL_SEND_TIMEOUT, f"{defaults.message_timeout_seconds}s"),
    ]
    return variables


def component_environment(
    *, engram: Engram, started_at: datetime, configuration: Mapping[str, Any], context: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The variables after those of Secrets."""
    variables = [
        _plain(env.ENGRAM_NAME, engram.metadata.name or ""),
        _plain(env.ENGRAM_VERSION, (engram.spec.version or "").strip()),
        _plain(env.STARTED_AT, started_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")),
        _plain(env.STEP_CONFIG, encode(configuration)),
    ]
    if context is not None:
        variables.append(_plain(env.TEMPLATE_CONTEXT, encode(compact(context))))
    return variables


def encode(value: Any) -> str:
    """Compact JSON, the same text for equal values."""
    return msgspec.json.encode(value, order="sorted").decode()


def _plain(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value}


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _bool(value: bool) -> str:
    return "true" if value else "false"
