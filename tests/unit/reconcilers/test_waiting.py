"""Who is woken when a slot is free, driven by events alone: no timer, no pass over everybody
(spec runs 14.5; B-28, B-29).
"""

from __future__ import annotations

import asyncio
import copy
import random
from typing import Any

import pytest

from bobrapet.api import StepRun, StoryRun
from bobrapet.config.operator import parse
from bobrapet.reconcilers import glance
from bobrapet.reconcilers.apply import merge_patch
from bobrapet.reconcilers.builtin import ConfigMap
from bobrapet.reconcilers.glance import RawStepRun, RawStoryRun
from bobrapet.reconcilers.operatorconfig import ConfigSource
from bobrapet.reconcilers.waiting import Lines, WhenLimitsChange, WhenLinesMove, WhenSlotsAreFree
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.event import DeleteEvent, GenericEvent, UpdateEvent
from bobrapet.runtime.reconcile import Request
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.world import World


class Queue:
    """A workqueue as handlers see it: keys, each once."""

    def __init__(self) -> None:
        self.keys: dict[Request, None] = {}

    def add(self, item: Request) -> None:
        self.keys[item] = None

    add_rate_limited = add

    def add_after(self, item: Request, seconds: float) -> None:
        raise AssertionError("no timer looks for free slots")


