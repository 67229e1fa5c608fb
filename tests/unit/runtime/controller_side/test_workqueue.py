"""The plain queue, delays and rate limiters (spec runtime 6.3)."""

from __future__ import annotations

import asyncio
import random

import pytest

from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.controller.priorityqueue import PriorityQueue
from bobrapet.runtime.workqueue import (
    BucketRateLimiter,
    DelayingQueue,
    ItemExponentialFailureRateLimiter,
    ItemFastSlowRateLimiter,
    MaxOfRateLimiter,
    Queue,
    QueueMetrics,
    RateLimitingQueue,
    WithMaxWaitRateLimiter,
)


async def is_blocked(task: asyncio.Task[object]) -> bool:
    await settle()
    return not task.done()


def take(queue: Queue[str] | PriorityQueue[str]) -> list[str]:
    """Everything that can be taken now, each done at once."""
    taken: list[str] = []
    while len(queue):
        get = queue.get()
        try:
            get.send(None)
        except StopIteration as answer:
            item, shut_down = answer.value
            assert not shut_down
            taken.append(item)
            queue.done(item)
        else:
            get.close()
            break
    return taken


@pytest.mark.spec("runtime-1")
async def test_an_item_added_twice_is_handed_out_once_in_order_of_arrival() -> None:
    queue: Queue[str] = Queue()
    for item in ("a", "a", "b"):
        queue.add(item)
    assert await queue.get() == ("a", False)
    assert await queue.get() == ("b", False)
    third = asyncio.create_task(queue.get())
    assert await is_blocked(third)
    third.cancel()


@pytest.mark.spec("runtime-2")
async def test_an_item_added_while_processing_waits_for_done() -> None:
    queue: Queue[str] = Queue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    second = asyncio.create_task(queue.get())
    assert await is_blocked(second)
    queue.done("a")
    assert await second == ("a", False)


@pytest.mark.spec("runtime-3")
async def test_adds_during_processing_collapse_into_one() -> None:
    queue: Queue[str] = Queue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")
    queue.done("a")
    assert await queue.get() == ("a", False)
    queue.done("a")
    assert len(queue) == 0


@pytest.mark.spec("runtime-4")
async def test_done_without_another_add_forgets_the_item() -> None:
    queue: Queue[str] = Queue()
    queue.add("a")
    await queue.get()
    queue.done("a")
    assert len(queue) == 0
    second = asyncio.create_task(queue.get())
    assert await is_blocked(second)
    second.cancel()


@pytest.mark.spec("runtime-5")
async def test_shut_down_hands_out_what_is_queued_and_takes_no_more() -> None:
    queue: Queue[str] = Queue()
    queue.add("a")
    queue.add("b")
    queue.shut_down()
    queue.add("c")
    assert [await queue.get() for _ in range(3)] == [("a", False), ("b", False), (None, True)]


@pytest.mark.spec("runtime-6")
async def test_drain_waits_for_done() -> None:
    queue: Queue[str] = Queue()
    queue.add("a")
    await queue.get()
    drain = asyncio.create_task(queue.shut_down_with_drain())
    assert await is_blocked(drain)
    queue.done("a")
    await drain


@pytest.mark.spec("runtime-6")
async def test_a_shut_down_releases_the_one_who_drains() -> None:
    queue: Queue[str] = Queue()
    queue.add("a")
    await queue.get()
    drain = asyncio.create_task(queue.shut_down_with_drain())
    assert await is_blocked(drain)
    queue.shut_down()
    await drain


async def test_a_wake_up_that_meets_a_cancelled_getter_goes_to_the_next() -> None:
    for queue in (Queue[str](), PriorityQueue[str]()):
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await settle()
        queue.add("a")  # wakes the first
        first.cancel()
        assert await second == ("a", False)


Delaying = DelayingQueue[str] | PriorityQueue[str]


@pytest.fixture(params=[DelayingQueue, PriorityQueue])
def queue(request: pytest.FixtureRequest, clock: FakeClock) -> Delaying:
    made: Delaying = request.param(clock=clock)
    return made


@pytest.mark.spec("runtime-7")
async def test_a_delayed_item_is_ready_at_its_moment_and_not_before(queue: Delaying, clock: FakeClock) -> None:
    queue.add_after("a", 5)
    await clock.advance(4.9)
    assert len(queue) == 0
    await clock.advance(0.1)
    assert take(queue) == ["a"]


@pytest.mark.spec("runtime-8")
@pytest.mark.parametrize("delays", [(10, 3), (3, 10)])
async def test_of_two_delays_the_earlier_counts_once(
    queue: Delaying, clock: FakeClock, delays: tuple[float, float]
) -> None:
    for delay in delays:
        queue.add_after("a", delay)
    await clock.advance(2.9)
    assert take(queue) == []
    await clock.advance(0.1)
    assert take(queue) == ["a"]
    await clock.advance(20)
    assert take(queue) == []


@pytest.mark.spec("runtime-9")
async def test_an_immediate_add_ends_the_wait(queue: Delaying, clock: FakeClock) -> None:
    queue.add_after("a", 10)
    queue.add("a")
    assert take(queue) == ["a"]
    await clock.advance(20)
    assert take(queue) == []


