"""Requirements on the StepRun state machine (spec workloads 2 to 4, 14 to 18; cases of section 26)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bobrapet.api import ReferenceGrant
from bobrapet.engine.reasons import Retries, Runs
from bobrapet.engine.steprun import plan, too_large
from tests.unit.engine.world import MINUTE, SECOND, T0, World, engram, step, story, template


def started(*steps: Any, retry: dict[str, Any] | None = None, timeout: str = "5m", **more: Any) -> World:
    """A run whose step `a` has its first Job."""
    execution = {"timeout": timeout, **({"retry": retry} if retry is not None else {})}
    world = World(story(*(steps or (step("a", execution=execution),))), **more)
    world.reconcile()
    world.reconcile_step("a")
    return world


NO_RETRY = {"maxRetries": 0}


@pytest.mark.spec("workloads-1")
def test_a_step_that_must_wait_is_pending_with_time_and_conditions() -> None:
    world = World(story("a"))
    world.reconcile()
    world.stories.clear()
    world.reconcile_step("a")
    status = world.steps["r1-a"].status
    assert status.phase == "Pending"
    assert status.started_at
    assert [condition.type for condition in status.conditions] == ["Ready", "Progressing", "Degraded"]


@pytest.mark.spec("workloads-2")
def test_a_step_whose_inputs_are_known_runs_with_one_status_write() -> None:
    world = World(story(step("a", with_={"x": "{{ inputs.n }}"})), inputs={"n": 5})
    world.reconcile()
    found = world.plan_step("a")
    assert found.start is not None
    assert found.start.inputs == {"x": 5}
    assert found.writes == 2
    world.apply_step("a", found)
    status = world.steps["r1-a"].status
    assert (status.phase, world.step_ready("a"), status.retries) == ("Running", "Scheduled", 0)
    assert not world.plan_step("a").writes


def test_a_one_step_run_costs_the_operator_six_writes_and_two_events() -> None:
    world = started()
    world.report("a", "Succeeded", output={"v": 1})
    world.reconcile_step("a")
    world.reconcile()
    assert world.phase == "Succeeded/Completed"
    assert world.writes == 8
    assert len(world.events) == 2


@pytest.mark.spec("workloads-13")
def test_a_job_that_the_api_refuses_as_too_large_fails_the_step() -> None:
    world = started()
    world.apply_step("a", too_large(world.step_snapshot("a"), world.now))
    assert world.final("a") == "Failed"
    assert world.step_ready("a") == "InputTooLarge"


@pytest.mark.spec("workloads-14")
def test_a_job_that_exists_already_is_adopted_and_judged() -> None:
    world = started()
    world.patch(world.steps["r1-a"], {"status": {"phase": "Pending"}})
    found = world.plan_step("a")
    assert found.start is None
    world.apply_step("a", found)
    assert world.steps["r1-a"].status.phase == "Running"


@pytest.mark.spec("workloads-15", "workloads-16")
def test_defaults_fill_what_is_missing_and_nothing_else() -> None:
    schema = {
        "type": "object",
        "properties": {
            "method": {"default": "GET"},
            "off": {"default": True},
            "none": {"default": 1},
            "zero": {"default": 7},
        },
    }
    world = World(
        story(step("a", with_={"off": False, "none": None, "zero": 0})), template_=template(inputSchema=schema)
    )
    world.reconcile()
    before = world.steps["r1-a"].spec.to_wire()
    found = world.plan_step("a")
    assert found.start is not None
    assert found.start.inputs == {"off": False, "none": None, "zero": 0, "method": "GET"}
    world.apply_step("a", found)
    assert world.steps["r1-a"].spec.to_wire() == before


@pytest.mark.spec("workloads-17")
def test_inputs_that_violate_the_schema_fail_the_step_before_any_job() -> None:
    schema = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    world = World(story("a"), template_=template(inputSchema=schema))
    world.reconcile()
    found = world.reconcile_step("a")
    assert found.start is None
    status = world.steps["r1-a"].status
    assert (world.final("a"), world.step_ready("a"), status.exit_class) == ("Failed", "InputSchemaFailed", "terminal")
    assert "url" in (status.last_failure_msg or "")


@pytest.mark.spec("workloads-18")
@pytest.mark.parametrize(("output", "final"), [({"id": 1}, ""), ({"id": None}, "Failed"), ({}, "Failed")])
def test_a_required_path_must_not_be_null(output: dict[str, Any], final: str) -> None:
    world = World(story("a", step("b: needs a", requires=["steps.a.output.id"])))
    world.reconcile()
    world.reconcile_step("a")
    world.report("a", "Succeeded", output=output)
    world.reconcile_step("a")
    world.reconcile()
    world.reconcile_step("b")
    assert world.final("b") == final
    if final:
        assert world.step_ready("b") == "DependencyFailed"


@pytest.mark.spec("workloads-20")
def test_a_step_whose_dependency_looks_unfinished_in_the_cache_waits() -> None:
    world = World(story("a", step("b", with_={"x": "{{ steps.a.output.x }}"})))
    world.reconcile()
    old = world.steps["r1-a"]
    world.end("a", x=1).reconcile()
    new, world.steps["r1-a"] = world.steps["r1-a"], old
    assert world.plan_step("b").start is None
    world.steps["r1-a"] = new
    assert world.plan_step("b").start is not None


@pytest.mark.spec("workloads-21")
def test_hostile_text_in_inputs_reaches_the_component_unevaluated() -> None:
    world = World(story(step("a", with_={"x": "{{ inputs.text }}"})), inputs={"text": "{{ secret }}"})
    world.reconcile()
    found = world.plan_step("a")
    assert found.start is not None
    assert found.start.inputs == {"x": "{{ secret }}"}
    assert found.start.skip_templating


def test_configuration_of_the_engram_is_no_input_where_the_schema_is_closed() -> None:
    schema = {"type": "object", "additionalProperties": False, "properties": {"url": {}}}
    world = World(
        story(step("a", with_={"url": "u"})),
        template_=template(inputSchema=schema),
        engram_=engram(**{"with": {"timeout": "30s"}}),
    )
    world.reconcile()
    found = world.plan_step("a")
    assert found.start is not None
    assert found.start.inputs == {"url": "u"}
    assert found.start.configuration == {"timeout": "30s", "url": "u"}


def test_inputs_that_no_process_can_receive_fail_with_the_way_out() -> None:
    world = World(story("a", step("b", with_={"x": "{{ steps.a.output.x }}"})))
    world.reconcile()
    world.end("a", x="y" * 130_000).reconcile()
    world.reconcile_step("b")
    assert world.step_ready("b") == "InputTooLarge"


@pytest.mark.parametrize("asked_by", ["run", "step"])
def test_the_size_of_what_a_step_sees_is_written_down_when_somebody_asks(asked_by: str) -> None:
    world = World(story("a", step("b: needs a")), inputs={"n": 1})
    world.reconcile()
    world.end("a", text="x" * 100).reconcile()
    target = world.run if asked_by == "run" else world.steps["r1-b"]
    world.patch(target, {"metadata": {"annotations": {"bubustack.io/debug-template-context": "yes"}}})
    world.reconcile_step("b")
    annotations = world.steps["r1-b"].metadata.annotations
    assert int(annotations["bubustack.io/template-context-size"]) > 100
    summary = json.loads(annotations["bubustack.io/template-context-summary"])
    assert summary["inputs"] == len('{"n":1}')
    assert summary["steps"]["a"] > 100
    assert "xxx" not in annotations["bubustack.io/template-context-summary"]


# Exits and retries


@pytest.mark.spec("workloads-23")
def test_a_killed_process_is_retried_at_a_recorded_moment() -> None:
    world = started(retry={"maxRetries": 2, "delay": "10s"})
    pods = [world.pod("a", exit_code=137)]
    world.reconcile_step("a", pods=pods)
    status = world.steps["r1-a"].status
    assert (status.phase, world.step_ready("a"), status.retries) == ("Pending", "RetryScheduled", 1)
    assert status.next_retry_at == "2026-01-01T10:00:10.000Z"
    assert not world.jobs
    found = world.plan_step("a")
    assert isinstance(found.reason, Retries)
    assert (found.start, found.wake_at) == (None, T0 + 10 * SECOND)
    world.at(10 * SECOND).reconcile_step("a")
    assert world.jobs["r1-a"]["metadata"]["annotations"]["runs.bubustack.io/attempt"] == "1"
    assert world.steps["r1-a"].status.next_retry_at is None


@pytest.mark.spec("workloads-24")
def test_a_retry_waits_for_the_earlier_job_and_its_pods_to_go() -> None:
    world = started(retry={"maxRetries": 2, "delay": "1s"})
    pod, job = world.pod("a"), dict(world.jobs["r1-a"])
    world.reconcile_step("a", pods=[world.pod("a", exit_code=137)])
    world.jobs["r1-a"] = job
    (deletion,) = world.at(SECOND).plan_step("a").deletes
    assert deletion.uid == job["metadata"]["uid"]
    world.reconcile_step("a", pods=[pod])
    assert not world.jobs
    assert world.plan_step("a", pods=[pod]).start is None
    assert world.plan_step("a").start is not None


@pytest.mark.parametrize("later", [0, 10])
def test_a_step_that_the_cache_shows_as_it_was_deletes_no_job_of_the_attempt_that_runs_now(later: int) -> None:
    """Found by the simulation: the next operator saw the new Job before the StepRun that it was started for."""
    world = started(retry={"maxRetries": 2, "delay": "10s"})
    before = world.steps["r1-a"]
    world.reconcile_step("a", pods=[world.pod("a", exit_code=137)])
    waiting = world.steps["r1-a"]
    world.at(10 * SECOND).reconcile_step("a")
    world.reconcile_step("a")
    assert world.jobs["r1-a"]["metadata"]["annotations"]["runs.bubustack.io/attempt"] == "1"
    for old in (before, waiting):
        world.steps["r1-a"] = old
        world.now = T0 + later * SECOND
        assert not world.plan_step("a").deletes


def test_a_pod_on_a_lost_node_holds_the_retry_up_visibly_and_with_the_way_out() -> None:
    world = started(retry={"maxRetries": 1, "delay": "1s"})
    pod = world.pod("a")
    world.reconcile_step("a", pods=[world.pod("a", exit_code=137)])
    assert world.at(SECOND).reconcile_step("a", pods=[pod]).wake_at == T0 + 61 * SECOND
    world.at(61 * SECOND).reconcile_step("a", pods=[pod])
    assert world.step_ready("a") == "WaitsForPod"
    assert "kubectl delete pod r1-a-x --force" in str(world.steps["r1-a"].status.conditions)
    world.reconcile_step("a")
    assert world.step_ready("a") == "Scheduled"


@pytest.mark.spec("workloads-27")
def test_an_unknown_end_uses_up_the_budget() -> None:
    world = started(retry={"maxRetries": 1, "delay": "1s"})
    world.job_ends("a", "Failed", "BackoffLimitExceeded").reconcile_step("a")
    assert world.steps["r1-a"].status.retries == 1
    world.at(SECOND).reconcile_step("a")
    world.job_ends("a", "Failed", "BackoffLimitExceeded").reconcile_step("a")
    assert world.final("a") == "Failed"
    assert world.steps["r1-a"].status.exit_class == "unknown"


@pytest.mark.spec("workloads-28")
def test_nothing_of_an_attempt_leaks_into_the_next() -> None:
    world = started(retry={"maxRetries": 3, "delay": "1s"})
    world.report("a", "Failed", exitClass="retry", exitCode=9, output={"half": 1}, lastFailureMsg="busy")
    world.reconcile_step("a")
    status = world.steps["r1-a"].status
    assert (status.exit_class, status.exit_code, status.output, status.error) == (None, None, None, None)
    world.at(SECOND).reconcile_step("a")
    world.reconcile_step("a", pods=[world.pod("a", exit_code=1)])
    assert world.final("a") == "Failed"
    assert world.steps["r1-a"].status.exit_class == "terminal"


@pytest.mark.spec("workloads-37")
@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Timeout"])
def test_what_an_earlier_attempt_says_after_its_retry_was_decided_does_not_count(phase: str) -> None:
    world = started(retry={"maxRetries": 1, "delay": "10s"})
    world.report("a", "Failed", exitClass="retry").reconcile_step("a")
    world.report("a", phase, output={"stale": 1}, exitClass="success", exitCode=7).reconcile_step("a")
    status = world.steps["r1-a"].status
    assert (status.phase, status.retries, status.output, status.exit_class) == ("Pending", 1, None, None)
    assert world.final("a") == ""
    world.at(10 * SECOND).reconcile_step("a")
    world.report("a", "Succeeded", output={"fresh": 1}).reconcile_step("a")
    assert (world.final("a"), world.steps["r1-a"].status.output) == ("Succeeded", {"fresh": 1})


@pytest.mark.spec("workloads-29")
def test_the_job_of_a_later_steprun_of_the_same_name_is_let_be() -> None:
    """A redrive made the StepRun anew, and the cache of an operator that just began still shows the one before."""
    world = started()
    job = {**world.jobs["r1-a"], "metadata": dict(world.jobs["r1-a"]["metadata"])}
    job["metadata"]["ownerReferences"] = [{"kind": "StepRun", "name": "r1-a", "uid": "later"}]
    snapshot = replace(world.step_snapshot("a"), job=job)
    found = plan(snapshot, world.now)
    assert (found.confirm_job, found.deletes, found.status) == (True, (), None)
    found = plan(replace(snapshot, job_confirmed=True), world.now)
    assert [delete.name for delete in found.deletes] == ["r1-a"], "it is really one that is left over"


def test_a_job_that_may_start_more_pods_is_judged_by_its_condition_only() -> None:
    world = started(retry=NO_RETRY, config={"job.backoff-limit": "3"})
    pods = [world.pod("a", exit_code=1)]
    assert not world.plan_step("a", pods=pods).writes
    world.job_ends("a", "Failed", "BackoffLimitExceeded").reconcile_step("a", pods=pods)
    assert world.final("a") == "Failed"


@pytest.mark.spec("workloads-30")
def test_a_job_over_its_deadline_is_a_timeout() -> None:
    world = started(retry=NO_RETRY)
    world.job_ends("a", "Failed", "DeadlineExceeded").reconcile_step("a")
    status = world.steps["r1-a"].status
    assert (world.final("a"), status.exit_code, status.exit_class) == ("Timeout", 124, "retry")


def test_a_hung_step_is_ended_exactly_at_its_timeout_and_its_job_goes() -> None:
    world = started(retry=NO_RETRY, timeout="90s")
    assert world.plan_step("a").wake_at == T0 + 90 * SECOND
    assert not world.at(timedelta(seconds=89.9)).plan_step("a").writes
    world.at(90 * SECOND).reconcile_step("a")
    assert (world.final("a"), world.steps["r1-a"].status.exit_code) == ("Timeout", 124)
    assert "1m30s" in (world.steps["r1-a"].status.last_failure_msg or "")
    assert not world.jobs


def test_a_later_attempt_has_its_whole_timeout() -> None:
    world = started(retry={"maxRetries": 1, "delay": "10s"}, timeout="1m")
    world.at(MINUTE).reconcile_step("a")
    assert world.steps["r1-a"].status.retries == 1
    world.at(70 * SECOND).reconcile_step("a")
    wake = world.plan_step("a").wake_at
    assert wake is not None
    assert timedelta(0) <= wake - (T0 + 130 * SECOND) <= SECOND


def test_a_rate_limited_component_decides_the_least_delay() -> None:
    world = started(retry={"maxRetries": 1, "delay": "1s"})
    error = {
        "version": "v1",
        "type": "execution_error",
        "message": "slow down",
        "exitClass": "rateLimited",
        "details": {"retryAfterSeconds": 42},
    }
    world.report("a", "Failed", error=error)
    assert world.plan_step("a").wake_at == T0 + 42 * SECOND


# Component and controller


@pytest.mark.spec("workloads-31")
def test_a_success_that_was_reported_stands_although_the_job_failed_afterwards() -> None:
    world = started()
    world.report("a", "Succeeded", output={"v": 1})
    world.job_ends("a", "Failed", "BackoffLimitExceeded").reconcile_step("a", pods=[world.pod("a", exit_code=137)])
    assert world.final("a") == "Succeeded"
    world.reconcile_step("a")
    assert world.steps["r1-a"].status.output == {"v": 1}


@pytest.mark.spec("workloads-32")
def test_a_failure_that_was_reported_keeps_its_words_and_gets_its_exit_code() -> None:
    world = started()
    error = {"version": "v1", "type": "execution_error", "message": "no such host"}
    world.report("a", "Failed", error=error, lastFailureMsg="no such host", exitClass="terminal")
    world.reconcile_step("a", pods=[world.pod("a", exit_code=1)])
    status = world.steps["r1-a"].status
    assert (world.final("a"), status.last_failure_msg, status.exit_code) == ("Failed", "no such host", 1)
    assert status.error is not None
    assert status.error.message == "no such host"


@pytest.mark.spec("workloads-33")
def test_a_reported_timeout_is_kept_or_retried_by_policy() -> None:
    world = started(retry=NO_RETRY)
    world.report("a", "Timeout", exitCode=124, exitClass="retry").reconcile_step("a")
    assert world.final("a") == "Timeout"
    world = started(retry={"maxRetries": 1})
    world.report("a", "Timeout", exitCode=124, exitClass="retry").reconcile_step("a")
    assert world.step_ready("a") == "RetryScheduled"


@pytest.mark.spec("workloads-34")
def test_a_silent_component_that_exits_well_succeeds_without_output() -> None:
    world = started()
    world.reconcile_step("a", pods=[world.pod("a", exit_code=0)])
    assert (world.final("a"), world.steps["r1-a"].status.output) == ("Succeeded", None)
    assert ("Normal", "JobStatusPatched") in world.events


def test_a_silent_failure_is_told_in_an_event_once_it_is_final() -> None:
    world = started(retry={"maxRetries": 1, "delay": "1s"})
    world.reconcile_step("a", pods=[world.pod("a", exit_code=137)])
    assert [reason for _, reason in world.events if reason.startswith("Job")] == ["JobRetryScheduled"]
    world.at(SECOND).reconcile_step("a")
    world.reconcile_step("a", pods=[world.pod("a", exit_code=137)])
    assert world.events[-1] == ("Warning", "JobStatusFallback")


def test_a_reported_failure_is_told_in_an_event_with_its_reason() -> None:
    world = started(retry=NO_RETRY)
    world.report("a", "Failed", exitClass="terminal", lastFailureMsg="no such host").reconcile_step("a")
    assert world.events[-1] == ("Warning", "ExecutionFailed")


def test_a_silent_component_fails_only_if_its_schema_requires_something() -> None:
    world = started(template_=template(outputSchema={"type": "object", "properties": {"v": {}}}))
    world.job_ends("a").reconcile_step("a")
    assert world.final("a") == "Succeeded"
    world = started(template_=template(outputSchema={"type": "object", "required": ["v"]}))
    world.job_ends("a").reconcile_step("a")
    assert (world.final("a"), world.step_ready("a")) == ("Failed", "OutputSchemaFailed")


@pytest.mark.spec("workloads-35")
def test_an_output_that_violates_its_schema_fails_the_step_before_anybody_sees_it() -> None:
    schema = {"type": "object", "properties": {"v": {"type": "integer"}}}
    world = started(step("a"), "b: needs a", template_=template(outputSchema=schema))
    world.report("a", "Succeeded", output={"v": "text"})
    world.reconcile()
    assert world.state("a") == "Running"
    assert "r1-b" not in world.steps
    world.reconcile_step("a")
    world.reconcile()
    assert (world.state("a"), world.state("b")) == ("Failed/OutputSchemaFailed", "Skipped/FailFast")
    assert world.steps["r1-a"].status.exit_class == "terminal"


@pytest.mark.spec("workloads-36")
def test_a_check_after_execution_decides_about_success() -> None:
    check = {"condition": "{{ steps.a.output.ok }}", "failureMessage": "not good enough"}
    for ok, final in ((True, "Succeeded"), (False, "Failed")):
        world = started(step("a", postExecution=check))
        world.report("a", "Succeeded", output={"ok": ok}).reconcile_step("a")
        assert world.final("a") == final
    assert "not good enough" in (world.steps["r1-a"].status.last_failure_msg or "")
    world = started(step("a", postExecution=check))
    world.stories.clear()
    world.report("a", "Succeeded", output={"ok": False}).reconcile_step("a")
    assert world.final("a") == "Succeeded"


def test_what_a_process_of_an_earlier_attempt_says_about_its_failure_is_ignored() -> None:
    world = started(retry={"maxRetries": 2, "delay": "10s"})
    world.reconcile_step("a", pods=[world.pod("a", exit_code=137)])
    world.report("a", "Failed", exitClass="terminal").reconcile_step("a")
    status = world.steps["r1-a"].status
    assert (status.phase, status.retries, world.final("a")) == ("Pending", 1, "")


def test_a_late_process_cannot_change_how_a_step_ended() -> None:
    world = started(retry=NO_RETRY)
    world.report("a", "Failed", exitClass="terminal").reconcile_step("a")
    world.report("a", "Succeeded", output={"v": 1}).reconcile_step("a")
    assert (world.steps["r1-a"].status.phase, world.final("a")) == ("Failed", "Failed")


def test_an_output_that_is_too_large_is_refused() -> None:
    world = started()
    world.report("a", "Succeeded", output={"v": "x" * 300_000}).reconcile_step("a")
    assert world.step_ready("a") == "OutputTooLarge"


# Trouble, loss, cancel, deletion


def test_a_pod_whose_image_cannot_be_pulled_shows_in_the_status_once() -> None:
    world = started()
    found = world.plan_step("a", pods=[world.pod("a", waiting="ErrImagePull", message="not found")])
    assert isinstance(found.reason, Runs)
    assert "not found" in found.reason.note
    world.apply_step("a", found)
    assert world.step_ready("a") == "ErrImagePull"
    again = world.plan_step("a", pods=[world.pod("a", waiting="ImagePullBackOff", message="Back-off")])
    assert not again.writes
    world.reconcile_step("a", pods=[world.pod("a")])
    assert world.step_ready("a") == "Running"


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        (None, "its Job has no pod"),
        ({"waiting": "ContainerCreating"}, "never started"),
        ({"waiting": "CreateContainerConfigError", "message": 'secret "db" not found'}, 'secret "db" not found'),
        ({"waiting": "ImagePullBackOff", "message": "no such image"}, "no such image"),
    ],
)
def test_a_timeout_says_what_kept_the_component_from_running(pod: dict[str, str] | None, told: str) -> None:
    world = started(retry=NO_RETRY, timeout="1m")
    pods = [world.pod("a", **pod)] if pod is not None else []
    world.at(MINUTE).reconcile_step("a", pods=pods)
    message = world.steps["r1-a"].status.last_failure_msg or ""
    assert message.startswith("timed out after 1m0s; ")
    assert told in message


def test_a_step_waits_for_the_secrets_that_it_requires_and_starts_when_they_are_there() -> None:
    """Seed, ExecutionOverrides: the stronger layer replaces the list."""
    execution = {"timeout": "5m", "security": {"requiredSecrets": ["db", "mail"]}}
    asking = engram(overrides={"security": {"requiredSecrets": ["other"]}})
    world = World(story(step("a", execution=execution)), engram_=asking)
    world.reconcile()
    assert world.plan_step("a").look_for == ("db", "mail")
    found = world.plan_step("a", secrets={"db": True, "mail": False})
    (event,) = found.events
    assert "mail" in event.message
    assert "security.requiredSecrets of step" in event.message
    assert found.start is None
    assert found.wake_at is not None
    world.apply_step("a", found)
    assert (world.steps["r1-a"].status.phase, world.step_ready("a")) == ("Pending", "SecretNotFound")
    assert world.plan_step("a", secrets={"db": True, "mail": True}).start is not None
    world.at(5 * MINUTE).reconcile_step("a", secrets={"db": True, "mail": False})
    assert world.steps["r1-a"].status.phase == "Failed"


def test_a_pod_that_does_not_start_because_of_a_secret_that_it_mounts_says_so() -> None:
    world = started(
        template_=template(secretSchema={"cert": {"mountType": "file"}, "key": {"mountType": "both"}}),
        engram_=engram(secrets={"cert": "tls", "key": "ssh"}),
        timeout="1m",
    )
    assert world.plan_step("a").wake_at == T0 + 5 * SECOND, "no event comes from a pod that waits"
    pods = [world.pod("a", waiting="ContainerCreating")]
    assert world.plan_step("a", pods=pods).wake_at == T0 + 5 * SECOND
    assert world.at(5 * SECOND).plan_step("a", pods=pods).look_for == ("ssh", "tls")
    found = world.reconcile_step("a", pods=pods, secrets={"tls": False, "ssh": False})
    assert (world.step_ready("a"), found.wake_at) == ("SecretNotFound", T0 + MINUTE), "looked once, not ever again"
    for name in ("tls", "ssh"):
        assert f"'{name}'" in str(world.steps["r1-a"].status.conditions)
    world.reconcile_step("a", pods=[world.pod("a")])
    assert world.step_ready("a") == "Running"


def test_a_pod_that_is_slow_for_another_reason_is_not_asked_about_again_and_again() -> None:
    world = started(
        template_=template(secretSchema={"cert": {"mountType": "file"}}),
        engram_=engram(secrets={"cert": "tls"}),
        timeout="1m",
    )
    for pods in ([world.pod("a", waiting="ContainerCreating")], []):
        found = world.at(5 * SECOND).plan_step("a", pods=pods, secrets={"tls": True})
        assert (found.status, found.wake_at) == (None, T0 + MINUTE)


def test_a_pod_that_no_node_has_room_for_shows_in_the_status() -> None:
    world = started()
    pod = world.pod("a", waiting="")
    message = "0/3 nodes are available: insufficient memory"
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    pod["status"] = {"phase": "Pending", "conditions": [unscheduled]}
    world.reconcile_step("a", pods=[pod])
    assert world.step_ready("a") == "Unschedulable"
    assert message in str(world.steps["r1-a"].status.conditions)


def test_the_pod_of_a_later_attempt_is_named_so_that_those_of_earlier_ones_stop_talking() -> None:
    world = started(retry={"maxRetries": 1, "delay": "1s"})
    world.reconcile_step("a", pods=[world.pod("a")])
    assert world.steps["r1-a"].status.pod_name is None, "one write less where there is no earlier attempt"
    world.reconcile_step("a", pods=[world.pod("a", exit_code=137)])
    world.at(SECOND).reconcile_step("a")
    world.reconcile_step("a", pods=[world.pod("a")])
    assert world.steps["r1-a"].status.pod_name == "r1-a-x"


def test_a_missing_engram_is_told_in_an_event_once() -> None:
    world = World(story("a"))
    world.reconcile()
    world.engrams.clear()
    world.reconcile_step("a")
    assert (world.step_ready("a"), world.events.count(("Warning", "ReferenceNotFound"))) == ("ReferenceNotFound", 1)


@pytest.mark.parametrize("kind", ["engrams", "templates"])
def test_a_missing_reference_fails_the_step_only_after_an_authoritative_look(kind: str) -> None:
    from bobrapet.engine.steprun import plan

    world = World(story("a", policy={"timeouts": {"step": "5m"}}))
    world.reconcile()
    world.at(6 * MINUTE)
    unseen = replace(world.step_snapshot("a"), template=None, **({"engram": None} if kind == "engrams" else {}))
    asked = plan(unseen, world.now)
    assert (asked.confirm_references, asked.is_question, asked.writes) == (True, True, 0)
    assert plan(world.step_snapshot("a", references_confirmed=True), world.now).start is not None
    getattr(world, kind).clear()
    world.reconcile_step("a")
    assert world.final("a") == "Failed"


@pytest.mark.parametrize("older", ["engram", "grants"])
def test_what_an_old_copy_forbids_fails_no_step(older: str) -> None:
    from bobrapet.engine.steprun import plan

    abroad = step("a", ref={"name": "worker", "namespace": "lib"})
    world = World(story(abroad), engram_=engram(namespace="lib"), config={"references.cross-namespace-policy": "grant"})
    grant = {
        "metadata": {"name": "g", "namespace": "lib"},
        "spec": {
            "from": [{"group": "bubustack.io", "kind": "Story", "namespace": "wf"}],
            "to": [{"group": "bubustack.io", "kind": "Engram"}],
        },
    }
    world.grants.append(ReferenceGrant.model_validate(grant))
    world.reconcile()
    newest = world.step_snapshot("a")
    assert plan(newest, world.now).start is not None
    copies: dict[str, Any] = {"engram": engram(namespace="lib", mode="deployment"), "grants": []}
    old = replace(newest, **{older: copies[older]})
    asked = plan(old, world.now)
    assert (asked.confirm_references, asked.writes) == (True, 0)
    refused = plan(replace(old, references_confirmed=True), world.now).status
    assert refused is not None
    assert refused["status"]["phase"] == "Failed"


def test_a_step_that_its_story_does_not_have_fails_only_after_an_authoritative_look() -> None:
    from bobrapet.engine.steprun import plan

    world = World(story("a"))
    world.reconcile()
    older = replace(world.step_snapshot("a"), story=story("b"))
    assert plan(older, world.now).confirm_references
    assert plan(replace(older, references_confirmed=True), world.now).status["status"]["phase"] == "Failed"


@pytest.mark.spec("workloads-41")
def test_a_lost_job_is_started_again_but_not_for_ever() -> None:
    world = started(retry=NO_RETRY)
    for lost in range(1, 4):
        world.jobs.clear()
        world.reconcile_step("a")
        assert world.steps["r1-a"].metadata.annotations["runs.bubustack.io/restart-count"] == str(lost)
        assert world.jobs
    assert ("Warning", "JobRestarted") in world.events
    world.jobs.clear()
    world.reconcile_step("a")
    assert (world.final("a"), world.steps["r1-a"].status.exit_class) == ("Failed", "unknown")


def test_a_job_that_the_cache_does_not_show_is_looked_for_before_it_is_made_again() -> None:
    from bobrapet.engine.steprun import plan

    world = started()
    world.jobs.clear()
    found = plan(world.step_snapshot("a"), world.now)
    assert found.confirm_job
    assert not found.writes


def test_a_canceled_step_ends_when_its_pod_has_ended() -> None:
    world = started()
    pod = world.pod("a")
    world.patch(world.steps["r1-a"], {"metadata": {"annotations": {"bubustack.io/cancel-requested": "true"}}})
    world.apply_step("a", world.plan_step("a", pods=[pod]))
    assert not world.jobs
    assert not world.plan_step("a", pods=[pod]).writes
    world.reconcile_step("a")
    assert world.final("a") == "Canceled"


def test_a_step_that_succeeds_while_it_is_drained_has_succeeded() -> None:
    world = started()
    world.patch(world.steps["r1-a"], {"metadata": {"annotations": {"bubustack.io/cancel-requested": "true"}}})
    world.report("a", "Succeeded", output={"v": 1}).reconcile_step("a")
    assert world.final("a") == "Succeeded"


def test_a_step_that_is_canceled_before_it_began_never_runs() -> None:
    world = World(story("a"))
    world.reconcile()
    world.patch(world.steps["r1-a"], {"metadata": {"annotations": {"bubustack.io/cancel-requested": "true"}}})
    world.reconcile_step("a")
    assert (world.final("a"), world.jobs) == ("Canceled", {})


@pytest.mark.spec("workloads-42")
def test_a_finalizer_that_is_there_goes_only_after_the_job() -> None:
    world = started()
    world.patch(
        world.steps["r1-a"],
        {"metadata": {"finalizers": ["steprun.bubustack.io/finalizer"], "deletionTimestamp": "2026-01-01T10:00:00Z"}},
    )
    (deletion,) = world.plan_step("a").deletes
    assert deletion.kind == "Job"
    world.jobs.clear()
    assert world.plan_step("a").metadata == {"metadata": {"finalizers": None}}


def test_a_process_that_outlives_its_success_is_ended_after_a_while() -> None:
    world = started()
    world.report("a", "Succeeded").reconcile_step("a")
    assert world.plan_step("a").wake_at == T0 + MINUTE
    world.at(MINUTE).reconcile_step("a")
    assert not world.jobs


def test_schema_references_are_recorded_when_the_step_starts() -> None:
    world = started(template_=template(inputSchema={"type": "object"}), engram_=engram(version="1.0.0"))
    reference = world.steps["r1-a"].status.input_schema_ref
    assert reference is not None
    assert (reference.ref, reference.version) == ("bubu://engram/wf/worker/input", "1.0.0")
    assert world.steps["r1-a"].status.output_schema_ref is None


@pytest.mark.parametrize("phase", [None, "Running"])
def test_the_job_of_an_earlier_steprun_of_the_same_name_is_never_taken_for_its_own(phase: str | None) -> None:
    world = World(story("a"))
    world.reconcile()
    world.reconcile_step("a")
    world.job_ends("a")
    world.jobs["r1-a"]["metadata"]["ownerReferences"] = [{"kind": "StepRun", "name": "r1-a", "uid": "an-earlier-one"}]
    # A redrive made the StepRun anew, and the garbage collector has not come to its Job yet.
    world.patch(world.steps["r1-a"], {"status": {"phase": phase}})
    found = world.plan_step("a")
    assert (found.start, found.status) == (None, None)
    assert [(delete.kind, delete.name) for delete in found.deletes] == [("Job", "r1-a")]
    assert "earlier Job" in str(found.reason)
