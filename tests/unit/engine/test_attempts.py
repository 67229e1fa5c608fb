"""A manager that takes over after a redrive may see children of the attempt before; they never count (runs 20, 24)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bobrapet.api import labels
from bobrapet.engine.plans import RunPlan
from bobrapet.engine.run import plan
from bobrapet.engine.steprun import plan as plan_step
from tests.unit.engine.world import SECOND, World, step, story

CHILD = step("e: executeStory", with_={"storyRef": {"name": "child"}})
BRANCHES = step("p: parallel", with_={"steps": [{"name": "x", "ref": {"name": "worker"}}]})


def world_of(*steps: Any, **spec: Any) -> World:
    world = World(story(*steps, **spec))
    world.stories["wf/child"] = story("z", name="child")
    return world


class Children:
    """The children of a run at one moment."""

    def __init__(self, world: World) -> None:
        self.steps = dict(world.steps)
        self.runs = {name: run for name, run in world.runs.items() if name != world.name}


def later(world: World, old: Children) -> RunPlan:
    """The plan of a manager that knows the run as it is now, but its children as they were."""
    return plan(replace(world.snapshot(), steps=old.steps, children=old.runs), world.now)


def succeeded(world: World, name: str) -> None:
    """A child run ends well."""
    world.patch(world.runs[name], {"status": {"phase": "Succeeded", "output": {"n": 1}}})
    world.reconcile()


@pytest.mark.parametrize("request_", [{"redrive_token": "t1"}, {"redrive_from_step": "a:1"}])
def test_a_step_of_the_last_attempt_is_no_step_of_this_one(request_: dict[str, str]) -> None:
    world = world_of("a", step("b: needs a"))
    world.reconcile()
    world.end("a", n=1).reconcile()
    world.end("b").reconcile()
    old = Children(world)
    world.at(10 * SECOND).annotate(**request_)
    world.reconcile()
    assert (world.states, world.run.status.attempts) == ({"a": "Running"}, 2)
    found = later(world, old)
    assert (found.status, found.starts) == (None, ())
    assert later(world.at(20 * SECOND), old).confirm, "it asks the API server, which shows the new one"
    assert world.reconcile().writes == 0
    world.end("a", n=2).reconcile()
    world.end("b").reconcile()
    assert world.phase == "Succeeded/Completed"


def test_what_begins_in_a_later_attempt_says_so_and_the_first_says_nothing() -> None:
    world = world_of("a", CHILD)
    world.reconcile()
    assert labels.ANNOTATION_RUN_ATTEMPT not in world.steps["r1-a"].metadata.annotations
    world.end("a", "Failed").reconcile()
    succeeded(world, "r1-e")
    world.annotate(redrive_token="t1")
    world.reconcile()
    for child in (world.steps["r1-a"], world.runs["r1-e"]):
        assert child.metadata.annotations[labels.ANNOTATION_RUN_ATTEMPT] == "2"
    assert world.run.status.step_states["a"].attempt == 2


def test_a_redriven_run_does_not_begin_with_the_results_that_an_old_cache_shows() -> None:
    world = world_of("a", CHILD, BRANCHES)
    world.reconcile()
    world.end("a").end("p-x").reconcile()
    succeeded(world, "r1-e")
    assert world.phase == "Succeeded/Completed"
    old = Children(world)
    world.annotate(redrive_token="t1")
    while world.run.status.phase is not None or world.steps:
        world.apply(world.plan())  # until the status has forgotten everything, and the request is still to be marked
    world.apply(world.plan())
    found = later(world, old)
    assert found.status is not None
    assert {name: state["phase"] for name, state in found.status["status"]["stepStates"].items()} == {
        "a": "Running",
        "e": "Running",
        "p": "Running",
    }
    assert sorted(item.metadata.name or "" for item in found.starts) == ["r1-a", "r1-p-x"]
    assert [item.metadata.name for item in found.children] == ["r1-e"]


def test_a_step_that_is_not_run_again_keeps_its_result_and_its_output() -> None:
    world = world_of("a", step("b: needs a"), output={"n": "{{ steps.a.output.n }}"})
    world.reconcile()
    world.end("a", n=7).reconcile()
    world.end("b", "Failed").reconcile()
    world.annotate(redrive_from_step="b:1")
    world.reconcile()
    states = world.run.status.step_states
    assert (states["a"].attempt, states["b"].attempt) == (None, 2)
    world.end("b").reconcile()
    assert world.run.status.output == {"n": 7}


def test_a_step_that_goes_on_while_another_is_redriven_still_counts() -> None:
    world = world_of("a", "b", policy={"retries": {"continueOnStepFailure": True}})
    world.reconcile()
    world.end("b", "Failed").reconcile()
    world.annotate(redrive_from_step="b:1")
    world.reconcile()
    assert (world.run.status.attempts, world.states) == (2, {"a": "Running", "b": "Running"})
    world.end("a").reconcile()
    world.end("b").reconcile()
    assert world.phase == "Succeeded/Completed"


def test_an_old_success_of_a_child_run_or_branch_is_not_that_of_the_new_one() -> None:
    world = world_of(CHILD, BRANCHES, step("b: needs e, p"))
    world.reconcile()
    world.end("p-x").reconcile()
    succeeded(world, "r1-e")
    world.end("b").reconcile()
    old = Children(world)
    world.at(10 * SECOND).annotate(redrive_token="t1")
    world.reconcile()
    found = later(world, old)
    assert (found.status, found.starts, found.children) == (None, (), ())


def test_a_child_without_a_mark_counts_when_the_api_server_shows_it() -> None:
    """Another operator redrives without marks; it had created the StepRun before it handed the run over."""
    world = world_of("a")
    world.reconcile()
    world.patch(world.run, {"status": {"attempts": 2, "stepStates": None, "active": None}})
    world.end("a")
    world.at(10 * SECOND).reconcile()
    world.at(20 * SECOND).reconcile()
    assert world.phase == "Succeeded/Completed"


def test_a_step_of_a_later_attempt_waits_for_the_run_that_made_it() -> None:
    world = world_of("a", step("b: needs a", with_={"n": "{{ steps.a.output.n }}"}))
    world.reconcile()
    world.end("a", n=1).reconcile()
    world.end("b").reconcile()
    old_run = world.run
    world.annotate(redrive_token="t1")
    world.reconcile()
    world.end("a", n=2).reconcile()
    snapshot = world.step_snapshot("b")
    waiting = plan_step(replace(snapshot, run=old_run), world.now)
    assert (waiting.start, waiting.wake_at is not None) == (None, True)
    started = plan_step(snapshot, world.now).start
    assert started is not None
    assert started.inputs == {"n": 2}


def test_a_step_that_reads_a_child_run_waits_until_the_run_says_that_it_has_ended() -> None:
    world = world_of(CHILD, step("b: needs e", with_={"n": "{{ steps.e.output.n }}"}))
    world.reconcile()
    before = dict(world.runs)
    succeeded(world, "r1-e")
    snapshot = world.step_snapshot("b")
    lagging = replace(snapshot, run=before["r1"], children={"r1-e": before["r1-e"]})
    waiting = plan_step(lagging, world.now)
    assert (waiting.start, waiting.wake_at is not None) == (None, True)
    started = plan_step(snapshot, world.now).start
    assert started is not None
    assert started.inputs == {"n": 1}
