"""What goes wrong around a step: processes, pods, Jobs and the API server die, components lie and come too late.

Nothing may be lost, nothing done twice, and the status has to say what happened.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import Object, eventually
from tests.behaviour.worlds import World

RETRY = {"retry": {"maxRetries": 2, "delay": "50ms", "backoff": "constant"}}


@pytest.fixture
def start(world: World, namespace: str, component: Callable[..., str], calls: Path) -> Callable[..., None]:
    """Starts a run of one step `a` that has the given component; it leaves its process ids in `calls`."""

    def run(mode: str, **execution: object) -> None:
        one = step("a", component(mode), with_={"calls": str(calls)}, execution={**RETRY, **execution})
        world.cluster.apply(story("s", namespace, one), storyrun("r", namespace, "s"))

    return run


def first_process(calls: Path) -> int:
    """The process id of the component, once it has left it; that its step is Running was written before."""
    return int(eventually(lambda: calls.read_text().split() if calls.exists() else [], "the component starts")[0])


def ended(world: World, namespace: str) -> Object:
    world.cluster.wait_run(namespace, "r")
    return world.cluster.get("StepRun", namespace, "r-a")


def condition(obj: Object, kind: str) -> Object:
    return next(c for c in obj["status"]["conditions"] if c["type"] == kind)


def test_a_process_that_is_killed_before_it_reports_is_tried_again(
    world: World, namespace: str, start: Callable[..., None], calls: Path
) -> None:
    start("hangs_once")
    os.kill(first_process(calls), signal.SIGKILL)
    done = ended(world, namespace)["status"]
    assert (done["phase"], done["retries"], done["output"]["attempt"]) == ("Succeeded", 1, "1")
    assert len(calls.read_text().split()) == 3, "two attempts; the second counts itself twice"


def test_a_pod_that_is_deleted_before_it_reports_is_tried_again(
    world: World, namespace: str, start: Callable[..., None], calls: Path
) -> None:
    start("hangs_once")
    first_process(calls)
    (pod,) = world.cluster.list("Pod", namespace)
    world.cluster.delete("Pod", namespace, pod["metadata"]["name"])
    done = ended(world, namespace)["status"]
    assert (done["phase"], done["output"]["attempt"]) == ("Succeeded", "1")


@pytest.mark.spec("workloads-31")
def test_a_process_that_is_killed_after_it_reported_success_has_succeeded(
    world: World, namespace: str, start: Callable[..., None], calls: Path
) -> None:
    start("told_then_hangs")
    done = ended(world, namespace)["status"]
    assert (done["phase"], done["output"], done.get("retries", 0)) == ("Succeeded", {"v": "said"}, 0)
    os.kill(first_process(calls), signal.SIGKILL)
    world.cluster.wait("Job", namespace, "r-a", lambda job: "Failed" in str(job.get("status", {})))
    # The operator has been told of that Job when it knows the end of one that was made later.
    world.cluster.apply(story("later", namespace, step("a", "silent")), storyrun("later", namespace, "later"))
    world.cluster.wait_run(namespace, "later")
    assert world.cluster.get("StepRun", namespace, "r-a")["status"]["phase"] == "Succeeded"
    assert len(calls.read_text().split()) == 1


@pytest.mark.spec("workloads-41")
def test_a_job_that_is_deleted_by_hand_is_made_again_and_told(
    world: World, namespace: str, start: Callable[..., None], calls: Path
) -> None:
    start("hangs_once")
    first_process(calls)
    world.cluster.delete("Job", namespace, "r-a", propagationPolicy="Background")
    done = ended(world, namespace)
    assert done["status"]["phase"] == "Succeeded", done["status"]
    assert done["status"].get("retries", 0) == 0, "a lost Job is no failure of the component"
    assert done["metadata"]["annotations"]["runs.bubustack.io/restart-count"] == "1"
    assert world.cluster.wait_event(namespace, "JobRestarted")


def test_an_api_server_that_restarts_in_the_middle_loses_and_repeats_nothing(
    world: World, namespace: str, component: Callable[..., str], calls: Path
) -> None:
    if world.restart_api_server is None:
        pytest.skip("the embedded API server is one process with everything else: tests/behaviour/test_restart.py")
    quiet = component("quiet")
    spec = {"with_": {"calls": str(calls), "seconds": 2}}
    steps = [step("a", quiet, **spec), step("b", quiet, **spec), step("z", quiet, "a", "b", **spec)]
    world.cluster.apply(story("s", namespace, *steps), storyrun("r", namespace, "s"))
    first_process(calls)
    world.restart_api_server()
    # kube-controller-manager, which makes pods for Jobs, may wait a minute until it asks a server again that was away.
    run = world.cluster.wait_run(namespace, "r", timeout=240)
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert sorted(run["status"]["completed"]) == ["a", "b", "z"]
    assert len(calls.read_text().split()) == 3


@pytest.mark.spec("workloads-37")
def test_a_report_that_comes_after_its_retry_was_decided_does_not_count(
    world: World, namespace: str, start: Callable[..., None], calls: Path
) -> None:
    start("late", retry={"maxRetries": 1, "delay": "1s"})
    done = ended(world, namespace)["status"]
    assert (done["phase"], done["retries"], done["output"]) == ("Succeeded", 1, {"attempt": "1"})
    assert len(calls.read_text().split()) == 2


@pytest.mark.spec("workloads-32")
def test_a_failure_that_was_reported_stands_although_the_process_exits_with_0(
    world: World, namespace: str, start: Callable[..., None]
) -> None:
    start("contradicts")
    failed = ended(world, namespace)
    assert failed["status"]["phase"] == "Failed"
    assert failed["status"]["lastFailureMsg"] == "no such customer"
    assert condition(failed, "Ready")["message"] == "no such customer"


@pytest.mark.spec("workloads-34")
def test_a_silent_success_is_told_in_an_event(world: World, namespace: str) -> None:
    world.cluster.apply(story("s", namespace, step("a", "silent")), storyrun("r", namespace, "s"))
    world.cluster.wait_run(namespace, "r")
    assert world.cluster.wait_event(namespace, "JobStatusPatched")
    for label in ("storyrun=r", "steprun=r-a", "step=a", "engram=silent"):
        found = world.cluster.list("Event", namespace, f"?labelSelector=bubustack.io/{label.replace('=', '%3D')}")
        assert "JobStatusPatched" in [event["reason"] for event in found], label


@pytest.mark.spec("workloads-42")
def test_a_steprun_that_is_deleted_takes_its_job_and_process_along(
    world: World, namespace: str, start: Callable[..., None], calls: Path
) -> None:
    start("hangs_once")
    process = first_process(calls)
    world.cluster.delete("StoryRun", namespace, "r", propagationPolicy="Background")
    for kind, name in (("StepRun", "r-a"), ("Job", "r-a")):
        world.cluster.wait_gone(kind, namespace, name)
    for pod in world.cluster.list("Pod", namespace):
        world.cluster.wait_gone("Pod", namespace, pod["metadata"]["name"])
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_an_effect_happens_once_although_its_step_is_tried_again(
    world: World, namespace: str, start: Callable[..., None], calls: Path
) -> None:
    start("charges")
    done = ended(world, namespace)["status"]
    assert (done["phase"], done["retries"]) == ("Succeeded", 1), done
    assert done["output"] == {"payment": "p1"}
    assert calls.read_text().split() == ["charged"]
    assert [effect["status"] for effect in done["effects"]] == ["succeeded"]
    (claim,) = world.cluster.list("EffectClaim", namespace)
    uid = world.cluster.get("StepRun", namespace, "r-a")["metadata"]["uid"]
    assert [owner["uid"] for owner in claim["metadata"]["ownerReferences"]] == [uid]
    name = claim["metadata"]["name"]
    world.cluster.wait("EffectClaim", namespace, name, lambda c: c.get("status", {}).get("phase") == "Completed")
    world.cluster.delete("StepRun", namespace, "r-a", propagationPolicy="Background")
    world.cluster.wait_gone("EffectClaim", namespace, name)


def test_signals_are_numbered_on_over_all_attempts(world: World, namespace: str, start: Callable[..., None]) -> None:
    start("signals")
    done = ended(world, namespace)["status"]
    assert (done["phase"], done["retries"]) == ("Succeeded", 1), done
    assert [event["seq"] for event in done["signalEvents"]] == [1, 2, 3, 4]
    assert done["signals"]["part"]["sample"] == 2


@pytest.mark.spec("workloads-38")
def test_signals_emitted_at_once_are_all_there_with_numbers_of_their_own(
    world: World, namespace: str, start: Callable[..., None]
) -> None:
    start("signals_at_once")
    done = ended(world, namespace)["status"]
    assert done["phase"] == "Succeeded", done
    assert sorted(event["seq"] for event in done["signalEvents"]) == list(range(1, 13))
    assert sorted(event["key"] for event in done["signalEvents"]) == sorted("abcd" * 3)
