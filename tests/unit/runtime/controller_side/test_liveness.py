"""What a kubelet sees of a manager whose event loop is stuck: asked from another thread, as by another process."""

from __future__ import annotations

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bobrapet.runtime.clock import RealClock, Timer
from bobrapet.runtime.metrics.looplag import PERIOD, UNHEALTHY
from tests.unit.runtime.controller_side.test_manager import new

PATIENCE = 60
"""Seconds after which a test gives up; nothing is judged by time."""


class SkewedClock(RealClock):
    """Sleeps are real, but only what the test adds to `skew` passes: being stuck for a minute takes none, and a machine
    that is busy elsewhere makes no loop late."""

    def __init__(self) -> None:
        self.skew = 0.0

    def monotonic(self) -> float:
        return self.skew

    async def sleep_until(self, deadline: float) -> None:
        await self.sleep(max(0.0, deadline - self.monotonic()))

    def call_at(self, deadline: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(max(0.0, deadline - self.monotonic()), callback)


class Running:
    """A manager in a thread of its own, with probes."""

    def __init__(self) -> None:
        self.clock = SkewedClock()
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._made: Any = None
        self._ready = threading.Event()
        self._ended_well = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    def stop(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._made.request_stop)
        self._thread.join(PATIENCE)
        assert self._ended_well

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """The loop does not come back from a callback, as from a reconcile that computes for ever."""
        assert self._loop is not None
        began, end = threading.Event(), threading.Event()

        def block() -> None:
            began.set()
            end.wait(PATIENCE)

        self._loop.call_soon_threadsafe(block)
        assert began.wait(PATIENCE)
        try:
            yield
        finally:
            end.set()

    def probe(self, path: str, timeout: float = PATIENCE) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._made = await new(health_probe_bind_address="127.0.0.1:0", clock=self.clock)
        server = self._made._endpoints.servers()[0]
        task = asyncio.create_task(self._made.start())
        await server.ready()
        self.port = server.port
        self._ready.set()
        await task
        self._ended_well = True


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running()
    made.start()
    yield made
    made.stop()


def test_a_manager_whose_loop_is_stuck_does_not_answer_the_probe_and_answers_again_afterwards(running: Running) -> None:
    assert running.probe("/healthz") == (200, "ok")
    with running.stuck(), pytest.raises(TimeoutError):
        running.probe("/healthz", timeout=1)  # what a kubelet waits for by default
    assert running.probe("/healthz") == (200, "ok")


def test_a_loop_that_was_stuck_for_long_fails_the_probe_even_when_it_answers_again(running: Running) -> None:
    text = ""
    while "[-]event-loop failed" not in text:  # it is measured every second, from when the manager has started
        with running.stuck():
            running.clock.skew += UNHEALTHY + PERIOD + 1
        _, text = running.probe("/healthz")
    assert running.probe("/healthz?exclude=event-loop")[0] == 200
