"""Requests to run a Story, as a component sends them, in both worlds."""

from __future__ import annotations

import pytest

from tests.behaviour.builders import step, story, storytrigger
from tests.behaviour.cluster import ApiFailure, Object
from tests.behaviour.worlds import World


def decide(world: World, namespace: str, trigger: Object) -> Object:
    """Sends a request and gives the status of its answer."""
    world.cluster.create(trigger)
    name = trigger["metadata"]["name"]
    answered = world.cluster.wait(
        "StoryTrigger", namespace, name, lambda t: t.get("status", {}).get("decision", "Pending") != "Pending"
    )
    return answered["status"]


def forget(world: World, namespace: str, trigger: Object) -> None:
    world.cluster.delete("StoryTrigger", namespace, trigger["metadata"]["name"])
    world.cluster.wait_gone("StoryTrigger", namespace, trigger["metadata"]["name"])


@pytest.mark.spec("runs-85", "runs-87", "runs-88")
def test_a_key_runs_its_story_once_however_often_it_is_sent(world: World, namespace: str) -> None:
    world.cluster.apply(story("s", namespace, step("a", "echo", with_={"n": "{{ inputs.n }}"})))
    first = storytrigger(namespace, "s", "order-1", {"n": 1})
    created = decide(world, namespace, first)
    assert (created["decision"], created["reason"]) == ("Created", "StoryRunCreated")
    run = created["storyRunRef"]["name"]
    assert world.cluster.wait_run(namespace, run)["status"]["phase"] == "Succeeded"
    forget(world, namespace, first)
    assert decide(world, namespace, first)["decision"] == "Reused"
    forget(world, namespace, first)
    other = storytrigger(namespace, "s", "order-1", {"n": 2})
    rejected = decide(world, namespace, other)
    assert (rejected["decision"], rejected["reason"]) == ("Rejected", "StoryRunConflict")
    assert "storyRunRef" not in rejected
    assert {c["type"]: c["status"] for c in rejected["conditions"]}["Degraded"] == "True"
    assert [item["metadata"]["name"] for item in world.cluster.list("StoryRun", namespace)] == [run]


def test_a_request_for_a_story_that_does_not_exist_is_rejected(world: World, namespace: str) -> None:
    if world.asks_webhooks():
        with pytest.raises(ApiFailure, match=r"nowhere' not found"):
            world.cluster.create(storytrigger(namespace, "nowhere", "k"))
        return
    rejected = decide(world, namespace, storytrigger(namespace, "nowhere", "k"))
    assert (rejected["decision"], rejected["reason"]) == ("Rejected", "StoryNotFound")
    assert "nowhere" in rejected["message"]
