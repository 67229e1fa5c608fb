"""Streaming settings of a Transport or a Story's transport (spec admission A3.1).

Limits and words are in the CRD; here is what it cannot say.
"""

from __future__ import annotations

from collections.abc import Collection

from bobrapet.api.enums import TracingSamplePolicy, TransportFanInMode
from bobrapet.api.streaming import FanIn, Lane, RoutingRule, TransportStreamingSettings
from bobrapet.api.wire import Items
from bobrapet.validation.faults import Findings, did_you_mean, quoted
from bobrapet.validation.templates import Scope, check_templates
from bobrapet.validation.values import check_duration


def check_streaming(
    findings: Findings,
    path: str,
    settings: TransportStreamingSettings | None,
    *,
    steps: Collection[str] | None = None,
) -> None:
    """Checks streaming settings; `steps` are the names that routing rules of a Story may target."""
    if settings is None:
        return
    if settings.flow_control is not None and settings.flow_control.ack_every is not None:
        at = f"{path}.flowControl.ackEvery.maxDelay"
        check_duration(findings, at, settings.flow_control.ack_every.max_delay, positive=True, blank=False)
    if settings.delivery is not None and settings.delivery.replay is not None:
        at = f"{path}.delivery.replay.checkpointInterval"
        check_duration(findings, at, settings.delivery.replay.checkpoint_interval, positive=True, blank=False)
    if settings.routing is not None:
        for index, rule in enumerate(settings.routing.rules):
            _check_rule(findings, f"{path}.routing.rules[{index}]", rule, steps)
    _check_lanes(findings, f"{path}.lanes", settings.lanes)
    _check_fan_in(findings, f"{path}.fanIn", settings.fan_in)
    if (
        settings.partitioning is not None
        and settings.partitioning.key is not None
        and not settings.partitioning.key.strip()
    ):
        findings.invalid(f"{path}.partitioning.key", "must not be blank; leave it out instead")
    if settings.observability is not None and settings.observability.tracing is not None:
        policy = settings.observability.tracing.sample_policy
        words = [word.value for word in TracingSamplePolicy]
        if policy is not None and policy.strip() and policy.strip().lower() not in words:
            findings.not_supported(f"{path}.observability.tracing.samplePolicy", policy, words, "sample policy")
    if settings.recording is not None:
        for index, field in enumerate(settings.recording.redact_fields):
            if not field.strip():
                findings.invalid(f"{path}.recording.redactFields[{index}]", "must not be blank")


def _check_rule(findings: Findings, path: str, rule: RoutingRule, steps: Collection[str] | None) -> None:
    if rule.when is not None and steps is not None:
        check_templates(findings, f"{path}.when", rule.when, Scope.REALTIME_RUNTIME)
    seen: set[str] = set()
    for index, target in enumerate(rule.target.steps if rule.target else ()):
        at = f"{path}.target.steps[{index}]"
        name = target.strip()
        if not name:
            findings.invalid(at, "must not be blank")
        elif name in seen:
            findings.duplicate(at, f"{quoted(name)} is listed twice", name)
        elif steps is not None and name not in steps:
            findings.invalid(at, f"references unknown step {quoted(name)}{did_you_mean(name, steps)}", name)
        seen.add(name)


def _check_lanes(findings: Findings, path: str, lanes: Items[Lane]) -> None:
    names: set[str] = set()
    kinds: set[str] = set()
    for index, lane in enumerate(lanes):
        name, kind = lane.name.strip(), str(lane.kind)
        if not name:
            findings.required(f"{path}[{index}].name")
        elif name in names:
            findings.duplicate(f"{path}[{index}].name", f"duplicate lane name {quoted(name)}", name)
        if kind in kinds:
            findings.duplicate(
                f"{path}[{index}].kind", f"duplicate lane kind {quoted(kind)}; each kind at most once", kind
            )
        names.add(name)
        kinds.add(kind)


def _check_fan_in(findings: Findings, path: str, fan_in: FanIn | None) -> None:
    if fan_in is None:
        return
    if fan_in.mode is TransportFanInMode.QUORUM:
        if not fan_in.quorum:
            findings.required(f"{path}.quorum", "mode quorum needs quorum, the number of senders, 1 or more")
    elif fan_in.quorum is not None:
        findings.forbidden(f"{path}.quorum", "only mode quorum has a quorum")
