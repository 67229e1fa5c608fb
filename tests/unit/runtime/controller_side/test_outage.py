"""An API server that is away: how often it is asked, and how soon everything goes on when it is back.

First the reflectors of one client, then the requests of one controller.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.errors import Conflict, ConnectionFailed, ServiceUnavailable, TooManyRequests, error_from_response
from bobrapet.runtime.internal.controller.stranded import TRY_EVERY
from bobrapet.runtime.reconcile import Request
from bobrapet.runtime.toolscache.listwatch import RawList
from bobrapet.runtime.toolscache.outage import ASK_EVERY, Outage
from bobrapet.runtime.toolscache.record import RecordDecoder
from bobrapet.runtime.toolscache.reflector import Reflector
from tests.unit.runtime.controller_side.controllers import Bench
from tests.unit.runtime.controller_side.fakes import WIDGET, Stream, page
from tests.unit.runtime.controller_side.test_reflector import Store

REFLECTORS = 20


class Server:
    """Answers, or fails each request with what `trouble` says."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.trouble: Exception | None = None
        self.not_ready: set[str] = set()
        """Who is told once more to come again, as after a start."""
        self.asked: list[tuple[float, str]] = []
        self.watching: dict[str, Stream] = {}

    def goes_away(self, trouble: Exception) -> None:
        self.trouble = trouble
        streams, self.watching = self.watching, {}
        for stream in streams.values():
            stream.close()

    def comes_back(self) -> None:
        self.trouble = None

    def answer(self, who: str) -> None:
        self.asked.append((self._clock.monotonic(), who))
        if self.trouble is not None:
            raise self.trouble
        if who in self.not_ready:
            self.not_ready.discard(who)
            raise TooManyRequests("storage is (re)initializing", retry_after=1.0)


class Source:
    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name

    async def list(self, params: Mapping[str, str]) -> RawList:
        self._server.answer(self._name)
        return page([], 1)

    @asynccontextmanager
    async def watch(self, params: Mapping[str, str]) -> AsyncIterator[Stream]:
        self._server.answer(self._name)
        stream = self._server.watching[self._name] = Stream(params)
        yield stream


@pytest.fixture
async def server(clock: FakeClock) -> AsyncIterator[Server]:
    """A server with twenty reflectors of one client, all of which are watching."""
    made = Server(clock)
    outage = Outage(clock, random.Random(0))
    tasks = []
    for n in range(REFLECTORS):
        reflector = Reflector(
            Source(made, str(n)),
            Store(),
            RecordDecoder(WIDGET),
            clock=clock,
            streaming_lists=False,
            on_error=lambda error: None,
            rng=random.Random(n),
            outage=outage,
        )
        tasks.append(asyncio.create_task(reflector.run()))
    await settle()
    assert len(made.watching) == REFLECTORS
    await clock.advance(60)
    made.asked.clear()
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def refused() -> Exception:
    return ConnectionFailed("connection refused", refused=True)


def unavailable() -> Exception:
    return ServiceUnavailable("no endpoints", status=503)


def bad_gateway() -> Exception:
    return error_from_response(502, b"<html>bad gateway</html>")


def group() -> Exception:
    return ExceptionGroup("two writes", [refused(), unavailable()])


def conflict() -> Exception:
    return Conflict("the object has been modified")


ABSENT = [refused(), unavailable()]


@pytest.mark.parametrize("trouble", ABSENT, ids=["nobody listens", "a load balancer answers"])
async def test_everything_goes_on_soon_after_the_server_is_back(
    server: Server, clock: FakeClock, trouble: Exception
) -> None:
    server.goes_away(trouble)
    await clock.advance(300)
    server.comes_back()
    server.not_ready = {str(n) for n in range(REFLECTORS)}
    await clock.advance(2 * ASK_EVERY)
    assert not server.not_ready, "with the first answer all others ask too"
    await clock.advance(2)
    assert len(server.watching) == REFLECTORS, "who is told to come again does so after a short pause"


