"""Requirements on queues, priorities, ageing and limits (spec runs 14)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.engine.run import plan
from bobrapet.engine.scheduling import QueuePlace, admit
from bobrapet.engine.snapshot import Occupancy, Rival
from tests.unit.engine.world import MINUTE, SECOND, T0, World, step, story


@pytest.mark.spec("runs-66", "runs-67")
def test_a_story_limit_holds_ready_steps_until_a_slot_is_free() -> None:
    world = World(story("a", "b", policy={"concurrency": 1}))
    found = world.reconcile()
    assert list(world.steps) == ["r1-a"]
    assert world.state("b") == "Pending/StoryConcurrency"
    assert "limit is 1" in str(found.reasons["b"])
    world.at(5 * SECOND).end("a").reconcile()
    assert world.state("b") == "Running"
    assert world.run.status.step_states["b"].started_at == "2026-01-01T10:00:05.000Z"


def test_b28_a_step_that_was_just_created_holds_its_slot_before_the_cache_shows_it() -> None:
    world = World(story("a", "b", policy={"concurrency": 1}))
    world.reconcile()
    assert plan(replace(world.snapshot(), steps={}), world.now).starts == ()


@pytest.mark.parametrize("phase", ["Paused", "Blocked"])
def test_a_step_that_cannot_go_on_gives_its_slot_to_another(phase: str) -> None:
    world = World(story("a", "b", policy={"concurrency": 1}))
    world.reconcile()
    world.patch(world.steps["r1-a"], {"status": {"phase": phase}})
    world.reconcile()
    assert set(world.steps) == {"r1-a", "r1-b"}


def test_a_queued_step_keeps_since_when_it_waits() -> None:
    world = World(story("a", "b", policy={"concurrency": 1}))
    world.reconcile()
    world.at(MINUTE).reconcile()
    assert world.run.status.step_states["b"].started_at == "2026-01-01T10:00:00.000Z"


def test_queued_steps_are_skipped_when_another_fails() -> None:
    world = World(story("a", "b", policy={"concurrency": 1}))
    world.reconcile()
    world.end("a", "Failed").reconcile()
    assert world.state("b") == "Skipped/FailFast"


def test_b28_every_branch_of_a_parallel_step_takes_a_slot() -> None:
    branches = [{"name": name, "ref": {"name": "worker"}} for name in "xyz"]
    world = World(story(step("p: parallel", with_={"steps": branches}), policy={"concurrency": 2}))
    world.reconcile()
    assert len(world.steps) == 2
    world.at(3 * SECOND).end("p-x").reconcile()
    assert len(world.steps) == 3


def test_a_branch_that_may_run_already_is_looked_for_before_another_one_gets_its_slot() -> None:
    branches = [{"name": name, "ref": {"name": "worker"}} for name in "xyz"]
    world = World(story(step("p: parallel", with_={"steps": branches}), policy={"concurrency": 2}))
    world.reconcile()
    unseen = world.steps.pop("r1-p-y")
    assert plan(world.snapshot(), world.now).confirm
    world.steps["r1-p-y"] = unseen
    found = plan(world.snapshot(), world.now)
    assert not found.confirm, "nobody gets a slot, so nothing needs to be certain"
    assert not found.writes


def test_a_branch_that_may_run_already_is_looked_for_although_the_status_changes_anyway() -> None:
    branches = [{"name": name, "ref": {"name": "worker"}} for name in "xyz"]
    world = World(story("a", step("p: parallel", with_={"steps": branches}), policy={"concurrency": 3}))
    world.reconcile()
    del world.steps["r1-p-y"]
    world.end("a")
    found = plan(world.snapshot(), world.now)
    assert found.status is not None
    assert found.confirm


def test_a_step_that_was_never_created_takes_no_slot_that_somebody_else_took_meanwhile() -> None:
    """Found by the simulation: the status said that it runs, its creation failed, and another run was faster."""
    world = World(story("a"), config={"storyrun.global-concurrency": "1"})
    world.reconcile()
    del world.steps["r1-a"]
    world.occupancy = Occupancy(total=1)
    world.at(3 * SECOND).reconcile()
    assert not world.steps
    assert world.state("a") == "Running/GlobalConcurrency"
    world.occupancy = Occupancy()
    world.reconcile()
    assert set(world.steps) == {"r1-a"}
    assert world.state("a") == "Running"
    world.end("a").reconcile()
    assert world.phase == "Succeeded/Completed"


def test_a_step_that_shows_up_after_all_stands_in_line_no_more() -> None:
    world = World(story("a"), config={"storyrun.global-concurrency": "1"})
    world.reconcile()
    created = world.steps.pop("r1-a")
    world.occupancy = Occupancy(total=1)
    world.at(3 * SECOND).reconcile()
    world.steps["r1-a"] = created
    world.reconcile()
    assert world.state("a") == "Running"


def test_a_step_that_lost_its_slot_is_skipped_when_another_one_fails() -> None:
    world = World(story("a", "b"), config={"storyrun.global-concurrency": "2"})
    world.reconcile()
    del world.steps["r1-a"]
    world.occupancy = Occupancy(total=1)
    world.at(3 * SECOND).reconcile()
    world.end("b", "Failed").reconcile()
    assert world.state("a") == "Skipped/FailFast"
    assert world.phase.startswith("Failed")


def test_a_parallel_step_says_that_branches_wait_for_a_slot_and_since_when() -> None:
    """Found by the simulation: nothing else tells the run's place in line, and no free slot would wake it."""
    branches = [{"name": name, "ref": {"name": "worker"}} for name in "xy"]
    world = World(story(step("p: parallel", with_={"steps": branches}), policy={"concurrency": 1}))
    world.reconcile()
    assert world.state("p") == "Running/StoryConcurrency"
    world.at(3 * SECOND).reconcile()
    assert world.state("p") == "Running/StoryConcurrency"
    assert world.run.status.step_states["p"].started_at == "2026-01-01T10:00:00.000Z"
    world.end("p-x").reconcile()
    assert world.state("p") == "Running"
    assert world.run.status.step_states["p"].message is None


