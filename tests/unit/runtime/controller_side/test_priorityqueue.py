"""The priority queue (spec runtime Q-11 to Q-16)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.controller.priorityqueue import AddOpts, PriorityQueue
from bobrapet.runtime.workqueue import ItemExponentialFailureRateLimiter, QueueMetrics
from tests.unit.runtime.controller_side.test_workqueue import take


def add(queue: PriorityQueue[str], item: str, priority: int, after: float = 0.0) -> None:
    queue.add_with_opts(AddOpts(priority=priority, after=after), item)


@pytest.fixture
def queue(clock: FakeClock) -> PriorityQueue[str]:
    return PriorityQueue(clock=clock)


@pytest.mark.spec("runtime-14")
async def test_higher_priorities_come_first(queue: PriorityQueue[str]) -> None:
    add(queue, "zero", 0)
    add(queue, "ten", 10)
    add(queue, "low", -100)
    assert take(queue) == ["ten", "zero", "low"]


@pytest.mark.spec("runtime-15")
async def test_a_raised_item_goes_to_the_end_of_its_new_class(queue: PriorityQueue[str]) -> None:
    add(queue, "a", 0)
    add(queue, "b", 0)
    add(queue, "a", 5)
    assert take(queue) == ["a", "b"]
    add(queue, "a", 0)
    add(queue, "b", 5)
    add(queue, "a", 5)
    assert take(queue) == ["b", "a"]


@pytest.mark.spec("runtime-16")
async def test_a_known_item_keeps_the_higher_priority_and_its_place(queue: PriorityQueue[str]) -> None:
    add(queue, "a", 7)
    add(queue, "b", 7)
    add(queue, "a", 3)
    assert (await queue.get_with_priority())[:2] == ("a", 7)


@pytest.mark.spec("runtime-17")
async def test_a_waiting_item_takes_the_higher_priority_and_the_earlier_moment(
    queue: PriorityQueue[str], clock: FakeClock
) -> None:
    add(queue, "a", 0, after=10)
    add(queue, "a", 50, after=20)
    add(queue, "a", -5, after=4)
    await clock.advance(3.9)
    assert len(queue) == 0
    await clock.advance(0.1)
    assert (await queue.get_with_priority()) == ("a", 50, False)
    await clock.advance(100)
    assert len(queue) == 0


@pytest.mark.spec("runtime-18")
async def test_a_waiting_item_is_placed_by_the_moment_it_becomes_ready(
    queue: PriorityQueue[str], clock: FakeClock
) -> None:
    add(queue, "waited", 0, after=5)
    await clock.advance(4)
    add(queue, "fresh", 0)
    await clock.advance(1)
    assert take(queue) == ["fresh", "waited"]


@pytest.mark.spec("runtime-19")
async def test_an_item_in_processing_holds_up_nobody(queue: PriorityQueue[str]) -> None:
    queue.add("a")
    assert await queue.get() == ("a", False)
    queue.add("a")
    queue.add("b")
    assert len(queue) == 2
    assert await queue.get() == ("b", False)
    waiting = asyncio.create_task(queue.get())
    await settle()
    assert not waiting.done()
    queue.done("a")
    assert await waiting == ("a", False)


@pytest.mark.spec("runtime-20")
async def test_shut_down_releases_parked_getters_and_may_be_repeated(queue: PriorityQueue[str]) -> None:
    parked = [asyncio.create_task(queue.get()) for _ in range(3)]
    await settle()
    queue.shut_down()
    queue.shut_down()
    assert [await getter for getter in parked] == [(None, True)] * 3
    queue.add("a")
    assert await queue.get() == (None, True)


async def test_the_priority_queue_reports_shut_down_at_once(queue: PriorityQueue[str]) -> None:
    queue.add("a")
    queue.shut_down()
    assert await queue.get() == (None, True)


async def test_drain_waits_for_what_is_being_worked_on(queue: PriorityQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    drain = asyncio.create_task(queue.shut_down_with_drain())
    await settle()
    assert not drain.done()
    queue.done("a")
    await drain


async def test_of_a_delay_and_a_rate_limit_the_smaller_counts(clock: FakeClock) -> None:
    queue: PriorityQueue[str] = PriorityQueue(ItemExponentialFailureRateLimiter(3, 100), clock=clock)
    queue.add_with_opts(AddOpts(after=5, rate_limited=True), "limited")  # 3
    queue.add_with_opts(AddOpts(after=2, rate_limited=True), "after")  # 2
    await clock.advance(2)
    assert take(queue) == ["after"]
    await clock.advance(1)
    assert take(queue) == ["limited"]
    assert queue.num_requeues("limited") == 1


@pytest.mark.spec("runtime-21")
async def test_depth_is_counted_by_priority_of_ready_items(clock: FakeClock) -> None:
    metrics = QueueMetrics("q", clock.monotonic, by_priority=True)
    queue: PriorityQueue[str] = PriorityQueue(clock=clock, metrics=metrics)
    add(queue, "waits", 3, after=5)
    assert metrics.depth == {}
    add(queue, "ready", 3)
    assert metrics.depth == {"3": 1}
    add(queue, "ready", 8)
    assert metrics.depth == {"3": 0, "8": 1}
    await clock.advance(5)
    assert metrics.depth == {"3": 1, "8": 1}
    take(queue)
    assert metrics.depth == {"3": 0, "8": 0}
    for priority in range(100, 130):
        add(queue, f"item-{priority}", priority)
    assert len(metrics.depth) == 26
    assert metrics.depth["exceeded_cardinality_limit"] == 7
    take(queue)
    assert set(metrics.depth.values()) == {0}


async def served_after(queue: PriorityQueue[str], clock: FakeClock, limit: int) -> int | None:
    """Seconds until `old` is served while in each half second one fresh item arrives and one item is served."""
    add(queue, "old", -100)
    queue.add("backlog")
    for half_second in range(limit * 2):
        queue.add(f"fresh-{half_second}")
        item, _ = await queue.get()
        assert item is not None
        queue.done(item)
        if item == "old":
            return half_second // 2
        await clock.advance(0.5)
    return None


@pytest.mark.spec("runtime-24")
async def test_aging_serves_a_low_item_under_a_steady_stream(clock: FakeClock) -> None:
    waited = await served_after(PriorityQueue(clock=clock, aging_interval=10), clock, 60)
    assert waited is not None
    assert waited <= 20


@pytest.mark.spec("runtime-24")
async def test_without_aging_a_low_item_starves(clock: FakeClock) -> None:
    assert await served_after(PriorityQueue(clock=clock), clock, 60) is None


ITEMS = st.sampled_from("abcdef")


class PriorityQueueModel(RuleBasedStateMachine):
    """The queue against the simplest model: sets of dirty and processing items, a list of ready ones."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.metrics = QueueMetrics("q", self.clock.monotonic, by_priority=True)
        self.queue: PriorityQueue[str] = PriorityQueue(clock=self.clock, metrics=self.metrics)
        self.ready: list[tuple[int, str]] = []  # in order of becoming ready
        self.waiting: dict[str, tuple[float, int]] = {}
        self.processing: Counter[str] = Counter()

    def teardown(self) -> None:
        self.loop.close()

    def make_ready(self, item: str, priority: int) -> None:
        for index, (known, name) in enumerate(self.ready):
            if name == item:
                if priority > known:
                    del self.ready[index]
                    self.ready.append((priority, item))
                return
        _, waited_with = self.waiting.pop(item, (0.0, priority))
        self.ready.append((max(priority, waited_with), item))

    @rule(item=ITEMS, priority=st.sampled_from([-100, 0, 0, 7]), delay=st.sampled_from([0, 0, 0, 1, 2.5, 9]))
    def add(self, item: str, priority: int, delay: float) -> None:
        self.loop.run_until_complete(self._add(item, priority, delay))
        if delay == 0 or any(name == item for _, name in self.ready):
            self.make_ready(item, priority)
        else:
            due, known = self.waiting.get(item, (float("inf"), priority))
            self.waiting[item] = (min(due, self.clock.monotonic() + delay), max(known, priority))

    async def _add(self, item: str, priority: int, delay: float) -> None:
        self.queue.add_with_opts(AddOpts(after=delay, priority=priority), item)

    @rule(seconds=st.sampled_from([0.5, 1, 3]))
    def advance(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds))
        due = sorted((when, item) for item, (when, _) in self.waiting.items() if when <= self.clock.monotonic())
        # Items due at one moment keep the order in which they were added, which this model does not know.
        batch = [item for _, item in due]
        if len({when for when, _ in due}) < len(due):
            order = {item: entry.sequence for item, entry in self.queue._entries.items()}
            batch.sort(key=lambda item: (self.waiting[item][0], order[item]))
        for item in batch:
            self.make_ready(item, self.waiting[item][1])

    @precondition(lambda self: len(self.queue))
    @rule()
    def get(self) -> None:
        takable = [(priority, item) for priority, item in self.ready if not self.processing[item]]
        item = self.loop.run_until_complete(self._get())
        if item is None:
            assert not takable, "an item was lost"
            return
        best = max(priority for priority, _ in takable)
        assert item == next(item for priority, item in takable if priority == best)
        self.ready.remove((best, item))
        self.processing[item] += 1
        assert self.processing[item] == 1, "two workers have one item"

    async def _get(self) -> str | None:
        getter = asyncio.create_task(self.queue.get())
        await settle()
        if not getter.done():
            getter.cancel()
            await settle()
            return None
        return (await getter)[0]

    @precondition(lambda self: +self.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(+self.processing)))
        self.processing[item] -= 1
        self.queue.done(item)

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.queue) == len(self.ready)
        assert all(depth >= 0 for depth in self.metrics.depth.values())
        assert sum(self.metrics.depth.values()) == len(self.ready)


TestPriorityQueueModel = pytest.mark.spec("runtime-21", "runtime-23")(PriorityQueueModel.TestCase)
TestPriorityQueueModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
