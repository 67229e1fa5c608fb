"""What people do to runs and what runs do to each other, in both worlds: redrive, cancel, nesting, limits, clean-up."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import ApiFailure, Cluster, Object
from tests.behaviour.operatorconfig import configure
from tests.behaviour.worlds import World

PREFIX = "storyrun.bubustack.io"


def annotate(world: World, namespace: str, run: str, **annotations: str) -> None:
    named = {f"{PREFIX}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    world.cluster.merge("StoryRun", namespace, run, {"metadata": {"annotations": named}})


def ready(run: Object) -> str:
    found = next((c for c in run["status"].get("conditions", ()) if c["type"] == "Ready"), None)
    return str(found["reason"]) if found is not None else ""


def states(run: Object) -> dict[str, str]:
    return {name: state["phase"] for name, state in run["status"].get("stepStates", {}).items()}


def has_state(step_name: str, phase: str, reason: str = "") -> Any:
    def holds(run: Object) -> bool:
        state = run.get("status", {}).get("stepStates", {}).get(step_name, {})
        return state.get("phase") == phase and state.get("reason", "") == reason

    return holds


def ran(calls: Path) -> list[str]:
    return calls.read_text().split() if calls.exists() else []


def refused(world: World, obj: Object) -> str:
    """Creates an object; where admission says no, says why."""
    try:
        world.cluster.create(obj)
    except ApiFailure as failure:
        if failure.code != 422:
            raise
        return str(failure)
    return ""


@pytest.mark.spec("runs-63", "runs-64", "runs-65")
def test_a_failed_run_goes_on_from_a_step_and_then_begins_again(world: World, namespace: str, calls: Path) -> None:
    once = {"retry": {"maxRetries": 0}}
    counted = {"calls": str(calls)}
    flaky = {"calls": f"{calls}-flaky", "succeed_at": 2}
    steps = [
        step("a", "counted", with_=counted),
        step("b", "flaky", "a", with_=flaky, execution=once),
        step("c", "counted", "b", with_=counted),
    ]
    last = [{"name": "z", "ref": {"name": "silent"}}]
    world.cluster.apply(story("s", namespace, *steps, **{"finally": last}), storyrun("r", namespace, "s"))
    failed = world.cluster.wait_run(namespace, "r")
    assert (failed["status"]["phase"], ready(failed)) == ("Failed", "DependencyFailed")
    assert states(failed) == {"a": "Succeeded", "b": "Failed", "c": "Skipped", "z": "Succeeded"}
    annotate(world, namespace, "r", redrive_from_step="nope:1")
    world.cluster.wait(
        "StoryRun",
        namespace,
        "r",
        lambda run: run["metadata"]["annotations"].get(f"{PREFIX}/redrive-from-step-observed") == "nope:1",
    )
    annotate(world, namespace, "r", redrive_from_step="b:1")
    done = world.cluster.wait("StoryRun", namespace, "r", lambda run: run["status"].get("phase") == "Succeeded")
    assert states(done) == dict.fromkeys("abcz", "Succeeded")
    assert done["status"]["attempts"] == 2
    assert ran(calls) == ["r-a", "r-c"]
    annotate(world, namespace, "r", redrive_token="again")
    done = world.cluster.wait(
        "StoryRun",
        namespace,
        "r",
        lambda run: (run["status"].get("phase"), run["status"].get("attempts")) == ("Succeeded", 3),
    )
    assert ran(calls) == ["r-a", "r-c", "r-a", "r-c"]
    assert done["metadata"]["annotations"][f"{PREFIX}/redrive-observed"] == "again"


@pytest.mark.spec("runs-41", "runs-44", "runs-42", "runs-74")
def test_what_is_not_theirs_is_left_alone_and_what_would_never_end_is_refused(world: World, namespace: str) -> None:
    def execute(name: str, of: str, other: str = "") -> Object:
        reference = {"name": of} | ({"namespace": other} if other else {})
        return {"name": name, "type": "executeStory", "with": {"storyRef": reference}}

    cluster: Cluster = world.cluster
    cluster.apply(
        story("leaf", namespace, {"name": "x", "type": "condition"}),
        story("spoof", namespace, execute("e", "leaf")),
        story("circle", namespace, execute("e", "back")),
        story("back", namespace, execute("e", "circle")),
        story("drift", namespace, step("a", "silent")),
        storyrun("spoof-1-e", namespace, "leaf"),
        {
            "apiVersion": "runs.bubustack.io/v1alpha1",
            "kind": "StepRun",
            "metadata": {"name": "drift-1-a", "namespace": namespace},
            "spec": {"storyRunRef": {"name": "somebody"}, "stepId": "other", "engramRef": {"name": "silent"}},
        },
    )
    # With webhooks the author hears it at once; without, the run does.
    told = refused(world, story("abroad", namespace, execute("e", "leaf", other="kube-system")))
    cluster.wait_run(namespace, "spoof-1-e")
    before = cluster.get("StoryRun", namespace, "spoof-1-e")
    runs = {"spoof": "e", "circle": "e", "drift": "a"} | ({} if told else {"abroad": "e"})
    for name in runs:
        cluster.apply(storyrun(f"{name}-1", namespace, name))
    reasons = {}
    for name, at in runs.items():
        run = cluster.wait_run(namespace, f"{name}-1")
        assert run["status"]["phase"] == "Failed"
        state = run["status"]["stepStates"][at]
        reasons[name] = (state["phase"], state.get("reason"), state.get("message", ""))
    assert reasons["spoof"][:2] == ("Failed", "SubStoryRunSpoofed")
    assert cluster.get("StoryRun", namespace, "spoof-1-e") == before
    if told:
        assert "cross-namespace" in told
    else:
        assert reasons["abroad"][:2] == ("Failed", "StoryReferenceInvalid")
    assert reasons["drift"][:2] == ("Failed", "ChildStepRunDrift")
    inner = cluster.get("StoryRun", namespace, "circle-1-e")["status"]["stepStates"]["e"]
    assert inner["reason"] == "StoryReferenceInvalid"
    assert "inside itself" in inner["message"]
    assert cluster.find("StoryRun", namespace, "circle-1-e-e") is None


@pytest.mark.spec("runs-66", "runs-67", "runs-50", "runs-59", "runs-35")
def test_limits_timeouts_and_cancels_reach_what_runs(world: World, namespace: str, calls: Path) -> None:
    cluster = world.cluster
    long = {"calls": f"{calls}-long", "seconds": 600}
    graceful = {"gracefulShutdownTimeout": "100s"}  # what is cleaned up in this time is not cut off
    patient = {"timeouts": graceful}
    tidy = [{"name": "z", "ref": {"name": "silent"}}]
    child = {"name": "e", "type": "executeStory", "with": {"storyRef": {"name": "slow"}}}
    stop = {"name": "halt", "type": "stop", "needs": ["nap"], "with": {"phase": "Failed", "message": "enough"}}
    cluster.apply(
        story("slow", namespace, step("a", "counted", with_=long), policy=patient),
        story("outer", namespace, child, policy=patient, **{"finally": tidy}),
        story(
            "hurry",
            namespace,
            step("a", "counted", with_=long),
            step("b", "silent", "a"),
            policy={"timeouts": {"story": "3s", **graceful}},
            **{"finally": tidy},
        ),
        story(
            "halted",
            namespace,
            {"name": "nap", "type": "sleep", "with": {"duration": "1s"}},
            stop,
            step("a", "counted", with_=long),
            step("b", "silent", "a"),
            policy=patient,
            compensations=[{"name": "undo", "ref": {"name": "silent"}}],
        ),
        story("narrow", namespace, *(step(f"s{n}", "silent") for n in range(3)), policy={"concurrency": 1}),
    )
    for name in ("outer", "hurry", "halted", "narrow"):
        cluster.apply(storyrun(name, namespace, name))
    cluster.wait("StepRun", namespace, "outer-e-a", lambda s: s.get("status", {}).get("phase") == "Running")
    cluster.merge("StoryRun", namespace, "outer", {"spec": {"cancelRequested": True}})

    narrow = cluster.wait_run(namespace, "narrow")
    assert narrow["status"]["phase"] == "Succeeded"
    steps = [cluster.get("StepRun", namespace, f"narrow-s{n}")["status"] for n in range(3)]
    spans = sorted((s["startedAt"], s["finishedAt"]) for s in steps)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans)), "one after the other"

    hurry = cluster.wait_run(namespace, "hurry")
    assert (hurry["status"]["phase"], ready(hurry)) == ("Timeout", "TimedOut")
    assert states(hurry) == {"a": "Timeout", "b": "Skipped", "z": "Succeeded"}
    assert hurry["status"]["error"]["type"] == "TimedOut"

    outer = cluster.wait_run(namespace, "outer")
    assert (outer["status"]["phase"], ready(outer)) == ("Finished", "Canceled")
    assert states(outer) == {"e": "Canceled", "z": "Succeeded"}
    inner = cluster.wait_run(namespace, "outer-e")
    assert (inner["status"]["phase"], states(inner)) == ("Finished", {"a": "Canceled"})

    halted = cluster.wait_run(namespace, "halted")
    assert (halted["status"]["phase"], halted["status"]["message"]) == ("Failed", "enough")
    assert states(halted)["a"] == "Canceled"
    assert states(halted)["b"] == "Skipped"
    assert states(halted)["undo"] == "Succeeded"


@pytest.mark.spec("runs-76", "runs-78")
def test_children_go_after_their_time_and_a_deleted_run_takes_them_along(world: World, namespace: str) -> None:
    cluster = world.cluster
    short = {"ttlSecondsAfterFinished": 1}
    both = {**short, "storyRunRetentionSeconds": 3}
    cluster.apply(
        story("tidied", namespace, step("a", "silent"), policy={"execution": {"job": short}}),
        story("brief", namespace, step("a", "silent"), policy={"execution": {"job": both}}),
        story("kept", namespace, step("a", "silent"), {"name": "g", "type": "gate"}),
        *(storyrun(name, namespace, name) for name in ("tidied", "brief", "kept")),
    )
    cluster.wait("StoryRun", namespace, "kept", has_state("g", "Paused"))
    cluster.wait("Job", namespace, "kept-a", bool)
    cluster.delete("StoryRun", namespace, "kept")
    cluster.wait("StoryRun", namespace, "tidied", lambda run: "childrenCleanedAt" in run.get("status", {}))
    assert cluster.find("StepRun", namespace, "tidied-a") is None
    for run in ("kept", "brief"):
        cluster.wait_gone("StoryRun", namespace, run)
    for run in ("kept", "brief", "tidied"):
        cluster.wait_gone("StepRun", namespace, f"{run}-a")
        cluster.wait_gone("Job", namespace, f"{run}-a")
    assert cluster.list("StepRun", namespace) == []
    assert [run["metadata"]["name"] for run in cluster.list("StoryRun", namespace)] == ["tidied"]


@pytest.mark.spec("runs-73", "runs-57")
def test_what_is_missing_is_waited_for_and_found_without_delay(world: World, namespace: str) -> None:
    cluster = world.cluster
    told = refused(world, storyrun("early", namespace, "late"))
    if told:
        assert "late' not found" in told
    else:
        waiting = cluster.wait("StoryRun", namespace, "early", lambda run: "conditions" in run.get("status", {}))
        assert (waiting["status"]["phase"], ready(waiting)) == ("Pending", "StoryNotFound")
    cluster.apply(story("late", namespace, step("a", "later")), storyrun("early", namespace, "late"))
    cluster.wait("StoryRun", namespace, "early", has_state("a", "Pending", "ReferenceNotFound"))
    cluster.create(
        {
            "apiVersion": "bubustack.io/v1alpha1",
            "kind": "Engram",
            "metadata": {"name": "later", "namespace": namespace},
            "spec": {"templateRef": {"name": "test-silent"}},
        }
    )
    done = cluster.wait_run(namespace, "early")
    assert done["status"]["phase"] == "Succeeded"
    assert done["status"]["attempts"] == 1


def test_a_full_queue_holds_runs_and_goes_on_as_soon_as_its_limit_is_raised(
    world: World, namespace: str, calls: Path
) -> None:
    cluster, queue = world.cluster, namespace  # a queue of the test's own

    def limit(number: int | None) -> None:
        configure(world, {f"storyrun.queue.{queue}.concurrency": None if number is None else str(number)})

    limit(1)
    try:
        policy = {"queue": queue, "timeouts": {"gracefulShutdownTimeout": "60s"}}
        slow = step("a", "counted", with_={"calls": str(calls), "seconds": 600})
        cluster.apply(story("s", namespace, slow, policy=policy))
        cluster.apply(storyrun("probe", namespace, "s"))
        cluster.wait("StepRun", namespace, "probe-a", lambda s: s.get("status", {}).get("phase") == "Running")
        cluster.apply(storyrun("second", namespace, "s"), storyrun("third", namespace, "s"))
        for run in ("second", "third"):
            cluster.wait("StoryRun", namespace, run, has_state("a", "Pending", "QueueConcurrency"))
        limit(3)
        for run in ("second", "third"):
            cluster.wait("StoryRun", namespace, run, has_state("a", "Running"))
        for run in ("probe", "second", "third"):
            cluster.merge("StoryRun", namespace, run, {"spec": {"cancelRequested": True}})
        for run in ("probe", "second", "third"):
            assert cluster.wait_run(namespace, run)["status"]["phase"] == "Finished"
    finally:
        limit(None)
