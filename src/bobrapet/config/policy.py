"""How a step is executed: one setting out of many layers, with the layer that decided.

Layers, weakest first: operator, EngramTemplate, Engram (executionPolicy, then overrides), Story policy (storage,
execution, retries, timeouts), step.execution, StepRun. The strongest layer that sets a field wins, field by field;
only node selectors merge. Security that cannot be read is never silently replaced by something weaker: it is a
problem, and the step fails. Rules: spec workloads 13 and 18.1, seed "Policy resolution".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from bobrapet.api import duration
from bobrapet.api.enums import StepType
from bobrapet.config.operator import OperatorConfig
from bobrapet.config.storage import StorageSettings, operator_storage, policy_storage, template_storage

if TYPE_CHECKING:
    from bobrapet.api import Engram, EngramTemplate, StepRun, Story
    from bobrapet.api.catalog import TemplateProbePolicy, TemplateServicePort
    from bobrapet.api.core import Affinity, PolicyRule, Probe, Toleration
    from bobrapet.api.execution import (
        CachePolicy,
        ExecutionOverrides,
        ExecutionPolicy,
        PlacementPolicy,
        ProbeOverrides,
        RetryPolicy,
        SecurityPolicy,
    )
    from bobrapet.api.story import Step

_T = TypeVar("_T")

FALLBACK_TIMEOUT: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Setting(Generic[_T]):
    """A value and the layer that it comes from."""

    value: _T
    source: str

    def __str__(self) -> str:
        return f"{self.value} ({self.source})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """When a failed attempt is repeated."""

    max_retries: Setting[int]
    delay: Setting[timedelta]
    max_delay: Setting[timedelta | None]
    backoff: Setting[str]
    jitter: Setting[int]
    """Percent of the delay that chance may add."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepPolicy:
    """Every execution setting of one step, resolved."""

    image_pull_policy: Setting[str]
    cpu_request: Setting[str | None]
    cpu_limit: Setting[str | None]
    memory_request: Setting[str | None]
    memory_limit: Setting[str | None]
    run_as_non_root: Setting[bool]
    read_only_root_filesystem: Setting[bool]
    allow_privilege_escalation: Setting[bool]
    run_as_user: Setting[int | None]
    drop_capabilities: Setting[tuple[str, ...]]
    required_secrets: Setting[tuple[str, ...]]
    """Secrets without which the workload must not be made."""
    node_selector: Mapping[str, Setting[str]]
    """Merged from all layers, key by key."""
    tolerations: Setting[Sequence[Toleration]]
    affinity: Setting[Affinity | None]
    backoff_limit: Setting[int]
    ttl_seconds_after_finished: Setting[int]
    restart_policy: Setting[str]
    timeout: Setting[timedelta]
    retry: Retry
    service_account_name: Setting[str]
    """Empty: the generated runner account of the Story."""
    automount_service_account_token: Setting[bool]
    """Streaming only: a batch component always needs its token to report."""
    rbac: tuple[Setting[PolicyRule], ...]
    """Rules of the generated Role: every layer adds its own."""
    service_ports: Setting[Sequence[TemplateServicePort]]
    max_inline_size: Setting[int]
    max_recursion_depth: Setting[int]
    storage: Setting[StorageSettings | None]
    cache: Setting[CachePolicy | None]
    debug: Setting[bool]
    probes: Mapping[str, Setting[Probe | None]]
    """By `liveness`, `readiness`, `startup`. None: the template has none, or the layer named as source disables it."""
    problems: tuple[str, ...] = ()
    """Settings that cannot be used, each with its layer; the step must not start."""

    @property
    def disabled_probes(self) -> frozenset[str]:
        """Probes that are not made."""
        return frozenset(name for name, probe in self.probes.items() if probe.value is None)

    def settings(self) -> Iterator[tuple[str, Setting[Any]]]:
        """Every setting with its value and source, by the name of its attribute: `retry.delay`, `probes.startup`."""
        for member in dataclasses.fields(self):
            yield from _flattened(member.name, getattr(self, member.name))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    """What one layer sets; None: nothing."""

    source: str
    image_pull_policy: str | None = None
    cpu_request: str | None = None
    cpu_limit: str | None = None
    memory_request: str | None = None
    memory_limit: str | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    run_as_user: int | None = None
    drop_capabilities: tuple[str, ...] | None = None
    required_secrets: tuple[str, ...] | None = None
    placement: PlacementPolicy | None = None
    backoff_limit: int | None = None
    ttl_seconds_after_finished: int | None = None
    restart_policy: str | None = None
    timeout: str | None = None
    max_retries: int | None = None
    retry_delay: str | None = None
    retry_max_delay: str | None = None
    backoff: str | None = None
    jitter: int | None = None
    service_account_name: str | None = None
    automount_service_account_token: bool | None = None
    rbac: Sequence[PolicyRule] = ()
    service_ports: Sequence[TemplateServicePort] | None = None
    template_probes: TemplateProbePolicy | None = None
    max_inline_size: int | None = None
    max_recursion_depth: int | None = None
    storage: StorageSettings | None = None
    cache: CachePolicy | None = None
    debug: bool | None = None
    probes: ProbeOverrides | None = None


