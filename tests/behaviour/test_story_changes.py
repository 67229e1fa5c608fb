"""A Story that is edited or deleted while it runs."""

from __future__ import annotations

from typing import Any

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import Cluster, Object
from tests.behaviour.worlds import World


def gated(namespace: str, value: str) -> Object:
    """A gate, and behind it a step that gives `value` back."""
    return story("s", namespace, {"name": "g", "type": "gate"}, step("b", "echo", "g", with_={"v": value}))


def at_the_gate(run: Object) -> bool:
    return bool(run.get("status", {}).get("stepStates", {}).get("g", {}).get("phase") == "Paused")


def approve(cluster: Cluster, namespace: str) -> None:
    cluster.merge("StoryRun", namespace, "r", {"status": {"gates": {"g": {"state": "Approved"}}}}, "status")


def ready(run: Object) -> dict[str, Any]:
    found = [condition for condition in run.get("status", {}).get("conditions", ()) if condition["type"] == "Ready"]
    return found[0] if found else {"reason": "", "message": ""}


def test_steps_that_have_not_begun_follow_a_story_that_is_edited_and_the_run_says_so(
    world: World, namespace: str
) -> None:
    cluster = world.cluster
    cluster.apply(gated(namespace, "old"), storyrun("r", namespace, "s"))
    cluster.wait("StoryRun", namespace, "r", at_the_gate)
    cluster.apply(gated(namespace, "new"))
    cluster.wait("StoryRun", namespace, "r", lambda run: run["status"].get("storyGeneration") == 2)
    approve(cluster, namespace)
    run = cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded"
    assert cluster.get("StepRun", namespace, "r-b")["status"]["output"]["v"] == "new"
    told = "the Story was edited while the run went on (generation 1 is now 2); steps that have not begun follow"
    assert cluster.wait_event(namespace, "StoryChanged", about="r")["message"].startswith(told)


def test_a_run_waits_for_a_story_that_is_deleted_says_so_and_goes_on_when_it_comes_again(
    world: World, namespace: str
) -> None:
    cluster = world.cluster
    cluster.apply(gated(namespace, "first"), storyrun("r", namespace, "s"))
    cluster.wait("StoryRun", namespace, "r", at_the_gate)
    cluster.delete("Story", namespace, "s")
    waiting = cluster.wait("StoryRun", namespace, "r", lambda run: ready(run)["reason"] == "StoryNotFound")
    assert waiting["status"]["phase"] == "Running"
    assert ready(waiting)["message"] == f'Story "{namespace}/s" does not exist'
    approve(cluster, namespace)
    cluster.apply(gated(namespace, "again"))
    run = cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded"
    assert cluster.get("StepRun", namespace, "r-b")["status"]["output"]["v"] == "again"


def test_a_run_of_a_deleted_story_can_be_canceled(world: World, namespace: str) -> None:
    cluster = world.cluster
    cluster.apply(gated(namespace, "first"), storyrun("r", namespace, "s"))
    cluster.wait("StoryRun", namespace, "r", at_the_gate)
    cluster.delete("Story", namespace, "s")
    cluster.wait("StoryRun", namespace, "r", lambda run: ready(run)["reason"] == "StoryNotFound")
    cluster.merge("StoryRun", namespace, "r", {"spec": {"cancelRequested": True}})
    run = cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Finished"
    assert {state["phase"] for state in run["status"]["stepStates"].values()} <= {"Canceled", "Skipped"}
