"""What a queue counts about itself (spec runtime 15.2).

Plain numbers, because they change on the hottest path there is; `runtime.metrics.workqueue` turns them into Prometheus
series when somebody looks. Unfinished work and the longest run are computed then too, so no timer refreshes them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from typing import Any

BUCKETS = tuple(1e-8 * 10**power for power in range(12))
"""Upper bounds in seconds, from ten nanoseconds to a thousand seconds."""

MAX_PRIORITIES = 25
"""Distinct priorities with a depth series of their own; computed priorities must not make series without end."""

OVERFLOW_PRIORITY = "exceeded_cardinality_limit"


class Histogram:
    """Counts observations by bucket."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)


class QueueMetrics:
    """The numbers of one queue. The queue calls the verbs; the properties are for readers, in whatever thread."""

    def __init__(self, name: str, monotonic: Callable[[], float], *, by_priority: bool = False) -> None:
        self.name = name
        self.adds = 0
        self.retries = 0
        self.queue_duration = Histogram()
        self.work_duration = Histogram()
        self._depth: dict[str, int] = {} if by_priority else {"": 0}
        self._monotonic = monotonic
        self._labels: dict[int, str] = {}
        self._by_priority = by_priority
        self._ready_at: dict[Any, float] = {}
        self._started_at: dict[Any, float] = {}

    def ready(self, item: Hashable, priority: int = 0) -> None:
        """The item became ready to be handed out."""
        self.adds += 1
        self._ready_at.setdefault(item, self._monotonic())
        label = self._label(priority)
        self._depth[label] = self._depth.get(label, 0) + 1

    def moved(self, old: int, new: int) -> None:
        """A ready item changed its priority."""
        self._depth[self._label(old)] -= 1
        label = self._label(new)
        self._depth[label] = self._depth.get(label, 0) + 1

    def taken(self, item: Hashable, priority: int = 0) -> None:
        """A worker got the item."""
        now = self._monotonic()
        self._depth[self._label(priority)] -= 1
        self._started_at[item] = now
        ready_at = self._ready_at.pop(item, None)
        if ready_at is not None:
            self.queue_duration.observe(now - ready_at)

    def done(self, item: Hashable) -> None:
        """The worker is finished with the item."""
        started_at = self._started_at.pop(item, None)
        if started_at is not None:
            self.work_duration.observe(self._monotonic() - started_at)

    def retried(self) -> None:
        """An item was added with a delay."""
        self.retries += 1

    # A scrape runs in a thread of its own while the queue goes on: what is gone through is copied first, in one step.

    @property
    def depth(self) -> dict[str, int]:
        """Items that wait, by priority."""
        return self._depth.copy()

    @property
    def unfinished(self) -> float:
        """Seconds that the items now being worked on have taken so far, together."""
        now = self._monotonic()
        return sum(now - started_at for started_at in [*self._started_at.values()])

    @property
    def longest_running(self) -> float:
        """Seconds since the oldest of the items now being worked on was taken."""
        started = [*self._started_at.values()]
        return self._monotonic() - min(started) if started else 0.0

    def _label(self, priority: int) -> str:
        if not self._by_priority:
            return ""
        label = self._labels.get(priority)
        if label is None:
            label = str(priority) if len(self._labels) < MAX_PRIORITIES else OVERFLOW_PRIORITY
            if label is not OVERFLOW_PRIORITY:
                self._labels[priority] = label
        return label
