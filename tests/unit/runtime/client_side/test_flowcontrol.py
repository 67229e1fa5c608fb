"""The client-side limit (spec runtime CLI-17)."""

from __future__ import annotations

import asyncio

import pytest

from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.rest.flowcontrol import TokenBucket


async def test_a_burst_passes_and_then_the_rate_counts(clock: FakeClock) -> None:
    bucket = TokenBucket(10, 3, clock)
    assert [bucket.reserve() for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])
    await clock.advance(0.5)
    assert bucket.reserve() == 0


async def test_the_bucket_never_holds_more_than_its_burst(clock: FakeClock) -> None:
    bucket = TokenBucket(10, 2, clock)
    await clock.advance(1000)
    assert [bucket.reserve() for _ in range(3)] == pytest.approx([0, 0, 0.1])


async def test_waiters_are_served_in_order(clock: FakeClock) -> None:
    bucket = TokenBucket(1, 1, clock)
    order: list[int] = []

    async def take(number: int) -> None:
        await bucket.wait()
        order.append(number)

    tasks = [asyncio.create_task(take(number)) for number in range(3)]
    await settle()
    assert order == [0]
    await clock.advance(1)
    assert order == [0, 1]
    await clock.advance(1)
    assert order == [0, 1, 2]
    await asyncio.gather(*tasks)


async def test_a_cancelled_waiter_gives_its_token_back(clock: FakeClock) -> None:
    bucket = TokenBucket(1, 1, clock)
    await bucket.wait()
    waiter = asyncio.create_task(bucket.wait())
    await settle()
    waiter.cancel()
    await settle()
    assert bucket.reserve() == pytest.approx(1)


@pytest.mark.parametrize("qps", [0, -1])
def test_a_rate_must_be_positive(qps: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        TokenBucket(qps)


def test_without_burst_a_second_of_requests_may_go_at_once(clock: FakeClock) -> None:
    bucket = TokenBucket(5, 0, clock)
    assert [bucket.reserve() for _ in range(6)] == pytest.approx([0] * 5 + [0.2])
