"""The plain queue: first in, first out, each item at most once (spec runtime Q-1 to Q-3, Q-9; client-go workqueue).

An item is *dirty* when it needs work, *processing* while a worker has it, and may be both: then it comes back when the
worker is done. Everything but `get` is a plain function, which one event loop cannot interleave: that is the lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.workqueue.metrics import QueueMetrics

T = TypeVar("T", bound=Hashable)


class Queue(Generic[T]):
    """A set of items to work on, handed out in the order of their arrival."""

    def __init__(self, *, name: str = "", clock: Clock = REAL_CLOCK, metrics: QueueMetrics | None = None) -> None:
        self.name = name
        self.metrics = metrics
        self._clock = clock
        self._order: deque[T] = deque()
        self._dirty: set[T] = set()
        self._processing: set[T] = set()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._shutting_down = False
        self._drained: asyncio.Event | None = None

    def __len__(self) -> int:
        """Items that wait for a worker."""
        return len(self._order)

    @property
    def shutting_down(self) -> bool:
        return self._shutting_down

    def add(self, item: T) -> None:
        """Marks the item as needing work. Ignored after shut down."""
        if self._shutting_down or item in self._dirty:
            return
        self._dirty.add(item)
        if self.metrics is not None:
            self.metrics.ready(item)
        if item not in self._processing:
            self._order.append(item)
            self._wake_one()

    async def get(self) -> tuple[T | None, bool]:
        """The next item and False, or `(None, True)` once the queue is shut down and empty. Answer with `done`."""
        while not self._order:
            if self._shutting_down:
                return None, True
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                self._give_up(getter)
                raise
        item = self._order.popleft()
        self._dirty.discard(item)
        self._processing.add(item)
        if self.metrics is not None:
            self.metrics.taken(item)
        return item, False

    def done(self, item: T) -> None:
        """The worker is finished with the item, whatever came of it. Exactly once per `get`."""
        self._processing.discard(item)
        if self.metrics is not None:
            self.metrics.done(item)
        if item in self._dirty:
            self._order.append(item)
            self._wake_one()
        elif self._drained is not None and not self._processing and not self._order:
            self._drained.set()

    def shut_down(self) -> None:
        """Takes no more items; what is queued is still handed out. May be repeated; releases `shut_down_with_drain`."""
        self._shutting_down = True
        self._wake_all()
        if self._drained is not None:
            self._drained.set()

    async def shut_down_with_drain(self) -> None:
        """Like `shut_down`, and waits until everything that was queued or handed out is done."""
        self._shutting_down = True
        self._wake_all()
        if self._processing or self._order:
            self._drained = self._drained or asyncio.Event()
            await self._drained.wait()

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _wake_all(self) -> None:
        while self._getters:
            self._wake_one()

    def _give_up(self, getter: asyncio.Future[None]) -> None:
        """A cancelled getter leaves; a wake-up that it had already received goes to the next one."""
        if getter.done() and not getter.cancelled():
            if self._order:
                self._wake_one()
        elif getter in self._getters:
            self._getters.remove(getter)