@pytest.mark.spec("runtime-10")
@pytest.mark.parametrize("delay", [0, -1.5])
async def test_no_delay_is_immediate(queue: Delaying, delay: float) -> None:
    queue.add_after("a", delay)
    assert take(queue) == ["a"]


@pytest.mark.spec("runtime-11")
async def test_a_thousand_delays_come_out_sorted(queue: Delaying, clock: FakeClock) -> None:
    due = {f"item-{n}": random.Random(n).uniform(0.001, 100) for n in range(1000)}
    for item, delay in due.items():
        queue.add_after(item, delay)
    await clock.advance(100)
    assert take(queue) == sorted(due, key=due.__getitem__)


async def test_waiting_items_are_dropped_at_shut_down(queue: Delaying, clock: FakeClock) -> None:
    queue.add_after("a", 1)
    queue.shut_down()
    await clock.advance(2)
    assert await queue.get() == (None, True)
    assert clock.next_timer is None


@pytest.mark.spec("runtime-12")
def test_the_exponential_limiter_doubles_up_to_its_cap_and_forgets() -> None:
    limiter: ItemExponentialFailureRateLimiter[str] = ItemExponentialFailureRateLimiter()
    delays = [limiter.when("a") for _ in range(2000)]
    assert delays[:5] == [0.005, 0.010, 0.020, 0.040, 0.080]
    assert delays[29] == delays[-1] == 1000
    assert limiter.when("b") == 0.005
    assert limiter.num_requeues("a") == 2000
    limiter.forget("a")
    assert limiter.when("a") == 0.005


@pytest.mark.spec("runtime-13")
async def test_the_bucket_holds_its_burst_then_spaces_out(clock: FakeClock) -> None:
    bucket: BucketRateLimiter[str] = BucketRateLimiter(10, 100, clock)
    assert [bucket.when("a") for _ in range(100)] == [0.0] * 100
    assert bucket.when("a") == pytest.approx(0.1)
    assert bucket.when("b") == pytest.approx(0.2)
    await clock.advance(1000)
    assert bucket.when("a") == 0


@pytest.mark.spec("runtime-13")
def test_max_of_gives_the_larger_answer_of_both(clock: FakeClock) -> None:
    exponential: ItemExponentialFailureRateLimiter[str] = ItemExponentialFailureRateLimiter(base=0.15)
    both = MaxOfRateLimiter(exponential, BucketRateLimiter[str](10, 1, clock))
    assert both.when("a") == pytest.approx(0.15)  # bucket: 0
    assert both.when("b") == pytest.approx(0.15)  # bucket: 0.1
    assert both.when("c") == pytest.approx(0.2)  # bucket: 0.2
    assert both.num_requeues("a") == 1
    both.forget("a")
    assert both.num_requeues("a") == 0


def test_fast_slow_and_max_wait_limiters() -> None:
    fast_slow: ItemFastSlowRateLimiter[str] = ItemFastSlowRateLimiter(0.1, 5, 2)
    assert [fast_slow.when("a") for _ in range(4)] == [0.1, 0.1, 5, 5]
    limited = WithMaxWaitRateLimiter(fast_slow, 2)
    assert limited.when("a") == 2
    limited.forget("a")
    assert limited.num_requeues("a") == 0
    assert limited.when("a") == 0.1


async def test_rate_limited_adds_wait_longer_each_time_until_forgotten(clock: FakeClock) -> None:
    queue: RateLimitingQueue[str] = RateLimitingQueue(ItemExponentialFailureRateLimiter(1, 100), clock=clock)
    for wait in (1, 2, 4):
        queue.add_rate_limited("a")
        await clock.advance(wait - 0.01)
        assert len(queue) == 0
        await clock.advance(0.01)
        assert take(queue) == ["a"]
    assert queue.num_requeues("a") == 3
    queue.forget("a")
    queue.add_rate_limited("a")
    await clock.advance(1)
    assert take(queue) == ["a"]


@pytest.mark.spec("runtime-22")
async def test_a_queue_measures_waiting_and_work(clock: FakeClock) -> None:
    for plain in (True, False):
        metrics = QueueMetrics("q", clock.monotonic, by_priority=not plain)
        queue = (DelayingQueue if plain else PriorityQueue)(clock=clock, metrics=metrics)  # type: ignore[operator]
        queue.add_after("a", 5)
        assert (metrics.adds, metrics.retries) == (0, 1)
        await clock.advance(7)  # ready for 2 seconds
        assert metrics.adds == 1
        await queue.get()
        assert metrics.queue_duration.total == pytest.approx(2)
        await clock.advance(0.5)
        queue.add("b")
        await queue.get()
        await clock.advance(0.5)
        assert metrics.unfinished == pytest.approx(1.5)
        assert metrics.longest_running == pytest.approx(1.0)
        queue.done("a")
        queue.done("b")
        assert metrics.work_duration.total == pytest.approx(1.5)
        assert metrics.work_duration.count == 2
        assert metrics.unfinished == metrics.longest_running == 0
        assert sum(metrics.depth.values()) == 0
