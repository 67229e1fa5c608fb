"""What the operator costs: every write of it is counted where the real API server notes them."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import PATIENCE
from tests.behaviour.worlds import OPERATOR, World

EXPECTED = {"patch storyruns/status": 2, "create stepruns": 1, "patch stepruns/status": 2, "create jobs": 1}


def writes(world: World, namespace: str, run: str) -> Counter[str]:
    """Writes of the operator to a run and what belongs to it, by verb and resource.

    By name, because the API server notes a request only after its effect can be seen: a difference of two counts may
    have the last write of an earlier run in it. What was refused (409: the cache lagged behind a component) is no
    write; the simulator counts in all orders of events.
    """
    assert world.audit is not None
    counted: Counter[str] = Counter()
    whole, _, _ = world.audit.read_text().rpartition("\n")  # of what comes after it a part may be missing
    for line in whole.splitlines():
        entry = json.loads(line)
        target = entry.get("objectRef") or {}
        if entry["user"]["username"] != OPERATOR or target.get("namespace") != namespace:
            continue
        if target.get("name", "").startswith(run) and entry["responseStatus"]["code"] < 400:
            resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
            counted[f"{entry['verb']} {resource}"] += 1
    return counted


def noted_writes(world: World, namespace: str, run: str, *, at_least: int) -> Counter[str]:
    """Writes without those of Events, once the API server has noted so many."""
    deadline = time.monotonic() + PATIENCE
    while True:
        counted = writes(world, namespace, run)
        found = Counter({what: number for what, number in counted.items() if "events" not in what})
        if found.total() >= at_least or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def events_of_the_operator(world: World, namespace: str, run: str, last: str) -> list[str]:
    """Reasons of the Events about a run and its steps, once the one with the reason `last` has come."""
    world.cluster.wait_event(namespace, last, about=run)
    return [
        event["reason"]
        for event in world.cluster.list("Event", namespace)
        if event["involvedObject"]["name"].startswith(run) and event["reportingComponent"] != "job-controller"
    ]


@pytest.mark.parametrize("world", ["envtest"], indirect=True)
def test_a_one_step_run_costs_at_most_six_writes_and_two_events_of_the_operator(world: World, namespace: str) -> None:
    world.cluster.apply(story("s", namespace, step("a", "echo")), storyrun("first", namespace, "s"))
    world.cluster.wait_run(namespace, "first")
    world.cluster.apply(storyrun("second", namespace, "s"))
    run = world.cluster.wait_run(namespace, "second")
    assert run["status"]["phase"] == "Succeeded"
    told = events_of_the_operator(world, namespace, "second", "StoryRunSucceeded")
    assert len(told) <= 2, told
    assert noted_writes(world, namespace, "second", at_least=sum(EXPECTED.values())) == EXPECTED
