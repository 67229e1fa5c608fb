"""The Job of a step, as the API server has it: how it is built, judged, lost and repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import Object, eventually
from tests.behaviour.worlds import World

ONCE_MORE = {"maxRetries": 1, "delay": "50ms", "backoff": "constant"}
NEVER = {"maxRetries": 0}


def begin(world: World, namespace: str, *steps: Object, **spec: Any) -> None:
    world.cluster.apply(story("s", namespace, *steps, **spec), storyrun("r", namespace, "s"))


def ended(world: World, namespace: str, name: str = "a") -> Object:
    """The status that a step has at the end of the run."""
    world.cluster.wait_run(namespace, "r")
    return world.cluster.get("StepRun", namespace, f"r-{name}")["status"]  # type: ignore[no-any-return]


def condition(status: Object, kind: str) -> Object:
    return next(c for c in status["conditions"] if c["type"] == kind)


def wait_job(world: World, namespace: str, *, but: str = "") -> Object:
    """The Job of step `a`, another than the one with the uid `but`."""
    return world.cluster.wait(
        "Job",
        namespace,
        "r-a",
        lambda job: job["metadata"]["uid"] != but and "deletionTimestamp" not in job["metadata"],
    )


def environment(job: Object) -> dict[str, str]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names)), "every variable once"
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


@pytest.mark.spec(
    "workloads-1",
    "workloads-2",
    "workloads-3",
    "workloads-4",
    "workloads-5",
    "workloads-6",
    "workloads-7",
    "workloads-9",
)
def test_a_job_is_what_the_page_says(world: World, namespace: str) -> None:
    long_name = "an-account-that-has-to-be-cut-because-its-story-has-seventy-letters-xy"
    own = {"timeout": "5m", "serviceAccountName": "somebody-else"}
    steps = (step("a", "silent", execution=own), step("b", "silent"))
    world.cluster.apply(
        story(long_name, namespace, *steps, policy={"execution": {"maxRecursionDepth": 64}}),
        storyrun("r", namespace, long_name),
    )
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    jobs = {name: world.cluster.get("Job", namespace, f"r-{name}") for name in "ab"}
    steprun = world.cluster.get("StepRun", namespace, "r-a")
    (owner,) = jobs["a"]["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (steprun["metadata"]["uid"], True, True)
    labels = jobs["a"]["metadata"]["labels"]
    assert (labels["app.kubernetes.io/component"], labels["bubustack.io/steprun"]) == ("engram", "r-a")
    assert [jobs[name]["spec"]["activeDeadlineSeconds"] for name in "ab"] == [420, 1920]
    pod = jobs["a"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True
    account = pod["serviceAccountName"]
    assert len(account) <= 63
    assert account.endswith("-engram-runner")
    for kind in ("ServiceAccount", "Role", "RoleBinding"):
        assert world.cluster.find(kind, namespace, account), f"no {kind} {account}"
    variables = environment(jobs["a"])
    assert (variables["BUBU_STEP_TIMEOUT"], variables["BUBU_MAX_RECURSION_DEPTH"]) == ("5m0s", "64")
    assert environment(jobs["b"])["BUBU_STEP_TIMEOUT"] == "30m0s"
    status = steprun["status"]
    assert status["startedAt"] <= status["finishedAt"]
    assert {"Ready", "Progressing", "Degraded"} <= {c["type"] for c in status["conditions"]}


@pytest.mark.spec("workloads-8")
def test_a_component_that_wants_to_be_root_never_starts(
    world: World, namespace: str, component: Callable[..., str]
) -> None:
    root = component("silent", execution={"security": {"recommendedRunAsUser": 0}})
    begin(world, namespace, step("a", root))
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["stepStates"]["a"]["phase"] == "Failed", run["status"]["stepStates"]
    assert "runAsUser must be greater than 0" in run["status"]["stepStates"]["a"]["message"]
    assert world.cluster.find("Job", namespace, "r-a") is None


@pytest.mark.spec("workloads-13")
def test_inputs_that_no_api_object_can_carry_fail_the_step_and_say_what_to_do(world: World, namespace: str) -> None:
    text = "{{ steps.a.output.data }}"
    everything = {f"copy{n}": text for n in range(16)}
    begin(world, namespace, step("a", "big", with_={"bytes": 200_000}), step("b", "echo", with_=everything))
    status = ended(world, namespace, "b")
    assert (status["phase"], condition(status, "Ready")["reason"]) == ("Failed", "InputTooLarge")
    assert "storage" in status["lastFailureMsg"]
    assert world.cluster.find("Job", namespace, "r-b") is None


@pytest.mark.spec("workloads-24")
def test_two_attempts_never_run_at_once(
    world: World, namespace: str, component: Callable[..., str], calls: Path
) -> None:
    begin(
        world, namespace, step("a", component("lingers"), with_={"calls": str(calls)}, execution={"retry": ONCE_MORE})
    )
    status = ended(world, namespace)
    assert (status["phase"], status["retries"]) == ("Succeeded", 1)
    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["begins", "ends", "begins", "ends"]


@pytest.mark.spec("workloads-27")
def test_a_pod_that_is_lost_costs_a_retry_and_the_last_one_ends_the_step(
    world: World, namespace: str, component: Callable[..., str]
) -> None:
    calls = str(world.folder / f"{namespace}-calls")
    begin(world, namespace, step("a", component("hangs"), with_={"calls": calls}, execution={"retry": ONCE_MORE}))
    before: set[str] = set()
    for _ in range(2):
        pod = wait_process(world, namespace, but=before)
        before.add(pod["metadata"]["name"])
        world.cluster.delete("Pod", namespace, pod["metadata"]["name"])
    status = ended(world, namespace)
    assert (status["phase"], status["retries"]) == ("Failed", 1)
    assert status["exitClass"] in ("unknown", "retry"), "what a pod says of itself while it is deleted may be seen"


@pytest.mark.spec("workloads-28", "workloads-33")
def test_each_attempt_is_judged_by_itself(
    world: World, namespace: str, component: Callable[..., str], calls: Path
) -> None:
    execution = {"retry": {"maxRetries": 3, "delay": "50ms"}}
    worse = step("a", component("worsens"), with_={"calls": f"{calls}-a"}, execution=execution, allowFailure=True)
    better = step("b", component("late_once"), with_={"calls": f"{calls}-b"}, execution=execution)
    begin(world, namespace, worse, better)
    status = ended(world, namespace, "a")
    assert (status["phase"], status["retries"]) == ("Failed", 1)
    assert (status["exitCode"], status["exitClass"]) == (1, "terminal"), "the kill of the first attempt is past"
    status = ended(world, namespace, "b")
    assert (status["phase"], status["retries"], status["output"]) == ("Succeeded", 1, {"attempt": "1"})
    assert status.get("exitCode", 0) == 0


@pytest.mark.spec("workloads-22", "workloads-26")
def test_the_exit_code_of_a_silent_component_decides_and_no_retries_means_none(world: World, namespace: str) -> None:
    expected = {1: "terminal", 124: "retry", 127: "terminal", 128: "retry", 255: "retry"}
    steps = [
        step(f"c{code}", "exits", with_={"code": code}, execution={"retry": NEVER}, allowFailure=True)
        for code in expected
    ]
    begin(world, namespace, *steps)
    found = {code: ended(world, namespace, f"c{code}") for code in expected}
    assert {code: status["exitClass"] for code, status in found.items()} == expected
    assert {code: status["exitCode"] for code, status in found.items()} == {code: code for code in expected}
    assert {code for code, status in found.items() if status["phase"] == "Timeout"} == {124}
    assert not any(status.get("retries") for status in found.values())


@pytest.mark.spec("workloads-29")
def test_a_job_that_may_start_another_pod_is_not_judged_by_the_first(
    world: World, namespace: str, component: Callable[..., str], calls: Path
) -> None:
    recovering = step("a", component("recovers"), with_={"calls": str(calls)}, execution={"retry": NEVER})
    begin(world, namespace, recovering, policy={"execution": {"job": {"backoffLimit": 3}}})
    status = ended(world, namespace)
    assert (status["phase"], status.get("retries", 0)) == ("Succeeded", 0), status
    assert len(calls.read_text().split()) == 2


@pytest.mark.spec("workloads-30")
def test_a_job_that_passes_its_deadline_is_a_timeout(
    world: World, namespace: str, component: Callable[..., str], calls: Path
) -> None:
    begin(world, namespace, step("a", component("hangs"), with_={"calls": str(calls)}, execution={"retry": NEVER}))
    wait_process(world, namespace)
    world.cluster.merge("Job", namespace, "r-a", {"spec": {"activeDeadlineSeconds": 1}})
    status = ended(world, namespace)
    assert (status["phase"], status["exitCode"], status["exitClass"]) == ("Timeout", 124, "retry")


@pytest.mark.spec("workloads-41")
def test_a_job_that_is_deleted_again_and_again_fails_the_step_in_the_end(
    world: World, namespace: str, component: Callable[..., str], calls: Path
) -> None:
    begin(world, namespace, step("a", component("hangs"), with_={"calls": str(calls)}, execution={"retry": NEVER}))
    before = ""
    for _ in range(4):
        before = wait_job(world, namespace, but=before)["metadata"]["uid"]
        world.cluster.delete("Job", namespace, "r-a", propagationPolicy="Background")
    status = ended(world, namespace)
    assert (status["phase"], condition(status, "Ready")["reason"]) == ("Failed", "ExecutionFailed")
    assert "the Job was lost 4 times" in status["lastFailureMsg"]
    assert status["exitClass"] == "unknown"


def wait_process(world: World, namespace: str, *, but: set[str] = frozenset()) -> Object:  # type: ignore[assignment]
    """A pod of step `a` whose process has begun, another than those in `but`."""

    def running() -> list[Object]:
        pods = [pod for pod in world.cluster.list("Pod", namespace) if pod["metadata"]["name"] not in but]
        return [pod for pod in pods if pod.get("status", {}).get("phase") == "Running"]

    return eventually(running, "a process begins")[0]
