"""Requirements on redrive, retention and deletion (spec runs 20)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bobrapet.engine.run import plan
from tests.unit.engine.world import SECOND, T0, World, step, story


def failed(*steps: object, **spec: object) -> World:
    world = World(story(*(steps or ("a", "b: needs a", "c: needs b")), **spec))  # type: ignore[arg-type]
    world.reconcile()
    world.end("a", v=1).reconcile()
    world.end("b", "Failed", "boom").reconcile()
    return world


@pytest.mark.spec("runs-63")
def test_a_redrive_forgets_everything_and_begins_again_once() -> None:
    world = failed(finally_=["f"])
    world.end("f").reconcile()
    world.patch(world.run, {"status": {"gates": {"g": {"state": "Approved"}}}})
    world.annotate(redrive_token="t1")
    found = world.plan()
    assert {delete.name for delete in found.deletes} == {"r1-a", "r1-b", "r1-f"}
    world.reconcile()
    assert world.phase == "Running/StartingExecution"
    assert world.run.status.attempts == 2
    assert world.states == {"a": "Running"}
    assert not world.run.status.gates
    assert world.run.metadata.annotations["storyrun.bubustack.io/redrive-observed"] == "t1"
    assert "impulse-failed" in world.run.status.trigger_tokens
    assert not world.reconcile().writes


def test_half_a_redrive_is_finished_by_the_next_plan() -> None:
    world = failed(finally_=["f"])
    world.end("f").reconcile()
    world.annotate(redrive_token="t1")
    world.apply(world.plan())  # the children go, then we crash
    world.apply(world.plan())  # the status forgets, then we crash
    assert world.run.status.phase is None
    assert not world.plan().starts  # not before the request is marked as done
    world.reconcile()
    assert world.run.status.attempts == 2


@pytest.mark.spec("runs-64")
def test_b36_a_redrive_from_a_step_leaves_what_is_above_it() -> None:
    world = failed("a", "b: needs a", "c: needs b", "x: needs a", compensations=["k"], finally_=["f"])
    world.end("x").reconcile()
    world.end("k").reconcile()
    world.end("f").reconcile()
    assert world.phase == "Compensated/Compensated"
    uid = world.steps["r1-a"].metadata.uid
    world.annotate(redrive_from_step="b:1")
    world.at(60 * SECOND).reconcile()
    assert world.states == {"a": "Succeeded", "b": "Running", "x": "Succeeded"}
    assert world.steps["r1-a"].metadata.uid == uid
    assert world.run.status.started_at == "2026-01-01T10:01:00.000Z"  # B-32: a new attempt has its whole time
    assert ("Normal", "StoryRunRedriveFromStep") in world.events
    world.end("b").reconcile()
    world.end("c").reconcile()
    assert world.states["k"] == "Skipped"


def test_b36_steps_that_were_never_reached_are_run_too() -> None:
    world = World(story("a", "b", "d: needs a"))
    world.reconcile()
    world.end("b", "Failed").reconcile()
    world.end("a").reconcile()
    assert world.state("d") == "Skipped/FailFast"
    world.annotate(redrive_from_step="b:1")
    world.reconcile()
    assert world.states == {"a": "Succeeded", "b": "Running", "d": "Running"}


def test_b16_timers_of_other_steps_stay() -> None:
    world = World(story("s: sleep 1h", "b"))
    world.reconcile()
    world.end("b", "Failed").reconcile()
    before = world.run.status.step_states["s"]
    world.annotate(redrive_from_step="b:1")
    world.at(60 * SECOND).reconcile()
    assert world.run.status.step_states["s"] == before


@pytest.mark.spec("runs-65")
@pytest.mark.parametrize("request_", ["nope:1", "b", ":1"])
def test_a_malformed_redrive_is_told_once_and_changes_nothing(request_: str) -> None:
    world = failed()
    before = world.run.status.to_wire()
    world.annotate(redrive_from_step=request_)
    world.reconcile()
    assert world.events[-1] == ("Warning", "RedriveIgnored")
    assert world.run.status.to_wire() == before
    assert not world.reconcile().writes


@pytest.mark.parametrize("request_", [{"redrive_from_step": "nope:1"}, {"redrive_from_step": "a"}])
def test_a_running_run_whose_redrive_is_ignored_is_looked_at_again_at_once(request_: dict[str, str]) -> None:
    world = World(story("a"))
    world.reconcile()
    world.end("a")
    world.annotate(**request_)
    plan = world.plan()
    world.apply(plan)
    assert world.events[-1] == ("Warning", "RedriveIgnored")
    assert plan.wake_at == T0, "nobody else tells the run that its step has ended"
    world.reconcile()
    assert world.phase == "Succeeded/Completed"


def test_a_redrive_from_below_a_step_that_was_cleaned_up_is_refused() -> None:
    world = failed()
    world.at(timedelta(hours=2)).reconcile()
    assert not world.steps
    world.annotate(redrive_from_step="b:1")
    world.reconcile()
    assert world.events[-1] == ("Warning", "RedriveIgnored")


def test_a_redrive_that_replaces_one_that_has_only_deleted_the_children_runs_those_again_too() -> None:
    """Found by the simulation: the output of the step above was gone, and the step failed for want of it."""
    world = failed()
    world.annotate(redrive_from_step="a:1")
    deleted = world.plan()
    assert {delete.name for delete in deleted.deletes} >= {"r1-a", "r1-b"}
    world.apply(deleted)
    world.annotate(redrive_from_step="b:2")
    world.reconcile()
    assert world.states["a"] == "Running"
    assert ("Warning", "RedriveIgnored") not in world.events


def test_a_child_that_shows_up_after_all_were_said_to_be_deleted_is_deleted() -> None:
    world = failed()
    late = world.steps.pop("r1-a")
    world.at(timedelta(hours=2)).reconcile()
    assert world.run.status.children_cleaned_at
    world.steps["r1-a"] = late
    world.reconcile()
    assert not world.steps


def test_a_cache_that_lags_makes_no_redrive_be_refused() -> None:
    world = failed()
    seen = world.steps.pop("r1-a")
    world.annotate(redrive_from_step="b:1")
    assert plan(world.snapshot(), world.now).confirm
    world.steps["r1-a"] = seen
    world.reconcile()
    assert world.states == {"a": "Succeeded", "b": "Running"}


def test_b35_a_canceled_run_is_not_redriven() -> None:
    world = World(story("a"), cancelRequested=True)
    world.reconcile()
    world.annotate(redrive_token="t")
    world.reconcile()
    assert world.phase == "Finished/Canceled"


@pytest.mark.spec("runs-76")
def test_b08_children_go_after_their_time_and_the_run_after_its_own() -> None:
    world = World(story("a"), config={"job.ttl-seconds-after-finished": "5", "storyrun.retention-seconds": "10"})
    world.reconcile()
    assert world.end("a").reconcile().wake_at == T0 + 5 * SECOND
    assert not world.at(4 * SECOND).reconcile().writes
    assert world.at(5 * SECOND).reconcile().wake_at == T0 + 10 * SECOND
    assert not world.steps
    assert world.run.status.children_cleaned_at
    world.at(10 * SECOND).reconcile()
    assert not world.runs


@pytest.mark.spec("runs-77")
def test_b37_a_retention_of_zero_keeps_the_run_for_ever() -> None:
    world = World(story("a", policy={"execution": {"job": {"storyRunRetentionSeconds": 0}}}))
    world.reconcile()
    world.end("a").reconcile()
    assert world.at(10_000_000 * SECOND).reconcile().wake_at is None
    assert world.runs


def test_a_negative_retention_deletes_the_run_with_its_children() -> None:
    world = World(story("g: gate"), config={"storyrun.retention-seconds": "-1"})
    world.patch(world.run, {"status": {"gates": {"g": {"state": "Approved"}}}})
    world.reconcile()
    assert not world.runs


@pytest.mark.spec("runs-78")
def test_a_finalizer_that_is_there_goes_after_the_children() -> None:
    world = World(story("a", step("e: executeStory", with_={"storyRef": {"name": "child"}})))
    world.stories["wf/child"] = story("x", name="child")
    world.reconcile()
    world.patch(
        world.run,
        {"metadata": {"deletionTimestamp": "2026-01-01T10:00:00Z", "finalizers": ["storyrun.bubustack.io/finalizer"]}},
    )
    assert {delete.name for delete in world.plan().deletes} == {"r1-a", "r1-e"}
    world.apply(world.plan())
    assert world.plan().metadata == {"metadata": {"finalizers": None}}


@pytest.mark.spec("runs-79")
def test_b38_stepruns_of_a_run_with_the_same_label_are_left_alone() -> None:
    world = World(story("a"), run="a-b")
    world.reconcile()
    world.create(type(world.run).model_validate({"metadata": {"name": "a.b"}, "spec": {"storyRef": {"name": "s"}}}))
    other = world.runs["a.b"]
    world.patch(
        other,
        {"metadata": {"deletionTimestamp": "2026-01-01T10:00:00Z", "finalizers": ["storyrun.bubustack.io/finalizer"]}},
    )
    found = world.plan("a.b")
    assert not found.deletes
    assert list(world.steps) == ["a-b-a"]


def test_a_child_run_that_nobody_waited_for_keeps_its_parent_until_it_has_ended() -> None:
    start = step("e: executeStory", with_={"storyRef": {"name": "child"}, "waitForCompletion": False})
    world = World(story(start), config={"job.ttl-seconds-after-finished": "5", "storyrun.retention-seconds": "10"})
    world.stories["wf/child"] = story("x", name="child")
    world.reconcile()
    world.at(60 * SECOND).reconcile()
    assert set(world.runs) == {"r1", "r1-e"}
    world.patch(world.runs["r1-e"], {"status": {"phase": "Succeeded"}})
    world.reconcile()
    assert not world.runs


@pytest.mark.parametrize("request_", [{"redrive_token": "t1"}, {"redrive_from_step": "a:1"}])
def test_a_redrive_waits_until_the_cache_has_forgotten_the_children_of_the_last_attempt(
    request_: dict[str, str],
) -> None:
    world = World(story("a"))
    world.reconcile()
    world.end("a").reconcile()
    world.annotate(**request_)
    world.steps.clear()
    lagging = replace(world.snapshot(authoritative=True), lagging=frozenset({"r1-a"}))
    found = plan(lagging, world.now)
    assert (found.status, found.metadata, found.starts) == (None, None, ())
    assert found.wake_at is not None
    assert found.wake_at > world.now
    world.reconcile()
    assert (world.state("a"), world.run.status.attempts) == ("Running", 2)


def test_an_old_copy_of_a_run_that_had_ended_does_not_end_the_steps_of_its_next_attempt() -> None:
    world = World(story("a"))
    world.reconcile()
    world.end("a").reconcile()
    old = world.run
    world.annotate(redrive_token="t1")
    world.reconcile()
    found = plan(replace(world.snapshot(), run=old), world.now)
    assert found.confirm
    assert not world.reconcile().cancels
