"""Requirements on the resolution of execution settings (spec workloads 13, 18.1)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.config.policy import StepPolicy, resolve
from tests.unit.workloads.builders import engram, steprun, story, template


def resolved(
    *,
    operator: dict[str, str] | None = None,
    template_: dict[str, Any] | None = None,
    overrides: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    step: dict[str, Any] | None = None,
    steprun_: dict[str, Any] | None = None,
) -> StepPolicy:
    spec = {"name": "fetch", "ref": {"name": "f"}, **(step or {})}
    found = story(steps=[spec], **({"policy": policy} if policy else {}))
    return resolve(
        parse(operator).config if operator else OperatorConfig(),
        template=template(execution=template_ or {}),
        engram=engram(overrides=overrides or {}),
        story=found,
        step=found.spec.steps[0],
        steprun=steprun(**(steprun_ or {})),
    )


def test_the_strongest_layer_that_sets_a_timeout_wins_and_is_named() -> None:
    layers: list[tuple[str, dict[str, Any], str]] = [
        ("operator", {"timeout.default-step": "1m"}, "operator"),
        ("template_", {"timeout": "2m"}, "EngramTemplate http-client"),
        ("overrides", {"timeout": "3m"}, "Engram fetcher overrides"),
        ("policy", {"execution": {"timeout": "4m"}}, "Story etl policy.execution"),
        ("policy", {"execution": {"timeout": "4m"}, "timeouts": {"step": "5m"}}, "Story etl policy.timeouts"),
        ("step", {"execution": {"timeout": "6m"}}, "step fetch"),
        ("steprun_", {"timeout": "7m"}, "StepRun r1-fetch"),
    ]
    given: dict[str, Any] = {}
    for minutes, (name, value, source) in enumerate(layers, start=1):
        given[name] = value
        timeout = resolved(**given).timeout
        assert (timeout.value, timeout.source) == (timedelta(minutes=minutes), source)


def test_without_any_layer_a_step_has_half_an_hour() -> None:
    assert resolved().timeout.value == timedelta(minutes=30)


def test_a_timeout_that_cannot_be_read_is_skipped() -> None:
    assert resolved(template_={"timeout": "2m"}, step={"execution": {"timeout": "soon"}}).timeout.value.seconds == 120


@pytest.mark.spec("workloads-26")
def test_zero_retries_are_honoured_and_unset_ones_are_three() -> None:
    assert resolved().retry.max_retries.value == 3
    assert resolved(step={"execution": {"retry": {"maxRetries": 0}}}).retry.max_retries.value == 0


def test_side_effects_without_a_retry_policy_are_never_repeated() -> None:
    assert resolved(step={"sideEffects": True}).retry.max_retries.value == 0
    retried = resolved(step={"sideEffects": True}, policy={"retries": {"stepRetryPolicy": {"maxRetries": 2}}})
    assert retried.retry.max_retries.value == 2


def test_template_recommendations_fill_what_a_retry_policy_leaves_open() -> None:
    retry = resolved(
        template_={
            "retry": {"recommendedBaseDelay": "4s", "recommendedMaxDelay": "9s", "recommendedBackoff": "linear"}
        },
        step={"execution": {"retry": {"maxRetries": 1, "backoff": "constant"}}},
    ).retry
    assert (retry.max_retries.value, retry.delay.value.seconds, retry.backoff.value) == (1, 4, "constant")
    assert retry.max_delay.value == timedelta(seconds=9)


def test_the_step_beats_the_story_for_storage_too() -> None:
    found = resolved(
        policy={"storage": {"file": {"volumeClaimName": "story"}}},
        step={"execution": {"storage": {"file": {"volumeClaimName": "step"}}}},
    ).storage
    assert found.value is not None
    assert (found.value.volume_claim_name, found.source) == ("step", "step fetch")


def test_both_storage_providers_at_once_are_a_problem() -> None:
    s3 = {"bucket": "b", "authentication": {}}
    assert "choose one" in resolved(policy={"storage": {"s3": s3, "file": {}}}).problems[0]


def test_a_restart_policy_that_no_job_can_have_is_a_problem() -> None:
    assert "Always" in resolved(policy={"execution": {"job": {"restartPolicy": "Always"}}}).problems[0]


def test_a_weaker_security_setting_is_honoured_but_an_impossible_one_is_a_problem() -> None:
    assert resolved(step={"execution": {"security": {"runAsNonRoot": False}}}).run_as_non_root.value is False
    assert "runAsUser" in resolved(step={"execution": {"security": {"runAsUser": 0}}}).problems[0]


def test_both_spellings_of_template_resources_are_read_and_the_seed_wins() -> None:
    both = {"resources": {"defaultCPURequest": "1", "recommendedCpuRequest": "2", "recommendedMemoryLimit": "1Gi"}}
    found = resolved(template_=both)
    assert (found.cpu_request.value, found.memory_limit.value) == ("1", "1Gi")


def test_node_selectors_merge_and_tolerations_replace() -> None:
    found = resolved(
        overrides={"placement": {"nodeSelector": {"a": "1", "b": "1"}, "tolerations": [{"key": "x"}]}},
        step={"execution": {"placement": {"nodeSelector": {"b": "2"}, "tolerations": [{"key": "y"}]}}},
    )
    assert {key: setting.value for key, setting in found.node_selector.items()} == {"a": "1", "b": "2"}
    assert [toleration.key for toleration in found.tolerations.value] == ["y"]


OVERRIDES: list[tuple[str, dict[str, Any], object]] = [
    ("timeout", {"timeout": "90s"}, timedelta(seconds=90)),
    ("retry.max_retries", {"retry": {"maxRetries": 0}}, 0),
    ("retry.delay", {"retry": {"delay": "0s"}}, timedelta(0)),
    ("retry.max_delay", {"retry": {"maxDelay": "1m"}}, timedelta(minutes=1)),
    ("retry.jitter", {"retry": {"jitter": 0}}, 0),
    ("retry.backoff", {"retry": {"backoff": "constant"}}, "constant"),
    ("debug", {"debug": False}, False),
    ("run_as_non_root", {"security": {"runAsNonRoot": False}}, False),
    ("read_only_root_filesystem", {"security": {"readOnlyRootFilesystem": False}}, False),
    ("allow_privilege_escalation", {"security": {"allowPrivilegeEscalation": False}}, False),
    ("run_as_user", {"security": {"runAsUser": 7}}, 7),
    ("required_secrets", {"security": {"requiredSecrets": ["s"]}}, ("s",)),
    ("node_selector.pool", {"placement": {"nodeSelector": {"pool": "gpu"}}}, "gpu"),
    ("image_pull_policy", {"imagePullPolicy": "Always"}, "Always"),
    ("max_inline_size", {"maxInlineSize": 0}, 0),
    ("service_account_name", {"serviceAccountName": "mine"}, "mine"),
    ("automount_service_account_token", {"automountServiceAccountToken": False}, False),
    ("probes.liveness", {"probes": {"disableLiveness": True}}, None),
]
ALLOWED = {
    "security.allow-step-service-account-override": "true",
    "security.automount-service-account-token": "true",
    "engram.default-max-inline-size": "9",
}
PROBES = {"probes": {"liveness": {"periodSeconds": 3}, "startup": {"periodSeconds": 4}}}


@pytest.mark.parametrize(("name", "override", "value"), OVERRIDES, ids=[name for name, _, _ in OVERRIDES])
def test_every_override_of_engram_and_step_decides_with_its_source_and_zero_is_a_decision(
    name: str, override: dict[str, Any], value: object
) -> None:
    for layer, source in (("overrides", "Engram fetcher overrides"), ("step", "step fetch")):
        given = override if layer == "overrides" else {"execution": override}
        found = dict(resolved(operator=ALLOWED, template_=PROBES, **{layer: given}).settings())[name]  # type: ignore[arg-type]
        assert (found.value, found.source) == (value, source)


def test_storage_cache_and_rules_of_engram_and_step() -> None:
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
    override = {"storage": {"file": {"volumeClaimName": "v"}}, "cache": {"enabled": False}, "rbac": {"rules": [rule]}}
    found = resolved(template_={"rbac": {"rules": [rule]}}, overrides=override, step={"execution": override})
    assert (found.storage.source, found.cache.source) == ("step fetch", "step fetch")
    assert found.cache.value is not None
    assert found.cache.value.enabled is False
    sources = [entry.source for entry in found.rbac]
    assert sources == ["EngramTemplate http-client", "Engram fetcher overrides", "step fetch"]


@pytest.mark.parametrize(
    ("name", "override", "value"),
    [
        ("backoff_limit", {"backoffLimit": 0}, 0),
        ("ttl_seconds_after_finished", {"ttlSecondsAfterFinished": 0}, 0),
        ("restart_policy", {"restartPolicy": "OnFailure"}, "OnFailure"),
        ("cpu_request", {"cpuRequest": "0"}, "0"),
        ("memory_limit", {"memoryLimit": "1Gi"}, "1Gi"),
        ("debug", {"debug": False}, False),
    ],
)
def test_overrides_of_a_step_run_beat_everything(name: str, override: dict[str, Any], value: object) -> None:
    stronger = {"job.backoff-limit": "5", "job.ttl-seconds-after-finished": "6"}
    policy = {"execution": {"job": {"backoffLimit": 2, "ttlSecondsAfterFinished": 3, "restartPolicy": "Never"}}}
    step = {"execution": {"debug": True}}
    settings = resolved(
        operator=stronger, policy=policy, step=step, steprun_={"executionOverrides": override}
    ).settings()
    found = dict(settings)[name]
    assert (found.value, found.source) == (value, "StepRun r1-fetch executionOverrides")


TEMPLATE: list[tuple[str, dict[str, Any], object]] = [
    ("image_pull_policy", {"images": {"pullPolicy": "Never"}}, "Never"),
    ("cpu_request", {"resources": {"recommendedCpuRequest": "2"}}, "2"),
    ("cpu_limit", {"resources": {"defaultCPULimit": "3"}}, "3"),
    ("memory_request", {"resources": {"defaultMemoryRequest": "1Mi"}}, "1Mi"),
    ("memory_limit", {"resources": {"recommendedMemoryLimit": "2Mi"}}, "2Mi"),
    ("run_as_non_root", {"security": {"requiresNonRoot": False}}, False),
    ("read_only_root_filesystem", {"security": {"readOnlyRootFilesystem": False}}, False),
    ("allow_privilege_escalation", {"security": {"requiresNoPrivilegeEscalation": True}}, False),
    ("run_as_user", {"security": {"runAsUser": 65532}}, 65532),
    ("drop_capabilities", {"security": {"dropCapabilities": ["NET_RAW"]}}, ("NET_RAW",)),
    ("backoff_limit", {"job": {"recommendedBackoffLimit": 0}}, 0),
    ("ttl_seconds_after_finished", {"job": {"recommendedTTLSecondsAfterFinished": 0}}, 0),
    ("restart_policy", {"job": {"recommendedRestartPolicy": "OnFailure"}}, "OnFailure"),
    ("retry.max_retries", {"retry": {"recommendedMaxRetries": 0}}, 0),
    ("retry.delay", {"retry": {"recommendedBaseDelay": "2s"}}, timedelta(seconds=2)),
    ("retry.max_delay", {"retry": {"recommendedMaxDelay": "2m"}}, timedelta(minutes=2)),
    ("retry.backoff", {"retry": {"recommendedBackoff": "linear"}}, "linear"),
    ("timeout", {"timeout": "2m"}, timedelta(minutes=2)),
]


@pytest.mark.parametrize(("name", "execution", "value"), TEMPLATE, ids=[name for name, _, _ in TEMPLATE])
def test_every_recommendation_of_a_template_counts_where_nothing_else_is_said(
    name: str, execution: dict[str, Any], value: object
) -> None:
    operator = {"job.backoff-limit": "4"}
    found = dict(resolved(operator=operator, template_=execution).settings())[name]
    assert (found.value, found.source) == (value, "EngramTemplate http-client")


def test_ports_and_probes_of_a_template() -> None:
    service = {"service": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}
    found = resolved(template_={**service, **PROBES}, step={"execution": {"probes": {"disableStartup": True}}})
    assert [port.target_port for port in found.service_ports.value] == [8080]
    liveness = found.probes["liveness"].value
    assert liveness is not None
    assert (liveness.period_seconds, found.probes["liveness"].source) == (3, "EngramTemplate http-client")
    assert found.disabled_probes == {"startup", "readiness"}
    assert found.probes["startup"].source == "step fetch"


def test_accounts_of_steps_are_ignored_unless_the_operator_allows_them() -> None:
    own = {"execution": {"serviceAccountName": "mine", "automountServiceAccountToken": True}}
    found = resolved(step=own)
    assert (found.service_account_name.value, found.automount_service_account_token.value) == ("", False)


def test_every_setting_has_a_source() -> None:
    settings = dict(resolved().settings())
    assert {setting.source for setting in settings.values()} == {"operator"}
    assert {"timeout", "retry.delay", "probes.startup", "storage", "cache", "run_as_user"} <= settings.keys()