def resolve(
    config: OperatorConfig,
    *,
    template: EngramTemplate | None = None,
    engram: Engram | None = None,
    story: Story | None = None,
    step: Step | None = None,
    steprun: StepRun | None = None,
) -> StepPolicy:
    """Resolves every execution setting of a step. Absent layers set nothing."""
    layers = [
        *_template(template),
        *_engram(engram),
        *_story(story),
        *_step(step),
        *_steprun(steprun),
    ]
    return _Resolution(config, layers).policy(step, explicit_retry=_has_retry_policy(story, step, steprun))


def storage_of(
    config: OperatorConfig,
    *,
    template: EngramTemplate | None = None,
    engram: Engram | None = None,
    story: Story | None = None,
    step: Step | None = None,
    steprun: StepRun | None = None,
) -> StorageSettings | None:
    """Only the payload store of `resolve`; without a step, that of a run's own values."""
    layers = [*_template(template), *_engram(engram), *_story(story), *_step(step), *_steprun(steprun)]
    return _Resolution(config, layers).storage().value


class _Resolution:
    def __init__(self, config: OperatorConfig, layers: Sequence[_Layer]) -> None:
        self._config = config
        self._layers = layers
        self._problems: list[str] = []

    def policy(self, step: Step | None, *, explicit_retry: bool) -> StepPolicy:
        config, pick = self._config, self._pick
        operator, engram = config.resources, config.engram_resources
        return StepPolicy(
            image_pull_policy=pick(lambda layer: layer.image_pull_policy, config.image_pull_policy),
            cpu_request=pick(lambda layer: layer.cpu_request, engram.cpu_request or operator.cpu_request),
            cpu_limit=pick(lambda layer: layer.cpu_limit, engram.cpu_limit or operator.cpu_limit),
            memory_request=pick(lambda layer: layer.memory_request, engram.memory_request or operator.memory_request),
            memory_limit=pick(lambda layer: layer.memory_limit, engram.memory_limit or operator.memory_limit),
            run_as_non_root=pick(lambda layer: layer.run_as_non_root, config.security.run_as_non_root),
            read_only_root_filesystem=pick(
                lambda layer: layer.read_only_root_filesystem, config.security.read_only_root_filesystem
            ),
            allow_privilege_escalation=pick(
                lambda layer: layer.allow_privilege_escalation, config.security.allow_privilege_escalation
            ),
            run_as_user=self._run_as_user(),
            drop_capabilities=pick(lambda layer: layer.drop_capabilities, config.security.drop_capabilities),
            required_secrets=pick(lambda layer: layer.required_secrets, ()),
            node_selector=self._node_selector(),
            tolerations=self._placed(lambda placement: placement.tolerations or None, ()),
            affinity=self._placed(lambda placement: placement.affinity, None),
            backoff_limit=pick(lambda layer: layer.backoff_limit, config.job.backoff_limit),
            ttl_seconds_after_finished=pick(
                lambda layer: layer.ttl_seconds_after_finished, config.job.ttl_seconds_after_finished
            ),
            restart_policy=self._restart_policy(),
            timeout=self._timeout(step),
            retry=self._retry(step, explicit_retry),
            service_account_name=self._service_account(),
            automount_service_account_token=self._automount(),
            rbac=tuple(Setting(rule, layer.source) for layer in self._layers for rule in layer.rbac),
            service_ports=pick(lambda layer: layer.service_ports, ()),
            max_inline_size=pick(lambda layer: layer.max_inline_size, config.engram.max_inline_size),
            max_recursion_depth=pick(lambda layer: layer.max_recursion_depth, config.engram.max_recursion_depth),
            storage=self.storage(),
            cache=pick(lambda layer: layer.cache, None),
            debug=pick(lambda layer: layer.debug, False),
            probes={name: self._probe(name) for name in ("liveness", "readiness", "startup")},
            problems=tuple(self._problems),
        )

    def _pick(self, read: Callable[[_Layer], _T | None], default: _T) -> Setting[_T]:
        for layer in reversed(self._layers):
            if (value := read(layer)) is not None:
                return Setting(value, layer.source)
        return Setting(default, OPERATOR)

    def _span(self, read: Callable[[_Layer], str | None], default: _T, field_name: str) -> Setting[timedelta | _T]:
        """The strongest duration that can be read; one that cannot is skipped (workloads R-18.1)."""
        for layer in reversed(self._layers):
            text = read(layer)
            if text is None or not text.strip():
                continue
            try:
                span = duration.to_timedelta(text.strip())
            except duration.DurationError:
                continue
            if span > timedelta(0) or (field_name == "delay" and not span):
                return Setting(span, layer.source)
        return Setting(default, OPERATOR)

    def _timeout(self, step: Step | None) -> Setting[timedelta]:
        timeouts = self._config.timeouts
        kind = step.type if step is not None else None
        by_type = {
            StepType.GATE: timeouts.approval,
            StepType.WAIT: timeouts.external_data,
            StepType.CONDITION: timeouts.conditional,
        }
        default = by_type.get(kind) if kind is not None else None
        return self._span(lambda layer: layer.timeout, default or timeouts.step or FALLBACK_TIMEOUT, "timeout")

    def _retry(self, step: Step | None, explicit: bool) -> Retry:
        max_retries = self._pick(lambda layer: layer.max_retries, self._config.max_retries)
        if step is not None and step.side_effects and not explicit:
            max_retries = Setting(0, "step.sideEffects without a retry policy")
        return Retry(
            max_retries=Setting(max(max_retries.value, 0), max_retries.source),
            delay=self._span(lambda layer: layer.retry_delay, timedelta(seconds=1), "delay"),
            max_delay=self._span(lambda layer: layer.retry_max_delay, None, "maxDelay"),
            backoff=self._pick(lambda layer: layer.backoff, "exponential"),
            jitter=self._pick(lambda layer: layer.jitter, 0),
        )

    def _run_as_user(self) -> Setting[int | None]:
        for layer in self._layers:
            if layer.run_as_user is not None and layer.run_as_user <= 0:
                self._problems.append(f"{layer.source}: runAsUser must be greater than 0, not {layer.run_as_user}")
        return self._pick(lambda layer: layer.run_as_user, self._config.security.run_as_user)

    def _restart_policy(self) -> Setting[str]:
        policy = self._pick(lambda layer: layer.restart_policy, self._config.job.restart_policy)
        if policy.value not in ("Never", "OnFailure"):
            self._problems.append(
                f'{policy.source}: restartPolicy "{policy.value}" is not possible for a Job; use Never or OnFailure'
            )
        return policy

    def _service_account(self) -> Setting[str]:
        security = self._config.security
        if security.allow_step_service_account_override:
            return self._pick(lambda layer: layer.service_account_name, security.service_account_name)
        return Setting(security.service_account_name, OPERATOR)

    def storage(self) -> Setting[StorageSettings | None]:
        found = self._pick(lambda layer: layer.storage, operator_storage(self._config))
        if found.value is not None and found.value.problem:
            self._problems.append(f"{found.source}: {found.value.problem}")
        return found

    def _automount(self) -> Setting[bool]:
        security = self._config.security
        if security.allow_step_service_account_override:
            return self._pick(
                lambda layer: layer.automount_service_account_token, security.automount_service_account_token
            )
        return Setting(security.automount_service_account_token, OPERATOR)

    def _node_selector(self) -> Mapping[str, Setting[str]]:
        return {
            key: Setting(value, layer.source)
            for layer in self._layers
            if layer.placement is not None
            for key, value in layer.placement.node_selector.items()
        }

    def _placed(self, read: Callable[[PlacementPolicy], _T | None], default: _T) -> Setting[_T]:
        return self._pick(lambda layer: read(layer.placement) if layer.placement is not None else None, default)

    def _probe(self, name: str) -> Setting[Probe | None]:
        """The template's probe, unless the strongest layer that says anything disables it."""
        own: Setting[Probe | None] = self._pick(
            lambda layer: getattr(layer.template_probes, name) if layer.template_probes is not None else None, None
        )
        disabled: Setting[bool] = self._pick(
            lambda layer: getattr(layer.probes, f"disable_{name}") if layer.probes is not None else None, False
        )
        return Setting(None, disabled.source) if disabled.value else own


