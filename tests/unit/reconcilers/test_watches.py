"""Counters of a definition are written at most once per five seconds, however many objects it has."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from bobrapet.reconcilers.glance import RawStepRun, RawStoryRun
from bobrapet.reconcilers.wakeups import story_of_run
from bobrapet.reconcilers.watches import (
    AT_THE_START,
    COUNTER_DELAY,
    EnqueueLater,
    backlog,
    is_news,
    itself,
    run_changed,
    step_changed,
)
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.controller.priorityqueue import PriorityQueue
from bobrapet.runtime.event import CreateEvent, DeleteEvent, UpdateEvent
from bobrapet.runtime.handler import EnqueueRequestForObject
from bobrapet.runtime.predicate import Funcs
from bobrapet.runtime.reconcile import Request
from tests.unit.reconcilers.objects import storyrun


async def test_a_thousand_runs_in_twenty_seconds_wake_their_story_four_times() -> None:
    clock = FakeClock()
    queue: PriorityQueue[Request] = PriorityQueue(clock=clock)
    woken: list[float] = []

    async def work() -> None:
        while True:
            request, shut_down = await queue.get()
            if shut_down or request is None:
                return
            woken.append(clock.monotonic())
            queue.done(request)

    worker = asyncio.create_task(work())
    handler = EnqueueLater(story_of_run)
    for number in range(1000):
        run = RawStoryRun(storyrun(f"run{number}"))
        await handler.create(CreateEvent(run), queue)
        await handler.update(UpdateEvent(run, run), queue)
        await handler.delete(DeleteEvent(run), queue)
        await clock.advance(0.02)
    await clock.advance(COUNTER_DELAY)
    queue.shut_down()
    await worker
    assert 4 <= len(woken) <= 5
    assert all(later - earlier >= COUNTER_DELAY for earlier, later in pairwise(woken))


async def test_what_is_there_at_the_start_wakes_nobody() -> None:
    clock = FakeClock()
    queue: PriorityQueue[Request] = PriorityQueue(clock=clock)
    await EnqueueLater(story_of_run).create(CreateEvent(RawStoryRun(storyrun()), is_in_initial_list=True), queue)
    await clock.advance(2 * COUNTER_DELAY)
    assert len(queue) == 0
    queue.shut_down()


async def test_what_ended_before_the_start_is_looked_at_after_everything_that_may_go_on() -> None:
    clock = FakeClock()
    queue: PriorityQueue[Request] = PriorityQueue(clock=clock)
    watched = [
        (EnqueueRequestForObject(), Funcs(create=is_news)),
        (backlog(itself), AT_THE_START),
    ]
    for name, phase in (("old", "Succeeded"), ("open", "Running"), ("older", "Failed"), ("new", None)):
        run = RawStoryRun({"metadata": {"namespace": "ns", "name": name}, "status": {"phase": phase} if phase else {}})
        event = CreateEvent(run, is_in_initial_list=True)
        for handler, predicate in watched:
            if predicate.create(event):
                await handler.create(event, queue)
    got = [(await queue.get())[0] for _ in range(len(queue))]
    assert [request.name for request in got if request] == ["open", "new", "old", "older"]
    queue.shut_down()


async def test_a_run_that_appears_with_its_end_is_looked_at_like_any_other() -> None:
    run = RawStoryRun({"metadata": {"namespace": "ns", "name": "r"}, "status": {"phase": "Succeeded"}})
    assert is_news(CreateEvent(run))
    assert not AT_THE_START.create(CreateEvent(run))


def test_b46_a_run_is_woken_by_what_it_looks_at_in_its_steps_and_by_nothing_else() -> None:
    before: dict[str, Any] = {"metadata": {"name": "s", "resourceVersion": "1"}, "status": {"phase": "Running"}}

    def woken(**changed: object) -> bool:
        after = {**before, "metadata": {"name": "s", "resourceVersion": "2"}, "status": {**before["status"], **changed}}
        return step_changed(UpdateEvent(RawStepRun(before), RawStepRun(after)))

    mark = {"type": "Finalized", "status": "True", "reason": "Succeeded"}
    assert not woken()
    assert not woken(podName="p", retries=1, phase="Pending", lastFailureMsg="again")
    assert woken(conditions=[mark])
    assert woken(signals={"ready": True})


def test_b46_what_the_operator_writes_about_steps_does_not_wake_their_run() -> None:
    before: dict[str, Any] = {"metadata": {"name": "r", "generation": 1}, "status": {"phase": "Running"}}

    def woken(**changed: object) -> bool:
        after = {**before, "status": {**before["status"], **changed}}
        return run_changed(UpdateEvent(RawStoryRun(before), RawStoryRun(after)))

    assert not woken(stepStates={"a": {"phase": "Running"}}, message="running a", duration="3s", active=["a"])
    assert woken(phase="Succeeded")
    assert woken(gates={"g": {"state": "Approved"}})
    assert woken(conditions=[{"type": "Degraded", "status": "True", "reason": "TopologyTerminated"}])
