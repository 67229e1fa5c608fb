"""Counters of a definition are written at most once per five seconds, however many objects it has."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from bobrapet.reconcilers.glance import RawStoryRun
from bobrapet.reconcilers.wakeups import story_of_run
from bobrapet.reconcilers.watches import COUNTER_DELAY, EnqueueLater
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.controller.priorityqueue import PriorityQueue
from bobrapet.runtime.event import CreateEvent, DeleteEvent, UpdateEvent
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