def _flattened(name: str, value: Any) -> Iterator[tuple[str, Setting[Any]]]:
    match value:
        case Setting():
            yield name, value
        case Retry():
            for member in dataclasses.fields(value):
                yield f"{name}.{member.name}", getattr(value, member.name)
        case tuple():
            for index, entry in enumerate(value):
                if isinstance(entry, Setting):
                    yield f"{name}[{index}]", entry
        case dict():
            for key, entry in value.items():
                yield f"{name}.{key}", entry


OPERATOR: Final = "operator"


def recommends_retry(story: Story, step: Step, template: EngramTemplate) -> bool:
    """Whether Story, step or template say anything about retries (R-13.3)."""
    retry = template.spec.execution.retry if template.spec.execution is not None else None
    return _has_retry_policy(story, step, None) or (retry is not None and bool(retry.model_fields_set))


def _has_retry_policy(story: Story | None, step: Step | None, steprun: StepRun | None) -> bool:
    return any(policy is not None for policy in _retry_policies(story, step, steprun))


def _retry_policies(story: Story | None, step: Step | None, steprun: StepRun | None) -> Iterable[RetryPolicy | None]:
    yield steprun.spec.retry if steprun is not None else None
    yield step.execution.retry if step is not None and step.execution is not None else None
    policy = story.spec.policy if story is not None else None
    yield policy.retries.step_retry_policy if policy is not None and policy.retries is not None else None
    yield policy.execution.retry if policy is not None and policy.execution is not None else None


