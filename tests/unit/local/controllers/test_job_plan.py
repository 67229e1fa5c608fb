"""The Job controller's decisions, in virtual time: a tiny world applies each plan as an API server and a node would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bobrapet.local.controllers.job import Plan, finished_at, plan

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class World:
    """A Job with its pods. What the controller plans is carried out at once, as often as anything changed."""

    def __init__(self, **spec: Any) -> None:
        template = {
            "metadata": {"labels": {"mine": "yes"}, "annotations": {"note": "kept"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "engram", "image": "tool"}]},
        }
        spec.setdefault("parallelism", 1)
        spec.setdefault("completions", 1)
        self.job: dict[str, Any] = {
            "metadata": {"name": "j", "namespace": "ns", "uid": "job-uid"},
            "spec": {"backoffLimit": 0, "template": template, **spec},
        }
        self.pods: dict[str, dict[str, Any]] = {}
        self.now = T0
        self.created = 0
        self.expired = False

    def ask(self) -> Plan:
        return plan(self.job, list(self.pods.values()), self.now)

    def settle(self) -> Plan:
        """Carries plans out until nothing is left to do; answers the last one."""
        for _ in range(50):
            planned = self.ask()
            if not planned.create and planned.status is None and not planned.delete:
                self.expired = planned.expired
                return planned
            for pod in planned.create:
                assert pod["metadata"]["name"] not in self.pods
                self.created += 1
                pod["metadata"] |= {"uid": f"pod-{self.created}", "creationTimestamp": f"{self.created:09d}"}
                pod["status"] = {"phase": "Pending"}
                self.pods[pod["metadata"]["name"]] = pod
            if planned.status is not None:
                self.job["status"] = planned.status
            for pod in planned.delete:
                pod["metadata"]["deletionTimestamp"] = text(self.now)  # type: ignore[index]
        raise AssertionError("the plans never come to rest")

    def pass_time(self, seconds: float) -> World:
        self.now += timedelta(seconds=seconds)
        return self

    def live(self) -> list[dict[str, Any]]:
        return [pod for pod in self.pods.values() if pod["status"]["phase"] in ("Pending", "Running")]

    def finish(self, code: int, pod: dict[str, Any] | None = None) -> Plan:
        """The (first running) pod ends with an exit code."""
        pod = pod or self.live()[0]
        ended = {"exitCode": code, "finishedAt": text(self.now)}
        pod["status"] = {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [{"name": "engram", "restartCount": 0, "state": {"terminated": ended}}],
        }
        return self.settle()

    def vanish(self, pod: dict[str, Any] | None = None) -> Plan:
        pod = pod or self.live()[0]
        del self.pods[pod["metadata"]["name"]]
        return self.settle()

    @property
    def status(self) -> dict[str, Any]:
        return self.job["status"]  # type: ignore[no-any-return]

    @property
    def conditions(self) -> dict[str, str]:
        return {
            entry["type"]: entry["reason"] for entry in self.status.get("conditions") or () if entry["status"] == "True"
        }

    def counters(self) -> tuple[int, int, int]:
        return tuple(self.status.get(key, 0) for key in ("active", "succeeded", "failed"))  # type: ignore[return-value]


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_pod_carries_the_labels_owner_and_name_that_the_real_controller_gives() -> None:
    (pod,) = World().ask().create
    meta = pod["metadata"]
    assert meta["labels"] == {
        "mine": "yes",
        "job-name": "j",
        "controller-uid": "job-uid",
        "batch.kubernetes.io/job-name": "j",
        "batch.kubernetes.io/controller-uid": "job-uid",
    }
    assert meta["annotations"] == {"note": "kept"}
    assert meta["generateName"] == "j-"
    assert len(meta["name"]) == len("j-xxxxx")
    assert meta["ownerReferences"] == [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": "j",
            "uid": "job-uid",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def test_a_plan_that_is_carried_out_twice_creates_one_pod() -> None:
    world = World()
    assert world.ask().create == world.ask().create


def test_a_job_starts_one_pod_and_is_complete_when_it_succeeds() -> None:
    world = World()
    world.settle()
    assert world.counters() == (1, 0, 0)
    assert world.status["startTime"] == text(T0)
    world.pass_time(5).finish(0)
    assert world.counters() == (0, 1, 0)
    assert world.conditions == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
    assert world.status["completionTime"] == text(T0 + 5 * SECOND)
    assert world.created == 1


def test_ready_pods_are_counted() -> None:
    world = World()
    world.settle()
    world.live()[0]["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    world.settle()
    assert world.status["ready"] == 1


def test_without_a_backoff_limit_the_first_failure_fails_the_job_at_once() -> None:
    world = World()
    world.settle()
    world.finish(3)
    assert world.conditions == {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"}
    assert world.counters() == (0, 0, 1)
    assert "completionTime" not in world.status
    assert world.created == 1


def test_failures_are_retried_with_doubling_pauses_until_the_limit_is_exceeded() -> None:
    world = World(backoffLimit=2)
    world.settle()
    for pause in (10, 20):
        planned = world.finish(1)
        assert planned.wake_at == world.now + pause * SECOND
        assert world.counters()[0] == 0
        world.pass_time(pause - 1).settle()
        assert not world.live()
        world.pass_time(1).settle()
        assert len(world.live()) == 1
    world.finish(1)
    assert world.conditions["Failed"] == "BackoffLimitExceeded"
    assert world.counters() == (0, 0, 3)


def test_a_failed_pod_that_somebody_removes_stays_counted_once() -> None:
    world = World(backoffLimit=5)
    world.settle()
    failed = world.live()[0]
    world.finish(1)
    world.vanish(failed)
    assert world.counters() == (0 + len(world.live()), 0, 1)


def test_a_running_pod_that_is_deleted_by_hand_counts_as_failed_at_once() -> None:
    world = World()
    world.settle()
    world.live()[0]["metadata"]["deletionTimestamp"] = text(T0)
    world.settle()
    assert world.conditions == {"FailureTarget": "BackoffLimitExceeded"}  # the end waits for the pod
    assert world.status["terminating"] == 1
    world.finish(143)
    assert world.conditions["Failed"] == "BackoffLimitExceeded"
    assert world.counters() == (0, 0, 1)


def test_a_deleted_pod_that_succeeds_after_all_is_not_counted_twice() -> None:
    world = World(backoffLimit=3)
    world.settle()
    pod = world.live()[0]
    pod["metadata"]["deletionTimestamp"] = text(T0)
    world.settle()
    world.finish(0, pod)
    assert world.counters()[1:] == (0, 1)


def test_a_pod_that_vanished_while_nobody_looked_counts_as_failed() -> None:
    world = World()
    world.settle()
    world.vanish()
    assert world.conditions["Failed"] == "BackoffLimitExceeded"
    assert world.created == 1


def test_the_deadline_ends_the_job_exactly_and_waits_for_its_pods() -> None:
    world = World(activeDeadlineSeconds=60)
    assert world.settle().wake_at == T0 + 60 * SECOND
    world.pass_time(59).settle()
    assert world.conditions == {}
    world.pass_time(1).settle()
    assert world.conditions == {"FailureTarget": "DeadlineExceeded"}
    pod = world.live()[0]
    assert pod["metadata"]["deletionTimestamp"] == text(world.now)
    world.vanish(pod)
    assert world.conditions["Failed"] == "DeadlineExceeded"
    assert world.counters() == (0, 0, 1)


def test_a_success_before_the_deadline_is_seen_counts_even_when_it_is_seen_late() -> None:
    # As the real controller: the deadline is looked at first, so a late look at both says DeadlineExceeded.
    world = World(activeDeadlineSeconds=60)
    world.settle()
    world.pass_time(61).finish(0)
    assert world.conditions["Failed"] == "DeadlineExceeded"


def test_an_ended_job_expires_exactly_after_its_ttl() -> None:
    world = World(ttlSecondsAfterFinished=30)
    world.settle()
    assert world.finish(0).wake_at == T0 + 30 * SECOND
    world.pass_time(29).settle()
    assert not world.expired
    world.pass_time(1).settle()
    assert world.expired


def test_an_ended_job_without_ttl_is_left_alone() -> None:
    world = World()
    world.settle()
    assert world.finish(0) == Plan()


def test_a_job_runs_as_many_pods_as_its_parallelism_until_its_completions_are_reached() -> None:
    world = World(parallelism=2, completions=3)
    world.settle()
    assert len(world.live()) == 2
    world.finish(0)
    assert len(world.live()) == 2
    world.finish(0)
    assert len(world.live()) == 1
    world.finish(0)
    assert world.conditions["Complete"] == "CompletionsReached"
    assert world.counters() == (0, 3, 0)


def test_lower_parallelism_removes_the_youngest_pods_without_counting_them_as_failed() -> None:
    world = World(parallelism=3, completions=3)
    world.settle()
    first = world.live()[0]["metadata"]["name"]
    world.job["spec"]["parallelism"] = 1
    world.settle()
    left = [pod["metadata"]["name"] for pod in world.live() if "deletionTimestamp" not in pod["metadata"]]
    assert left == [first]
    for pod in world.live():
        if pod["metadata"]["name"] != first:
            world.finish(143, pod)
    assert world.counters() == (1, 0, 0)


def test_a_work_queue_starts_nothing_after_the_first_success_and_waits_for_the_rest() -> None:
    world = World(parallelism=2, completions=None)
    world.settle()
    world.finish(0)
    assert len(world.live()) == 1
    assert world.conditions == {}
    world.finish(0)
    assert world.conditions["Complete"] == "CompletionsReached"


def test_an_indexed_job_runs_each_index_to_its_success() -> None:
    world = World(parallelism=2, completions=3, completionMode="Indexed", backoffLimit=3)
    world.settle()
    key = "batch.kubernetes.io/job-completion-index"
    assert [pod["metadata"]["annotations"][key] for pod in world.live()] == ["0", "1"]
    assert world.live()[1]["spec"]["containers"][0]["env"] == [{"name": "JOB_COMPLETION_INDEX", "value": "1"}]
    world.finish(0)
    assert [pod["metadata"]["annotations"][key] for pod in world.live()] == ["1", "2"]
    world.finish(1)
    world.pass_time(10).settle()
    assert sorted(pod["metadata"]["annotations"][key] for pod in world.live()) == ["1", "2"]
    world.finish(0)
    world.finish(0)
    assert world.status["completedIndexes"] == "0-2"
    assert world.counters() == (0, 3, 1)
    assert world.conditions["Complete"] == "CompletionsReached"


def test_a_suspended_job_ends_its_pods_and_starts_its_time_again_when_it_goes_on() -> None:
    world = World(activeDeadlineSeconds=60)
    world.settle()
    world.job["spec"]["suspend"] = True
    world.pass_time(30).settle()
    assert world.conditions == {"Suspended": "JobSuspended"}
    assert "startTime" not in world.status
    world.vanish()
    assert world.counters() == (0, 0, 0)
    world.job["spec"]["suspend"] = False
    assert world.pass_time(100).settle().wake_at == world.now + 60 * SECOND
    assert world.conditions == {}
    assert len(world.live()) == 1


def test_restarts_inside_a_pod_count_against_the_limit() -> None:
    world = World(backoffLimit=2)
    world.job["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    world.settle()
    status = world.live()[0]["status"]
    status |= {"phase": "Running", "containerStatuses": [{"name": "engram", "restartCount": 1, "state": {}}]}
    world.settle()
    assert world.conditions == {}
    status["containerStatuses"][0]["restartCount"] = 2
    world.settle()
    assert world.conditions == {"FailureTarget": "BackoffLimitExceeded"}


@pytest.mark.parametrize(
    ("action", "code", "reason", "failed"),
    [("FailJob", 42, "PodFailurePolicy", 1), ("Ignore", 42, None, 0), ("FailJob", 1, None, 1)],
)
def test_a_pod_failure_policy_fails_the_job_or_forgives(
    action: str, code: int, reason: str | None, failed: int
) -> None:
    rule = {"action": action, "onExitCodes": {"operator": "In", "values": [42]}}
    world = World(backoffLimit=3, podFailurePolicy={"rules": [rule]})
    world.settle()
    world.finish(code)
    assert world.conditions.get("Failed") == reason
    assert world.counters()[2] == failed
    if reason:
        (message,) = {entry["message"] for entry in world.status["conditions"]}
        assert "exit code 42 matching FailJob rule at index 0" in message


def test_a_job_that_is_deleted_or_managed_by_somebody_else_is_not_touched() -> None:
    world = World(managedBy="example.com/other")
    assert world.ask() == Plan()
    world = World()
    world.job["metadata"]["deletionTimestamp"] = text(T0)
    assert world.ask() == Plan()


def test_what_others_put_into_the_status_stays() -> None:
    world = World()
    world.job["status"] = {"conditions": [{"type": "Mine", "status": "True", "reason": "x"}], "other": 1}
    world.settle()
    world.finish(0)
    assert world.status["other"] == 1
    assert world.conditions["Mine"] == "x"


@settings(max_examples=300)
@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 3),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["ok", "fail", "vanish", "delete", "time"]), st.integers(0, 9)), max_size=25),
)
def test_whatever_happens_to_pods_the_job_never_runs_too_many_and_comes_to_the_right_end(
    parallelism: int, completions: int, limit: int, indexed: bool, happenings: list[tuple[str, int]]
) -> None:
    mode = {"completionMode": "Indexed"} if indexed else {}
    world = World(parallelism=parallelism, completions=completions, backoffLimit=limit, **mode)
    world.settle()
    failures = 0
    for what, which in happenings:
        live = world.live()
        running = [pod for pod in live if "deletionTimestamp" not in pod["metadata"]]
        assert len(running) <= min(parallelism, completions)
        if finished_at(world.job) is not None:
            break
        if what == "time" or not running:
            world.pass_time(601).settle()
            continue
        pod = running[which % len(running)]
        failures += what != "ok"
        if what == "ok":
            world.finish(0, pod)
        elif what == "fail":
            world.finish(1, pod)
        elif what == "vanish":
            world.vanish(pod)
        else:
            pod["metadata"]["deletionTimestamp"] = text(world.now)
            world.settle()
            if finished_at(world.job) is None:
                world.finish(143, pod)
    ended = world.conditions
    if "FailureTarget" in ended:
        assert failures > limit
        assert world.status["failed"] >= failures
    elif "Complete" in ended:
        assert world.status["succeeded"] == completions
        assert failures <= limit
    else:
        assert world.status.get("failed", 0) == failures
    assert world.created <= completions + limit + failures + parallelism
