"""Time, injected: everything in the runtime that waits or measures takes a `Clock` (spec runtime G-7, G-8).

`RealClock` is the machine's. `FakeClock` is virtual: it stands still until a test moves it, and moving it fires what
became due in order, letting all tasks run in between. Nothing here sleeps hoping.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import anyio


class Timer(Protocol):
    """A callback that has been planned."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Where time comes from. Elapsed time is `monotonic()`; `now()` is only for time stamps that are shown or sent."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never jumps."""
        ...

    def boot_time(self) -> float:
        """Like `monotonic()`, from another origin, and it also runs while the machine sleeps."""
        ...

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits. Zero or less only yields to the loop."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Waits until `monotonic()` has reached `deadline`."""
        ...

    def call_at(self, deadline: float, callback: Callable[[], object]) -> Timer:
        """Calls `callback` from the loop once `monotonic()` has reached `deadline`."""
        ...


class RealClock:
    """The clock of the machine."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()

    def boot_time(self) -> float:
        return time.clock_gettime(_BOOT_CLOCK)

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))

    def call_at(self, deadline: float, callback: Callable[[], object]) -> Timer:
        # Loops differ in the origin of their own time, so only the distance is handed over.
        return asyncio.get_running_loop().call_later(max(0.0, deadline - time.monotonic()), callback)


# Only Linux has it; elsewhere nothing better than the usual one is at hand.
_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

REAL_CLOCK = RealClock()


class _FakeTimer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


ROUNDING = 1e-9
"""Virtual seconds are sums of floats; what is due a billionth later is due."""


class FakeClock:
    """Virtual time for tests of asyncio code.

    >>> clock = FakeClock()
    >>> queue.add_after("a", 5)
    >>> await clock.advance(4.9)   # nothing
    >>> await clock.advance(0.1)   # "a" is ready now
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._time = 0.0
        self._wall_offset = 0.0
        self._timers: list[tuple[float, int, _FakeTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self._time

    def boot_time(self) -> float:
        return self._time

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._time + self._wall_offset)

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self._time + seconds)

    async def sleep_until(self, deadline: float) -> None:
        if deadline <= self._time:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_at(deadline, wake)
        try:
            await woken
        finally:
            timer.cancel()

    def call_at(self, deadline: float, callback: Callable[[], object]) -> Timer:
        if deadline <= self._time:
            return asyncio.get_running_loop().call_soon(callback)
        timer = _FakeTimer(callback)
        heapq.heappush(self._timers, (deadline, next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Moves time forward. Timers fire in order, each at its own moment; what they cause runs at that moment too."""
        target = self._time + seconds + ROUNDING
        await settle()
        while self._timers and self._timers[0][0] <= target:
            deadline, _, timer = heapq.heappop(self._timers)
            if timer.callback is None:
                continue
            self._time = max(self._time, deadline)
            timer.callback()
            await settle()
        self._time = max(self._time, target - ROUNDING)
        await settle()

    def jump(self, seconds: float) -> None:
        """Moves time without letting anything run, as when the process was stopped; overdue timers fire later."""
        self._time += seconds

    def set_wall_clock(self, offset: float) -> None:
        """Moves `now()` alone by `offset` seconds, as somebody who sets the clock of the machine would."""
        self._wall_offset = offset

    @property
    def next_timer(self) -> float | None:
        """The moment of the next timer, None without any."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None


async def settle() -> None:
    """Lets the loop run until every task waits for something other than its turn."""
    loop: Any = asyncio.get_running_loop()
    ready = getattr(loop, "_ready", None)
    current = asyncio.current_task()
    while True:
        await asyncio.sleep(0)
        if ready is not None:
            if not ready:
                return
        elif all(task is current or _is_blocked(task) for task in asyncio.all_tasks()):
            return


def _is_blocked(task: asyncio.Task[Any]) -> bool:
    waiter = getattr(task, "_fut_waiter", None)
    return waiter is not None and not waiter.done()


@contextmanager
def cancel_after(clock: Clock, seconds: float | None) -> Iterator[anyio.CancelScope]:
    """A scope that is cancelled after `seconds` of `clock` (None: never); `scope.cancel_called` tells if it was."""
    with anyio.CancelScope() as scope:
        timer = None if seconds is None else clock.call_at(clock.monotonic() + seconds, scope.cancel)
        try:
            yield scope
        finally:
            if timer is not None:
                timer.cancel()