# One function per layer, weakest first: what it sets, and how it is called in messages.


def _template(template: EngramTemplate | None) -> Iterable[_Layer]:
    execution = template.spec.execution if template is not None else None
    if template is None or execution is None:
        return
    resources, security, job, retry = execution.resources, execution.security, execution.job, execution.retry
    escalation = security.requires_no_privilege_escalation if security is not None else None
    yield _Layer(
        source=f"EngramTemplate {template.metadata.name}",
        image_pull_policy=(execution.images.pull_policy or None) if execution.images is not None else None,
        cpu_request=resources.cpu_request if resources is not None else None,
        cpu_limit=resources.cpu_limit if resources is not None else None,
        memory_request=resources.memory_request if resources is not None else None,
        memory_limit=resources.memory_limit if resources is not None else None,
        run_as_non_root=security.non_root if security is not None else None,
        read_only_root_filesystem=security.read_only_root if security is not None else None,
        allow_privilege_escalation=(not escalation) if escalation is not None else None,
        run_as_user=security.user if security is not None else None,
        drop_capabilities=(tuple(security.drop_capabilities) or None) if security is not None else None,
        backoff_limit=job.recommended_backoff_limit if job is not None else None,
        ttl_seconds_after_finished=job.ttl_seconds_after_finished if job is not None else None,
        restart_policy=(job.recommended_restart_policy or None) if job is not None else None,
        timeout=execution.timeout,
        max_retries=retry.recommended_max_retries if retry is not None else None,
        retry_delay=retry.recommended_base_delay if retry is not None else None,
        retry_max_delay=retry.recommended_max_delay if retry is not None else None,
        backoff=(retry.recommended_backoff or None) if retry is not None else None,
        storage=template_storage(execution.storage),
        rbac=execution.rbac.rules if execution.rbac is not None else (),
        service_ports=(execution.service.ports or None) if execution.service is not None else None,
        template_probes=execution.probes,
    )


def _engram(engram: Engram | None) -> Iterable[_Layer]:
    if engram is None:
        return
    source = f"Engram {engram.metadata.name}"
    if engram.spec.execution_policy is not None:
        yield _execution(f"{source} executionPolicy", engram.spec.execution_policy)
    if engram.spec.overrides is not None:
        yield _overrides(f"{source} overrides", engram.spec.overrides)


