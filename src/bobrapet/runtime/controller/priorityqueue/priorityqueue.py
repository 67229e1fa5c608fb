"""The default queue of controllers: deduplicating, delaying, rate limited, and ordered by priority.

Fresh changes overtake the thousands of objects of an initial list, which carry `LOW_PRIORITY`. Within one priority the
order is that of becoming ready. An item that a worker has may be queued again, but is not handed out before `done`,
and holds up nobody behind it. Rules: spec runtime 6.3.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bobrapet.runtime.clock import REAL_CLOCK, Clock, Timer
from bobrapet.runtime.workqueue.default_rate_limiters import ItemExponentialFailureRateLimiter, RateLimiter
from bobrapet.runtime.workqueue.metrics import QueueMetrics

T = TypeVar("T", bound=Hashable)

PRIORITY_PER_AGING_INTERVAL = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOpts:
    """How items are added."""

    after: float = 0.0
    """Seconds until they are ready."""

    rate_limited: bool = False
    """Asks the rate limiter for the delay; together with `after` the smaller one counts."""

    priority: int | None = None
    """Higher is served first. None: 0."""


class _Entry:
    """One known item. `due` is set while it waits; `sequence` is its place among the ready ones."""

    __slots__ = ("due", "item", "priority", "ready_at", "sequence")

    def __init__(self, item: Any, priority: int) -> None:
        self.item = item
        self.priority = priority
        self.due: float | None = None
        self.ready_at = 0.0
        self.sequence = 0


class PriorityQueue(Generic[T]):
    """See the module. Everything but `get` is a plain function: on one loop that is the lock."""

    def __init__(
        self,
        rate_limiter: RateLimiter[T] | None = None,
        *,
        name: str = "",
        clock: Clock = REAL_CLOCK,
        metrics: QueueMetrics | None = None,
        aging_interval: float | None = None,
    ) -> None:
        """`aging_interval`: seconds of waiting that are worth 100 points of priority. None: priorities are strict, and
        a steady stream of urgent items starves the others."""
        self.name = name
        self.metrics = metrics
        self._clock = clock
        self._rate_limiter: RateLimiter[T] = rate_limiter or ItemExponentialFailureRateLimiter()
        # All ready items age at the same speed, so their order never changes while they wait: the moment of becoming
        # ready, weighed, is part of the sort key, and nothing has to be recomputed as time passes.
        self._aging = PRIORITY_PER_AGING_INTERVAL / aging_interval if aging_interval else 0.0
        self._entries: dict[T, _Entry] = {}
        self._processing: set[T] = set()
        self._ready: list[tuple[float, int, _Entry]] = []
        self._ready_count = 0
        self._waiting: list[tuple[float, int, _Entry]] = []
        self._sequence = 0
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._getters: deque[asyncio.Future[None]] = deque()
        self._shutting_down = False
        self._idle: asyncio.Event | None = None

    def __len__(self) -> int:
        """Items that are ready, those included whose turn has to wait for `done`."""
        return self._ready_count

    @property
    def waiting(self) -> int:
        """Items that are not ready yet."""
        return len(self._entries) - self._ready_count

    @property
    def processing(self) -> int:
        """Items that a worker has."""
        return len(self._processing)

    @property
    def shutting_down(self) -> bool:
        return self._shutting_down

    # Adding

    def add(self, item: T) -> None:
        """Adds the item, ready at once, with priority 0."""
        self._add(item, 0, None)

    def add_after(self, item: T, seconds: float) -> None:
        """Adds the item, ready after `seconds`."""
        self._add(item, 0, self._due(seconds))

    def add_rate_limited(self, item: T) -> None:
        """Adds the item, ready when its rate limiter says so. Counts as a failure until `forget`."""
        self._add(item, 0, self._due(self._rate_limiter.when(item)))

    def add_with_opts(self, opts: AddOpts, *items: T) -> None:
        """Adds items in the way that `opts` says."""
        priority = opts.priority or 0
        for item in items:
            seconds = opts.after
            if opts.rate_limited:
                limited = self._rate_limiter.when(item)
                seconds = min(seconds, limited) if seconds > 0 else limited
            self._add(item, priority, self._due(seconds))

    def forget(self, item: T) -> None:
        """Resets the failures of the item. It stays queued if it is."""
        self._rate_limiter.forget(item)

    def num_requeues(self, item: T) -> int:
        return self._rate_limiter.num_requeues(item)

    # Taking

    async def get(self) -> tuple[T | None, bool]:
        """The next item and False, or `(None, True)` after shut down. Answer with `done`."""
        item, _, shut_down = await self.get_with_priority()
        return item, shut_down

    async def get_with_priority(self) -> tuple[T | None, int, bool]:
        """Like `get`, with the priority that the item had."""
        while not self._shutting_down:
            entry = self._pop()
            if entry is not None:
                return entry.item, entry.priority, False
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                self._give_up(getter)
                raise
        return None, 0, True

    def done(self, item: T) -> None:
        """The worker is finished with the item, whatever came of it. Exactly once per `get`."""
        self._processing.discard(item)
        if self.metrics is not None:
            self.metrics.done(item)
        entry = self._entries.get(item)
        if entry is not None and entry.due is None:
            self._push_ready(entry)
        if self._idle is not None and not self._processing:
            self._idle.set()

    def shut_down(self) -> None:
        """Hands out nothing more, takes nothing more, and forgets what waits. May be repeated."""
        self._shutting_down = True
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._getters:
            self._wake_one()

    async def shut_down_with_drain(self) -> None:
        """Like `shut_down`, and waits until every item that was handed out is done."""
        self.shut_down()
        if self._processing:
            self._idle = self._idle or asyncio.Event()
            await self._idle.wait()

    # The two heaps. An entry that moves is pushed again; its older places no longer match and are skipped.

    def _add(self, item: T, priority: int, due: float | None) -> None:
        if self._shutting_down:
            return
        if due is not None and self.metrics is not None:
            self.metrics.retried()
        entry = self._entries.get(item)
        if entry is None:
            entry = self._entries[item] = _Entry(item, priority)
            if due is None:
                self._make_ready(entry)
            else:
                self._make_wait(entry, due)
        elif entry.due is None:
            if priority > entry.priority:
                self._raise(entry, priority)
        else:
            if priority > entry.priority:
                entry.priority = priority
            if due is None:
                self._make_ready(entry)
            elif due < entry.due:
                self._make_wait(entry, due)

    def _due(self, seconds: float) -> float | None:
        return self._clock.monotonic() + seconds if seconds > 0 else None

    def _make_ready(self, entry: _Entry) -> None:
        entry.due = None
        if self._aging:
            entry.ready_at = self._clock.monotonic()
        self._sequence += 1
        entry.sequence = self._sequence
        self._ready_count += 1
        if self.metrics is not None:
            self.metrics.ready(entry.item, entry.priority)
        if entry.item not in self._processing:
            self._push_ready(entry)

    def _raise(self, entry: _Entry, priority: int) -> None:
        if self.metrics is not None:
            self.metrics.moved(entry.priority, priority)
        entry.priority = priority
        self._sequence += 1
        entry.sequence = self._sequence
        if entry.item not in self._processing:
            self._push_ready(entry)

    def _push_ready(self, entry: _Entry) -> None:
        heapq.heappush(self._ready, (self._aging * entry.ready_at - entry.priority, entry.sequence, entry))
        if self._getters:
            self._wake_one()

    def _make_wait(self, entry: _Entry, due: float) -> None:
        entry.due = due
        self._sequence += 1
        heapq.heappush(self._waiting, (due, self._sequence, entry))
        self._set_timer()

    def _pop(self) -> _Entry | None:
        ready = self._ready
        while ready:
            _, sequence, entry = heapq.heappop(ready)
            if entry.sequence != sequence:
                continue
            item = entry.item
            entry.sequence = 0
            del self._entries[item]
            self._ready_count -= 1
            self._processing.add(item)
            if self.metrics is not None:
                self.metrics.taken(item, entry.priority)
            return entry
        return None

    def _release(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            due, _, entry = heapq.heappop(self._waiting)
            if entry.due == due:
                self._make_ready(entry)
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

    # Parked workers

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _give_up(self, getter: asyncio.Future[None]) -> None:
        """A cancelled getter leaves; a wake-up that it had already received goes to the next one."""
        if getter.done() and not getter.cancelled():
            if self._ready:
                self._wake_one()
        elif getter in self._getters:
            self._getters.remove(getter)