def queue(limit: int, ageing: int = 0) -> OperatorConfig:
    data = {"storyrun.queue.q.concurrency": str(limit), "storyrun.queue.q.priority-aging-seconds": str(ageing)}
    return parse(data).config


def rival(priority: int, waits: timedelta = timedelta(0), key: str = "wf/other") -> Rival:
    return Rival(key=key, priority=priority, queued_since=T0 - waits)


def admitted(
    priority: int, config: OperatorConfig, *rivals: Rival, running: int = 0, waits: timedelta = timedelta(0)
) -> int:
    answer = admit(
        ["a"],
        story_limit=0,
        place=QueuePlace("q", priority),
        config=config,
        occupancy=Occupancy(queue=running, total=running, rivals=rivals),
        own_active=0,
        queued_since=T0 - waits,
        now=T0,
    )
    return len(answer.admitted)


@pytest.mark.spec("runs-68")
def test_the_more_urgent_run_gets_the_slot() -> None:
    assert admitted(1, queue(1), rival(10)) == 0
    assert admitted(10, queue(1), rival(1)) == 1


@pytest.mark.spec("runs-69")
def test_b29_a_less_urgent_run_goes_on_while_there_is_room_for_all() -> None:
    assert admitted(1, queue(0), rival(10)) == 1
    assert admitted(1, queue(2), rival(10)) == 1


@pytest.mark.spec("runs-70")
def test_waiting_makes_a_run_more_urgent() -> None:
    config = queue(1, ageing=60)
    assert admitted(1, config, rival(5), waits=10 * MINUTE) == 1
    assert admitted(5, config, rival(1, waits=10 * MINUTE)) == 0


def test_equal_urgency_goes_by_the_time_of_queueing() -> None:
    assert admitted(1, queue(1), rival(1, waits=SECOND)) == 0
    assert admitted(1, queue(1), rival(1), waits=SECOND) == 1


