"""A queue whose items may be added for later (spec runtime Q-4, Q-5, Q-10)."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

from bobrapet.runtime.clock import REAL_CLOCK, Clock, Timer
from bobrapet.runtime.workqueue.metrics import QueueMetrics
from bobrapet.runtime.workqueue.queue import Queue

T = TypeVar("T", bound=Hashable)


class DelayingQueue(Queue[T], Generic[T]):
    """A plain queue with `add_after`. One timer serves all waiting items."""

    def __init__(self, *, name: str = "", clock: Clock = REAL_CLOCK, metrics: QueueMetrics | None = None) -> None:
        super().__init__(name=name, clock=clock, metrics=metrics)
        self._due: dict[T, float] = {}
        self._waiting: list[tuple[float, int, T]] = []
        self._sequence = itertools.count()
        self._timer: Timer | None = None
        self._timer_at = 0.0

    @property
    def waiting(self) -> int:
        """Items that are not ready yet."""
        return len(self._due)

    def add(self, item: T) -> None:
        self._due.pop(item, None)
        super().add(item)

    def add_after(self, item: T, seconds: float) -> None:
        """Adds the item after a delay. Of several moments for one item the earliest counts."""
        if self._shutting_down:
            return
        if seconds <= 0:
            self.add(item)
            return
        if self.metrics is not None:
            self.metrics.retried()
        due = self._clock.monotonic() + seconds
        known = self._due.get(item)
        if known is not None and known <= due:
            return
        self._due[item] = due
        heapq.heappush(self._waiting, (due, next(self._sequence), item))
        self._set_timer()

    def shut_down(self) -> None:
        self._drop_waiting()
        super().shut_down()

    async def shut_down_with_drain(self) -> None:
        self._drop_waiting()
        await super().shut_down_with_drain()

    def _release(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            due, _, item = heapq.heappop(self._waiting)
            if self._due.get(item) == due:  # else it was moved, or added at once meanwhile
                self.add(item)
        self._set_timer()

    def _set_timer(self) -> None:
        if not self._waiting:
            return
        head = self._waiting[0][0]
        if self._timer is not None:
            if self._timer_at <= head:
                return
            self._timer.cancel()
        self._timer_at = head
        self._timer = self._clock.call_at(head, self._release)

    def _drop_waiting(self) -> None:
        self._due.clear()
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
