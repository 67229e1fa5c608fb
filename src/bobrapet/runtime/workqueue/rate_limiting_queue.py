"""A queue that spaces out the tries of failing items (spec runtime Q-6)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.workqueue.default_rate_limiters import RateLimiter, default_controller_rate_limiter
from bobrapet.runtime.workqueue.delaying_queue import DelayingQueue
from bobrapet.runtime.workqueue.metrics import QueueMetrics

T = TypeVar("T", bound=Hashable)


class RateLimitingQueue(DelayingQueue[T], Generic[T]):
    """A delaying queue with a `RateLimiter`."""

    def __init__(
        self,
        rate_limiter: RateLimiter[T] | None = None,
        *,
        name: str = "",
        clock: Clock = REAL_CLOCK,
        metrics: QueueMetrics | None = None,
    ) -> None:
        super().__init__(name=name, clock=clock, metrics=metrics)
        self._rate_limiter: RateLimiter[T] = rate_limiter or default_controller_rate_limiter(clock)

    def add_rate_limited(self, item: T) -> None:
        """Adds the item when its rate limiter says so. Every call counts as a failure until `forget`."""
        self.add_after(item, self._rate_limiter.when(item))

    def forget(self, item: T) -> None:
        """Resets the failures of the item. It stays queued if it is."""
        self._rate_limiter.forget(item)

    def num_requeues(self, item: T) -> int:
        return self._rate_limiter.num_requeues(item)