async def test_somebody_asks_a_server_that_is_away_every_few_seconds_and_the_others_rarely(
    server: Server, clock: FakeClock
) -> None:
    server.goes_away(ABSENT[0])
    await clock.advance(300)
    server.asked.clear()
    await clock.advance(600)
    moments = sorted(moment for moment, _ in server.asked)
    assert max(later - earlier for earlier, later in pairwise(moments)) <= 2 * ASK_EVERY
    assert len(moments) <= 600 / 30 * REFLECTORS + 600 / ASK_EVERY


async def test_the_one_who_asks_for_all_waits_as_long_as_the_server_wants(clock: FakeClock) -> None:
    outage = Outage(clock)
    done = asyncio.create_task(outage.wait(60, at_least=30))
    await settle()
    await clock.advance(29)
    assert not done.done()
    await clock.advance(1)
    await done


async def test_when_the_one_who_asks_is_stopped_another_takes_over(clock: FakeClock) -> None:
    outage = Outage(clock)
    first = asyncio.create_task(outage.wait(60))
    await settle()
    first.cancel()
    await settle()
    second = asyncio.create_task(outage.wait(60))
    await settle()
    await clock.advance(2 * ASK_EVERY)
    assert second.done()


async def test_an_overloaded_server_is_not_asked_sooner_because_others_get_answers(
    server: Server, clock: FakeClock
) -> None:
    server.trouble = TooManyRequests("too many requests")
    server.watching["3"].close()
    await clock.advance(120)
    server.asked.clear()
    server.trouble = None
    server.watching["5"].close()
    await settle()
    assert [who for _, who in server.asked] == ["5"]


KEYS = [Request("ns", f"r{n}") for n in range(10)]


class NeedsServer:
    """A reconciler that fails as long as there is trouble; what it was asked, and when."""

    def __init__(self, trouble: Callable[[], Exception]) -> None:
        self.trouble: Callable[[], Exception] | None = trouble
        self.calls: list[tuple[float, Request]] = []
        self.done: list[Request] = []
        self.clock: FakeClock

    async def reconcile(self, request: Request) -> None:
        self.calls.append((self.clock.monotonic(), request))
        if self.trouble is not None:
            raise self.trouble()
        self.done.append(request)


@pytest.mark.parametrize("trouble", [refused, unavailable, bad_gateway, group])
@pytest.mark.parametrize("use_priority_queue", [True, False], ids=["priority queue", "plain queue"])
async def test_what_found_no_server_is_reconciled_soon_after_it_is_back(
    bench: Bench, clock: FakeClock, trouble: Callable[[], Exception], use_priority_queue: bool
) -> None:
    reconciler = NeedsServer(trouble)
    await bench.start(reconciler, *KEYS, use_priority_queue=use_priority_queue)
    await clock.advance(600)
    reconciler.calls.clear()
    await clock.advance(200)
    assert 200 / 10 <= len(reconciler.calls) <= 200 / 5 + len(KEYS), "one is tried, the others wait"
    reconciler.trouble = None
    await clock.advance(2 * TRY_EVERY)
    assert sorted(reconciler.done) == sorted(KEYS)


async def test_a_refusal_by_the_server_is_tried_again_as_rarely_as_ever(bench: Bench, clock: FakeClock) -> None:
    reconciler = NeedsServer(conflict)
    await bench.start(reconciler, KEYS[0])
    await clock.advance(600)
    moments = [moment for moment, _ in reconciler.calls]
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses == pytest.approx([0.005 * 2**n for n in range(len(pauses))])


async def test_the_first_failure_after_an_outage_is_a_first_failure(bench: Bench, clock: FakeClock) -> None:
    reconciler = NeedsServer(refused)
    made = await bench.start(reconciler, *KEYS[:2])
    await clock.advance(600)
    reconciler.trouble = conflict
    await clock.advance(2 * TRY_EVERY)
    moments = [moment for moment, _ in reconciler.calls]
    assert min(later - earlier for earlier, later in pairwise(moments[-6:])) < 1
    assert made.queue is not None
    assert max(made.queue.num_requeues(key) for key in KEYS[:2]) < 15