@pytest.mark.spec("runs-71")
def test_an_ancestor_never_stands_in_the_way_of_its_child() -> None:
    execute = step("e: executeStory", with_={"storyRef": {"name": "child"}})
    world = World(
        story(execute, "b", policy={"priority": 10, "queue": "q"}), config={"storyrun.queue.q.concurrency": "1"}
    )
    world.stories["wf/child"] = story("x", name="child", policy={"priority": 1, "queue": "q"})
    world.occupancy = Occupancy(queue=1)
    world.reconcile()
    world.occupancy = Occupancy(rivals=[rival(10, key="wf/r1")])
    world.reconcile("r1-e")
    assert "r1-e-x" in world.steps


@pytest.mark.spec("runs-72")
def test_a_full_operator_queues_everything_and_says_why() -> None:
    world = World(story("a", "b"), config={"storyrun.global-concurrency": "2"})
    world.occupancy = Occupancy(total=2)
    world.reconcile()
    assert (world.state("a"), world.state("b")) == ("Pending/GlobalConcurrency", "Pending/GlobalConcurrency")
    assert not world.steps


def test_a_run_outside_the_default_queue_is_labelled() -> None:
    world = World(story("a", policy={"queue": "gpu", "priority": 3}))
    world.reconcile()
    assert world.run.metadata.labels == {"bubustack.io/queue": "gpu", "bubustack.io/queue-priority": "3"}
    assert world.steps["r1-a"].metadata.labels["bubustack.io/queue"] == "gpu"


@given(
    ready=st.integers(0, 6),
    story_limit=st.integers(0, 4),
    queue_limit=st.integers(0, 4),
    total_limit=st.integers(0, 4),
    running=st.integers(0, 5),
    own=st.integers(0, 3),
    rivals=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300)), max_size=4),
)
def test_no_limit_is_ever_exceeded_and_order_is_kept(
    ready: int,
    story_limit: int,
    queue_limit: int,
    total_limit: int,
    running: int,
    own: int,
    rivals: list[tuple[int, int]],
) -> None:
    names = [f"s{index}" for index in range(ready)]
    config = parse(
        {"storyrun.queue.q.concurrency": str(queue_limit), "storyrun.global-concurrency": str(total_limit)}
    ).config
    answer = admit(
        names,
        story_limit=story_limit,
        place=QueuePlace("q", 1),
        config=config,
        occupancy=Occupancy(
            story=running,
            queue=running,
            total=running,
            rivals=[rival(priority, timedelta(seconds=waits)) for priority, waits in rivals],
        ),
        own_active=own,
        queued_since=None,
        now=T0,
    )
    assert list(answer.admitted) == names[: len(answer.admitted)]
    assert set(answer.admitted) | set(answer.queued) == set(names)
    for limit in (story_limit, queue_limit, total_limit):
        if limit:
            assert not answer.admitted or running + own + len(answer.admitted) <= limit
    if not (story_limit or queue_limit or total_limit):
        assert not answer.queued


def test_a_child_is_born_with_the_place_of_its_own_story_or_of_its_parent() -> None:
    e, f = ({"storyRef": {"name": name}} for name in ("own", "none"))
    parent = story(
        step("e: executeStory", with_=e), step("f: executeStory", with_=f), policy={"queue": "Slow", "priority": 3}
    )
    world = World(parent)
    world.stories["wf/own"] = story("x", name="own", policy={"queue": "fast", "priority": 9})
    world.stories["wf/none"] = story("x", name="none")
    world.reconcile()
    places = {
        name: (labels["bubustack.io/queue"], labels["bubustack.io/queue-priority"])
        for name in ("r1-e", "r1-f")
        if (labels := world.runs[name].metadata.labels)
    }
    assert places == {"r1-e": ("fast", "9"), "r1-f": ("slow", "3")}


def test_a_label_that_no_longer_tells_the_place_is_corrected() -> None:
    world = World(story("a", policy={"queue": "q", "priority": 4}))
    world.reconcile()
    edited = story("a")
    edited.metadata.generation = 2
    world.stories["wf/s"] = edited
    world.reconcile()
    assert world.run.metadata.labels["bubustack.io/queue"] == "default"
    assert world.run.metadata.labels["bubustack.io/queue-priority"] == "0"
