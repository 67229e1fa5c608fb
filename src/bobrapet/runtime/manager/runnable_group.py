"""Runnables that start and stop together (spec runtime MGR-2 to MGR-5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from bobrapet.runtime.clock import Clock, cancel_after
from bobrapet.runtime.errors import ControllerRuntimeError

CANCEL_LIMIT = 1.0
"""Seconds for a runnable to end after its second cancellation; one that does not is left behind."""


class Runnable(Protocol):
    """Something that runs until it is cancelled. Returning earlier is no fault; raising stops the manager."""

    async def start(self) -> None: ...


Ready = Callable[[], Awaitable[Any]]
"""Returns when a started runnable is ready. One that has none is ready at once."""


class GroupStopped(ControllerRuntimeError):
    """The manager stops; it takes no more runnables."""


class RunnableGroup:
    """One of the groups of a manager."""

    def __init__(self, name: str, on_failure: Callable[[Any, BaseException], None], clock: Clock) -> None:
        self.name = name
        self._on_failure = on_failure
        self._clock = clock
        self._queued: list[tuple[Runnable, Ready | None]] = []
        self._tasks: dict[asyncio.Task[None], Runnable] = {}
        self._started = False
        self._stopped = False

    def add(self, runnable: Runnable, ready: Ready | None = None) -> None:
        """Before the start of the group: queues. Afterwards: starts at once. Raises `GroupStopped` at the end."""
        if self._stopped:
            raise GroupStopped(f"cannot add {runnable}: the manager is stopping")
        if self._started:
            self._run(runnable)
        else:
            self._queued.append((runnable, ready))

    async def start(self) -> None:
        """Starts what is queued, and returns when all of it is ready. A second call does nothing."""
        if self._started:
            return
        self._started = True
        queued, self._queued = self._queued, []
        tasks = [(self._run(runnable), ready) for runnable, ready in queued]
        for task, ready in tasks:
            if ready is not None:
                await _ready_or_ended(task, ready)

    def close_without_starting(self) -> None:
        """Makes the group look started, with nobody in it: stopping must not start what never ran (MGR-11)."""
        self._started = True
        self._queued.clear()

    async def stop_and_wait(self, deadline: float | None) -> list[str]:
        """Cancels all runnables and waits for them, until `deadline` (by the clock; None: for ever).

        Whoever still runs then is cancelled again, and named in the answer.
        """
        self._stopped = True
        self._started = True
        self._queued.clear()
        for task in self._tasks:
            task.cancel()
        await self._wait(deadline)
        late = [*self._tasks]
        names = [str(self._tasks[task]) for task in late]
        if late:
            for task in late:
                task.cancel()
            await self._wait(self._clock.monotonic() + CANCEL_LIMIT)
        return names

    async def _wait(self, deadline: float | None) -> None:
        # A few turns of the loop first: what ends at once must not depend on whether time is left.
        for _ in range(3):
            await asyncio.sleep(0)
        if self._tasks:
            with cancel_after(self._clock, None if deadline is None else deadline - self._clock.monotonic()):
                await asyncio.wait(self._tasks)

    def _run(self, runnable: Runnable) -> asyncio.Task[None]:
        task = asyncio.create_task(runnable.start(), name=f"{self.name}: {runnable}")
        self._tasks[task] = runnable
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        runnable = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(runnable, error)


async def _ready_or_ended(task: asyncio.Task[None], ready: Ready) -> None:
    """Waits for a runnable to be ready; one that ends first will not be, and its failure is reported elsewhere."""
    waiting = asyncio.ensure_future(ready())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            waiting.result()
    finally:
        waiting.cancel()


class Runnables:
    """The six groups of a manager."""

    def __init__(self, on_failure: Callable[[Any, BaseException], None], clock: Clock) -> None:
        self.http_servers = RunnableGroup("http servers", on_failure, clock)
        self.webhooks = RunnableGroup("webhooks", on_failure, clock)
        self.caches = RunnableGroup("caches", on_failure, clock)
        self.leader_election = RunnableGroup("leader election", on_failure, clock)
        self.warmup = RunnableGroup("warmup", on_failure, clock)
        self.others = RunnableGroup("others", on_failure, clock)


def describe(runnable: Any) -> str:
    """How a runnable is called in messages."""
    text = str(runnable)
    return text if not text.startswith("<") else type(runnable).__name__
