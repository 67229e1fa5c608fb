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
    assert found.node_selector == {"a": "1", "b": "2"}
    assert [toleration.key for toleration in found.tolerations.value] == ["y"]