def _story(story: Story | None) -> Iterable[_Layer]:
    policy = story.spec.policy if story is not None else None
    if story is None or policy is None:
        return
    source = f"Story {story.metadata.name}"
    if policy.storage is not None:
        yield _Layer(source=f"{source} policy.storage", storage=policy_storage(policy.storage))
    if policy.execution is not None:
        yield _execution(f"{source} policy.execution", policy.execution)
    if policy.retries is not None and policy.retries.step_retry_policy is not None:
        yield _Layer(source=f"{source} policy.retries", **_retry_fields(policy.retries.step_retry_policy))
    if policy.timeouts is not None and policy.timeouts.step is not None:
        yield _Layer(source=f"{source} policy.timeouts", timeout=policy.timeouts.step)


def _step(step: Step | None) -> Iterable[_Layer]:
    if step is not None and step.execution is not None:
        yield _overrides(f"step {step.name}", step.execution)


def _steprun(steprun: StepRun | None) -> Iterable[_Layer]:
    if steprun is None:
        return
    source = f"StepRun {steprun.metadata.name}"
    if steprun.spec.retry is not None or steprun.spec.timeout is not None:
        retry = _retry_fields(steprun.spec.retry) if steprun.spec.retry is not None else {}
        yield _Layer(source=source, timeout=steprun.spec.timeout, **retry)
    overrides = steprun.spec.execution_overrides
    if overrides is not None:
        yield _Layer(
            source=f"{source} executionOverrides",
            cpu_request=overrides.cpu_request,
            cpu_limit=overrides.cpu_limit,
            memory_request=overrides.memory_request,
            memory_limit=overrides.memory_limit,
            placement=overrides.placement,
            cache=overrides.cache,
            debug=overrides.debug,
            backoff_limit=overrides.backoff_limit,
            ttl_seconds_after_finished=overrides.ttl_seconds_after_finished,
            restart_policy=overrides.restart_policy or None,
        )


def _execution(source: str, execution: ExecutionPolicy) -> _Layer:
    resources, job = execution.resources, execution.job
    return _Layer(
        source=source,
        cpu_request=resources.cpu_request if resources is not None else None,
        cpu_limit=resources.cpu_limit if resources is not None else None,
        memory_request=resources.memory_request if resources is not None else None,
        memory_limit=resources.memory_limit if resources is not None else None,
        placement=execution.placement,
        backoff_limit=job.backoff_limit if job is not None else None,
        ttl_seconds_after_finished=job.ttl_seconds_after_finished if job is not None else None,
        restart_policy=(job.restart_policy or None) if job is not None else None,
        timeout=execution.timeout,
        service_account_name=execution.service_account_name or None,
        max_recursion_depth=execution.max_recursion_depth,
        storage=policy_storage(execution.storage),
        cache=execution.cache,
        **_security_fields(execution.security),
        **(_retry_fields(execution.retry) if execution.retry is not None else {}),
    )


def _overrides(source: str, overrides: ExecutionOverrides) -> _Layer:
    return _Layer(
        source=source,
        image_pull_policy=overrides.image_pull_policy or None,
        placement=overrides.placement,
        timeout=overrides.timeout,
        service_account_name=overrides.service_account_name or None,
        max_inline_size=overrides.max_inline_size,
        storage=policy_storage(overrides.storage),
        cache=overrides.cache,
        debug=overrides.debug,
        probes=overrides.probes,
        automount_service_account_token=overrides.automount_service_account_token,
        rbac=overrides.rbac.rules if overrides.rbac is not None else (),
        required_secrets=(tuple(overrides.security.required_secrets) or None)
        if overrides.security is not None
        else None,
        **_security_fields(overrides.security),
        **(_retry_fields(overrides.retry) if overrides.retry is not None else {}),
    )


def _secrets(overrides: ExecutionOverrides) -> tuple[str, ...] | None:
    return (tuple(overrides.security.required_secrets) or None) if overrides.security is not None else None


def _security_fields(security: SecurityPolicy | None) -> dict[str, Any]:
    if security is None:
        return {}
    return {
        "run_as_non_root": security.run_as_non_root,
        "read_only_root_filesystem": security.read_only_root_filesystem,
        "allow_privilege_escalation": security.allow_privilege_escalation,
        "run_as_user": security.run_as_user,
    }


def _retry_fields(retry: RetryPolicy) -> dict[str, Any]:
    return {
        "max_retries": retry.max_retries,
        "retry_delay": retry.delay,
        "retry_max_delay": retry.max_delay,
        "backoff": retry.backoff.value if retry.backoff is not None else None,
        "jitter": retry.jitter,
    }