class Events:
    """The StoryRun controller of a world, fed with nothing but what its watches would bring."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queue = Queue()
        self.passes = 0
        self.most_active = 0
        lines = Lines(world.operator)
        self._handlers = {RawStepRun: WhenSlotsAreFree(lines), RawStoryRun: WhenLinesMove(lines)}
        self._seen: dict[Any, dict[str, Any]] = {RawStepRun: {}, RawStoryRun: {}}

    async def observe(self) -> None:
        """Hands every change since the last look to the handlers, and steps that ended to their runs."""
        for kind, handler in self._handlers.items():
            now = {obj.metadata.name: copy.deepcopy(obj) for obj in await self.world.client.list(kind)}
            before, self._seen[kind] = self._seen[kind], now
            for name, obj in now.items():
                if name not in before:
                    if kind is RawStoryRun:
                        self.queue.add(Request(NAMESPACE, name))
                elif before[name] != obj:
                    await handler.update(UpdateEvent(before[name], obj), self.queue)  # type: ignore[attr-defined]
                    if kind is RawStepRun and glance.final_mark(before[name]) != glance.final_mark(obj):
                        self.queue.add(Request(NAMESPACE, obj.get("spec", "storyRunRef", "name")))
            for name in before.keys() - now.keys():
                await handler.delete(DeleteEvent(before[name]), self.queue)  # type: ignore[attr-defined]
            if kind is RawStepRun:
                self.most_active = max(self.most_active, sum(bool(glance.slots(obj)) for obj in now.values()))

    async def drain(self) -> None:
        """Reconciles runs until nobody is woken any more."""
        await self.observe()
        while self.queue.keys:
            request = next(iter(self.queue.keys))
            del self.queue.keys[request]
            self.passes += 1
            await self.world.storyruns.reconcile(request)
            await self.observe()

    async def active(self) -> list[str]:
        found = await self.world.client.list(RawStepRun)
        return sorted(step.metadata.name or "" for step in found if glance.slots(step))

    async def end(self, name: str) -> None:
        """The StepRun controller judges a step."""
        conditions = [
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for kind, reason in (("Ready", "Completed"), ("Finalized", "Succeeded"))
        ]
        raw = await self.world.client.get(RawStepRun, ObjectKey(NAMESPACE, name))
        status = {"status": {"phase": "Succeeded", "retries": 0, "conditions": conditions}}
        await self.world.client.status().patch(raw, merge_patch(status))

    async def phases(self) -> dict[str, str]:
        runs = await self.world.client.list(StoryRun)
        return {run.metadata.name or "": run.status.phase.value if run.status.phase else "" for run in runs}


QUEUE = "storyrun.queue.default.concurrency"


def queue_of(limit: int, *more: Any, steps: int = 1, config: str = QUEUE) -> World:
    """A cluster with a limit, and the Story `etl` with steps `s0`, `s1` ... side by side."""
    one = story(*(step(f"s{index}") for index in range(steps)))
    return World(template(), engram(), one, *more, config=parse({config: str(limit)}).config)


@pytest.mark.parametrize("config", [QUEUE, "storyrun.global-concurrency"])
async def test_a_step_that_ends_wakes_exactly_the_run_whose_turn_it_is(config: str) -> None:
    world = queue_of(1, *(storyrun(f"run{n:02}") for n in range(10)), config=config)
    events = Events(world)
    await events.drain()
    assert len(await events.active()) == 1
    for _ in range(9):
        (running,) = await events.active()
        events.passes = 0
        await events.end(running)
        await events.drain()
        assert len(await events.active()) == 1
        assert events.passes <= 4, "its own run, the next one, and whether there is room for one more"
    (running,) = await events.active()
    await events.end(running)
    await events.drain()
    assert set((await events.phases()).values()) == {"Succeeded"}
    assert events.most_active == 1


async def test_first_come_first_served_among_equals() -> None:
    world = queue_of(1)
    events = Events(world)
    order = []
    for name in ("c", "a", "b"):
        await world.client.create(StoryRun.model_validate(storyrun(name)))
        await events.drain()
        await world.clock.advance(1)
    for _ in range(3):
        (running,) = await events.active()
        order.append(running.partition("-")[0])
        await events.end(running)
        await events.drain()
    assert order == ["c", "a", "b"]


async def test_the_more_urgent_run_is_woken_first() -> None:
    urgent = story(step("s0"), name="urgent", policy={"priority": 5})
    world = queue_of(1, urgent, storyrun("low1"), storyrun("low2"))
    events = Events(world)
    await events.drain()
    await world.clock.advance(1)
    await world.client.create(StoryRun.model_validate(storyrun("high", story="urgent")))
    await events.drain()
    assert await events.active() == ["low1-s0"]
    await events.end("low1-s0")
    await events.drain()
    assert await events.active() == ["high-s0"]


async def test_a_run_that_its_story_holds_keeps_no_slot_of_the_queue_from_others() -> None:
    narrow = story(step("s0"), name="narrow", policy={"concurrency": 1, "priority": 9})
    world = queue_of(2, narrow, storyrun("n1", story="narrow"), storyrun("n2", story="narrow"))
    events = Events(world)
    await events.drain()
    assert await events.active() == ["n1-s0"]
    await world.client.create(StoryRun.model_validate(storyrun("other")))
    await events.drain()
    assert await events.active() == ["n1-s0", "other-s0"], "n2 waits for its Story, not for the queue"
    await events.end("n1-s0")
    await events.drain()
    assert await events.active() == ["n2-s0", "other-s0"]


async def test_a_running_step_that_is_deleted_frees_its_slot() -> None:
    world = queue_of(1, storyrun("run1"), storyrun("run2"))
    events = Events(world)
    await events.drain()
    (running,) = await events.active()
    world.forget("storyruns", running.partition("-")[0])
    await events.drain()
    assert len(await events.active()) == 1


async def test_runs_that_end_while_they_wait_let_the_next_one_go() -> None:
    world = queue_of(1, *(storyrun(f"run{n}") for n in range(3)))
    events = Events(world)
    await events.drain()
    (running,) = await events.active()
    waiting = sorted({"run0", "run1", "run2"} - {running.partition("-")[0]})
    run = await world.client.get(StoryRun, ObjectKey(NAMESPACE, waiting[0]))
    await world.client.patch(run, merge_patch({"spec": {"cancelRequested": True}}))
    events.queue.add(Request(NAMESPACE, waiting[0]))
    await events.drain()
    await events.end(running)
    await events.drain()
    assert await events.active() == [f"{waiting[1]}-s0"]


async def test_a_run_whose_story_is_gone_does_not_hold_up_those_behind_it() -> None:
    lost = story(step("s0"), name="lost")
    world = queue_of(1, lost, storyrun("run1"))
    events = Events(world)
    await events.drain()
    await world.client.create(StoryRun.model_validate(storyrun("first", story="lost")))
    await events.drain()
    await world.clock.advance(1)
    await world.client.create(StoryRun.model_validate(storyrun("second")))
    await events.drain()
    world.forget("stories", "lost")
    await events.end("run1-s0")
    await events.drain()
    assert await events.active() == ["second-s0"]


async def test_a_limit_that_is_raised_wakes_everybody_who_waits() -> None:
    world = queue_of(1, *(storyrun(f"run{n}") for n in range(4)))
    events = Events(world)
    await events.drain()
    source = ConfigSource(ObjectKey("system", "config"))
    changes = source.changes()
    data = {QUEUE: "3"}
    raised = ConfigMap({"metadata": {"name": "config", "namespace": "system"}, "data": data})
    await world.client.create(raised)
    await source.load(world.client)
    world.config = source()
    event: GenericEvent[Any] = await anext(changes)
    await WhenLimitsChange(Lines(world.operator)).generic(event, events.queue)
    assert len(events.queue.keys) == 3
    await events.drain()
    assert len(await events.active()) == 3


async def test_configuration_that_stays_the_same_wakes_nobody() -> None:
    world = queue_of(1)
    source = ConfigSource(ObjectKey("system", "config"))
    source.changes()
    await source.load(world.client)
    await source.load(world.client)
    assert all(listener.empty() for listener in source._listeners)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_ends_first_no_limit_is_exceeded_and_every_run_ends(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"run{n}" for n in range(8)]
    other = story(step("s0"), step("s1"), name="other", policy={"concurrency": 2, "priority": chance.randint(0, 3)})
    runs = [storyrun(name, story=chance.choice(["etl", "other"])) for name in names]
    world = queue_of(3, other, *runs, steps=chance.randint(1, 3))
    events = Events(world)
    await events.drain()
    for _ in range(60):
        active = await events.active()
        if not active:
            break
        await events.end(chance.choice(active))
        await events.drain()
        await world.clock.advance(chance.randint(0, 90))
    assert set((await events.phases()).values()) == {"Succeeded"}
    assert events.most_active <= 3
    steps = len((await world.client.list(StepRun)).items)
    assert events.passes <= 8 * steps + 4 * len(names), "the passes grow with the steps, not with who waits"


async def test_two_workers_that_plan_at_once_do_not_take_one_slot_twice() -> None:
    world = queue_of(2, *(storyrun(f"run{n}") for n in range(8)))
    await asyncio.gather(*(world.storyruns.reconcile(Request(NAMESPACE, f"run{n}")) for n in range(8)))
    assert len((await world.client.list(StepRun)).items) == 2
