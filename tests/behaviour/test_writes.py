"""What the operator costs: every write of it is counted where the real API server notes them."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.worlds import OPERATOR, World


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


@pytest.mark.parametrize("world", ["envtest"], indirect=True)
def test_a_one_step_run_costs_at_most_eight_writes_of_the_operator(world: World, namespace: str) -> None:
    world.cluster.apply(story("s", namespace, step("a", "silent")), storyrun("first", namespace, "s"))
    world.cluster.wait_run(namespace, "first")
    before = writes(world, namespace)
    world.cluster.apply(storyrun("second", namespace, "s"))
    run = world.cluster.wait_run(namespace, "second")
    assert run["status"]["phase"] == "Succeeded"
    # Counters of Story and Engram may come up to 5 s later, once for any number of runs; they are no cost of a run.
    counted = writes(world, namespace) - before
    assert sum(counted.values()) <= 8, counted
