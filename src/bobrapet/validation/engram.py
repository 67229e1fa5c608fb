"""Every check of an Engram and of an Impulse beyond their CRDs (spec admission A4, A5, A11)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from bobrapet.api import Engram, EngramTemplate, Impulse, ImpulseTemplate, Story
from bobrapet.api.catalog import SecretDefinition, TemplateSpec
from bobrapet.api.enums import PodManagementPolicy, ServiceType, TriggerDedupeMode, WorkloadMode
from bobrapet.api.trigger import TriggerDeliveryPolicy, TriggerThrottlePolicy
from bobrapet.validation.execution import check_overrides, check_policy, check_rights, check_workload
from bobrapet.validation.faults import Findings, did_you_mean, quoted
from bobrapet.validation.references import CORE, Referrer, Target
from bobrapet.validation.scene import Scene
from bobrapet.validation.values import check_against, check_duration, check_size, check_word, inline_limit

_INLINE_HINT: Final = "Put large values into a Secret or ConfigMap (engram.default-max-inline-size)"


def check_engram(engram: Engram, scene: Scene, findings: Findings) -> None:
    """Adds to `findings` what is wrong with `engram`, or doubtful."""
    spec = engram.spec
    template = None
    if not spec.template_ref.name.strip():
        findings.required("spec.templateRef.name", "required; the name of an EngramTemplate")
    else:
        template = scene.lookup.find(EngramTemplate, "", spec.template_ref.name.strip())
        if template is None:
            name = spec.template_ref.name.strip()
            scene.missing(findings, "spec.templateRef.name", f"EngramTemplate '{name}' not found")
    if template is not None:
        _check_pin(findings, spec.template_ref.version, template.spec.version)
        if spec.mode is not None:
            _check_mode(findings, "spec.mode", spec.mode, template.spec)
    _check_block(findings, "spec.with", spec.with_, scene)
    if template is not None:
        owner = f"EngramTemplate '{template.metadata.name}'"
        check_against(findings, "spec.with", spec.with_ or {}, template.spec.config_schema, owner)
        _check_bindings(findings, spec.secrets, template.spec.secret_schema)
    for key, secret in spec.secrets.items():
        _check_secret(findings, f"spec.secrets[{key}]", engram.metadata.namespace or "", secret, scene)
    check_policy(findings, "spec.executionPolicy", spec.execution_policy)
    check_overrides(findings, "spec.overrides", spec.overrides)
    check_rights(findings, "spec.overrides", spec.overrides, "an Engram")


def check_impulse(impulse: Impulse, scene: Scene, findings: Findings) -> None:
    """Adds to `findings` what is wrong with `impulse`, or doubtful."""
    spec = impulse.spec
    template = None
    if not spec.template_ref.name.strip():
        findings.required("spec.templateRef.name", "required; the name of an ImpulseTemplate")
    else:
        template = scene.lookup.find(ImpulseTemplate, "", spec.template_ref.name.strip())
        if template is None:
            name = spec.template_ref.name.strip()
            scene.missing(findings, "spec.templateRef.name", f"ImpulseTemplate '{name}' not found")
    _check_story_of(findings, impulse, scene)
    mode = spec.workload.mode if spec.workload is not None else None
    if mode is WorkloadMode.JOB:
        findings.invalid(
            "spec.workload.mode", "must not be 'job': an Impulse is always on; use deployment or statefulset", mode
        )
    if template is not None:
        _check_pin(findings, spec.template_ref.version, template.spec.version)
        if mode is not WorkloadMode.JOB:
            _check_mode(findings, "spec.workload.mode", mode or WorkloadMode.DEPLOYMENT, template.spec)
    _check_block(findings, "spec.with", spec.with_, scene)
    _check_block(findings, "spec.mapping", spec.mapping, scene)
    if template is not None:
        owner = f"ImpulseTemplate '{template.metadata.name}'"
        check_against(findings, "spec.with", spec.with_ or {}, template.spec.config_schema, owner)
        _check_bindings(findings, spec.secrets, template.spec.secret_schema)
    check_delivery(findings, "spec.deliveryPolicy", spec.delivery_policy)
    _check_throttle(findings, "spec.throttle", spec.throttle)
    if spec.workload is not None:
        check_workload(findings, "spec.workload", spec.workload)
        if spec.workload.stateful_set is not None:
            at, word = "spec.workload.statefulSet.podManagementPolicy", spec.workload.stateful_set.pod_management_policy
            check_word(findings, at, word, PodManagementPolicy, "pod management policy")
    if spec.service is not None:
        check_word(findings, "spec.service.type", spec.service.type, ServiceType, "Service type")
    check_overrides(findings, "spec.execution", spec.execution)


def check_delivery(findings: Findings, path: str, policy: TriggerDeliveryPolicy | None) -> None:
    """A delivery policy of an Impulse or its template."""
    if policy is None:
        return
    if policy.dedupe is not None:
        template = (policy.dedupe.key_template or "").strip()
        by_key = policy.dedupe.mode is TriggerDedupeMode.KEY
        if by_key and not template:
            findings.required(f"{path}.dedupe.keyTemplate", "required: mode key needs the template that gives the key")
        elif template and not by_key:
            findings.forbidden(f"{path}.dedupe.keyTemplate", "only mode key has a keyTemplate")
    retry = policy.retry
    if retry is not None:
        if retry.max_attempts is not None and retry.max_attempts < 0:
            findings.invalid(f"{path}.retry.maxAttempts", f"must be at least 0, is {retry.max_attempts}")
        base = check_duration(findings, f"{path}.retry.baseDelay", retry.base_delay, blank=False)
        longest = check_duration(findings, f"{path}.retry.maxDelay", retry.max_delay, blank=False)
        if base and longest and longest < base:
            findings.invalid(
                f"{path}.retry.maxDelay",
                f"must not be shorter than baseDelay ({retry.base_delay}), is {retry.max_delay}",
                retry.max_delay,
            )


def _check_throttle(findings: Findings, path: str, throttle: TriggerThrottlePolicy | None) -> None:
    if throttle is None:
        return
    for name, value in (
        ("maxInFlight", throttle.max_in_flight),
        ("ratePerSecond", throttle.rate_per_second),
        ("burst", throttle.burst),
    ):
        if value is not None and value < 0:
            findings.invalid(f"{path}.{name}", f"must be at least 0 (no limit), is {value}", value)


def _check_story_of(findings: Findings, impulse: Impulse, scene: Scene) -> None:
    reference = impulse.spec.story_ref
    name = reference.name.strip()
    if not name:
        findings.required("spec.storyRef.name", "required; the name of a Story")
        return
    own = impulse.metadata.namespace or ""
    namespace = (reference.namespace or "").strip() or own
    target = Target(CORE, "Story", namespace, name)
    if not scene.may_refer(findings, "spec.storyRef", Referrer(CORE, "Impulse", own), target):
        return
    story = scene.lookup.find(Story, namespace, name)
    if story is None:
        scene.missing(findings, "spec.storyRef.name", f"story '{name}' not found in namespace '{namespace}'")
        return
    wanted, actual = (reference.version or "").strip(), (story.spec.version or "").strip()
    if wanted and wanted != actual:
        findings.warn(
            "spec.storyRef.version",
            f"version mismatch: Story '{name}' has version {quoted(actual)}, not {quoted(wanted)}",
        )


def _check_pin(findings: Findings, pinned: str | None, actual: str) -> None:
    wanted = (pinned or "").strip()
    if wanted and wanted != actual.strip():
        findings.invalid(
            "spec.templateRef.version",
            f"version {quoted(wanted)} does not match template's actual version {quoted(actual.strip())}",
            wanted,
        )


def _check_mode(findings: Findings, path: str, mode: WorkloadMode, template: TemplateSpec) -> None:
    if mode not in template.supported_modes:
        supported = ", ".join(template.supported_modes)
        findings.invalid(
            path, f"mode {quoted(mode)} is not supported by template (supportedModes: {supported})", str(mode)
        )


def _check_block(findings: Findings, path: str, block: Mapping[str, Any] | None, scene: Scene) -> None:
    if block is not None:
        check_size(findings, path, block, inline_limit(scene.config.engram.max_inline_size), _INLINE_HINT)


def _check_bindings(findings: Findings, bound: Collection[str], schema: Mapping[str, SecretDefinition]) -> None:
    for key, definition in schema.items():
        if definition.required and key not in bound:
            about = f" ({definition.description})" if definition.description else ""
            findings.required(f"spec.secrets[{key}]", f"required secret {quoted(key)}{about} is not bound to a Secret")
    for key in bound:
        if key not in schema:
            known = f"; it knows {', '.join(sorted(schema))}" if schema else "; it declares no secrets"
            hint = did_you_mean(key, schema) or known
            findings.invalid(f"spec.secrets[{key}]", f"{quoted(key)} is not in the template's secretSchema{hint}", key)


def _check_secret(findings: Findings, path: str, namespace: str, name: str, scene: Scene) -> None:
    if not name.strip():
        findings.warn(path, "names no Secret")
    elif not scene.lookup.has_secret(namespace, name.strip()):
        findings.warn(path, f"secret '{name.strip()}' not found yet in namespace '{namespace}'; it is looked for again")
