"""A queue of keys with one task that works them off; the server's own small controllers run on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

log = logging.getLogger("bobrapet.local.apiserver")

K = TypeVar("K")
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 5.0


class Worker(Generic[K]):
    """Calls `handle` for every added key, one at a time; a key that fails comes again after a growing delay."""

    def __init__(self, name: str, handle: Callable[[K], Awaitable[None]]) -> None:
        self._name = name
        self._handle = handle
        self._keys: dict[K, None] = {}
        self._failures: dict[K, int] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, key: K) -> None:
        """Queues a key; one that waits already is not queued twice."""
        self._keys[key] = None
        self._arrived.set()

    def start(self) -> None:
        """Starts the task."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Ends the task; what waits in the queue is dropped."""
        for timer in self._timers:
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._keys:
                key = next(iter(self._keys))
                del self._keys[key]
                try:
                    await self._handle(key)
                    self._failures.pop(key, None)
                except Exception as error:
                    self._again(key, error)
                # A store in memory never waits: without this one long queue would hold the loop.
                await asyncio.sleep(0)

    def _again(self, key: K, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(_FIRST_DELAY * 2 ** (failures - 1), _LONGEST_DELAY)
        log.warning("%s: %s: %s; again in %.2f s", self._name, key, error, delay)
        timers = self._timers

        def fire() -> None:
            timers.discard(timer)
            self.add(key)

        timer = asyncio.get_running_loop().call_later(delay, fire)
        timers.add(timer)
