"""What the operator costs: every write of it is counted where the real API server notes them."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.worlds import OPERATOR, World

COUNTERS = ("patch stories/status", "patch engrams/status", "patch engramtemplates/status")
"""Written a few seconds later, once for any number of runs: no cost of a run."""


def writes(world: World, namespace: str) -> Counter[str]:
    """Writes of the operator in a namespace so far, by verb and resource."""
    assert world.audit is not None
    counted: Counter[str] = Counter()
    for line in world.audit.read_text().splitlines():
        entry = json.loads(line)
        target = entry.get("objectRef") or {}
        if entry["user"]["username"] == OPERATOR and target.get("namespace") == namespace:
            resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
            counted[f"{entry['verb']} {resource}"] += 1
    return counted


def events_of_the_operator(world: World, namespace: str, run: str, last: str) -> list[str]:
    """Reasons of the Events about a run and its steps, once the one with the reason `last` has come."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [
            event["reason"]
            for event in world.cluster.list("Event", namespace)
            if event["involvedObject"]["name"].startswith(run) and event["reportingComponent"] != "job-controller"
        ]
        if last in found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no Event {last} of {run}: {found}")


@pytest.mark.parametrize("world", ["envtest"], indirect=True)
def test_a_one_step_run_costs_at_most_six_writes_and_two_events_of_the_operator(world: World, namespace: str) -> None:
    world.cluster.apply(story("s", namespace, step("a", "echo")), storyrun("first", namespace, "s"))
    world.cluster.wait_run(namespace, "first")
    before = writes(world, namespace)
    world.cluster.apply(storyrun("second", namespace, "s"))
    run = world.cluster.wait_run(namespace, "second")
    assert run["status"]["phase"] == "Succeeded"
    counted = writes(world, namespace) - before
    told = events_of_the_operator(world, namespace, "second", "StoryRunSucceeded")
    assert len(told) <= 2, told
    of_the_run = {what: number for what, number in counted.items() if what not in COUNTERS and "events" not in what}
    assert sum(of_the_run.values()) <= 6, of_the_run
