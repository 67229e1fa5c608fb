"""How long an item waits before its next try (spec runtime Q-7, Q-8; client-go default_rate_limiters)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from bobrapet.runtime.clock import REAL_CLOCK, Clock

T = TypeVar("T", bound=Hashable)
T_contra = TypeVar("T_contra", bound=Hashable, contravariant=True)

BASE_DELAY = 0.005
MAX_DELAY = 1000.0


class RateLimiter(Protocol[T_contra]):
    """Decides when an item may be tried again. Asking counts as a failure of the item."""

    def when(self, item: T_contra) -> float:
        """Seconds to wait from now."""
        ...

    def forget(self, item: T_contra) -> None:
        """The item succeeded, or will not be tried again: its failures no longer count."""
        ...

    def num_requeues(self, item: T_contra) -> int:
        """Failures of the item so far."""
        ...


class ItemExponentialFailureRateLimiter(Generic[T]):
    """`base` times two to the power of the failures so far, `maximum` at most; each item by itself."""

    def __init__(self, base: float = BASE_DELAY, maximum: float = MAX_DELAY) -> None:
        self._base = base
        self._maximum = maximum
        self._failures: dict[T, int] = {}

    def when(self, item: T) -> float:
        failures = self._failures.get(item, 0)
        self._failures[item] = failures + 1
        # Beyond 2**64 no delay in seconds makes sense, and the power would leave the range of floats.
        return self._maximum if failures > 64 else min(self._base * 2.0**failures, self._maximum)

    def forget(self, item: T) -> None:
        self._failures.pop(item, None)

    def num_requeues(self, item: T) -> int:
        return self._failures.get(item, 0)


class BucketRateLimiter(Generic[T]):
    """A token bucket for all items together: `burst` at once, then `qps` per second. Knows nothing of single items."""

    def __init__(self, qps: float = 10.0, burst: int = 100, clock: Clock = REAL_CLOCK) -> None:
        self._qps = qps
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock.monotonic()

    def when(self, item: T) -> float:
        now = self._clock.monotonic()
        self._tokens = min(float(self._burst), self._tokens + (now - self._filled_at) * self._qps) - 1.0
        self._filled_at = now
        return max(0.0, -self._tokens / self._qps)

    def forget(self, item: T) -> None:
        pass

    def num_requeues(self, item: T) -> int:
        return 0


class ItemFastSlowRateLimiter(Generic[T]):
    """`fast` for the first `max_fast_attempts` failures of an item, `slow` from then on."""

    def __init__(self, fast: float, slow: float, max_fast_attempts: int) -> None:
        self._fast = fast
        self._slow = slow
        self._max_fast_attempts = max_fast_attempts
        self._failures: dict[T, int] = {}

    def when(self, item: T) -> float:
        failures = self._failures[item] = self._failures.get(item, 0) + 1
        return self._fast if failures <= self._max_fast_attempts else self._slow

    def forget(self, item: T) -> None:
        self._failures.pop(item, None)

    def num_requeues(self, item: T) -> int:
        return self._failures.get(item, 0)


class MaxOfRateLimiter(Generic[T]):
    """The longest of several answers."""

    def __init__(self, *limiters: RateLimiter[T]) -> None:
        self._limiters = limiters

    def when(self, item: T) -> float:
        return max((limiter.when(item) for limiter in self._limiters), default=0.0)

    def forget(self, item: T) -> None:
        for limiter in self._limiters:
            limiter.forget(item)

    def num_requeues(self, item: T) -> int:
        return max((limiter.num_requeues(item) for limiter in self._limiters), default=0)


class WithMaxWaitRateLimiter(Generic[T]):
    """The answer of another limiter, `maximum` seconds at most."""

    def __init__(self, limiter: RateLimiter[T], maximum: float) -> None:
        self._limiter = limiter
        self._maximum = maximum

    def when(self, item: T) -> float:
        return min(self._limiter.when(item), self._maximum)

    def forget(self, item: T) -> None:
        self._limiter.forget(item)

    def num_requeues(self, item: T) -> int:
        return self._limiter.num_requeues(item)


def default_controller_rate_limiter(clock: Clock = REAL_CLOCK) -> RateLimiter[T]:
    """What a controller on a plain queue uses: exponential per item, and 10 items per second over all (burst 100)."""
    return MaxOfRateLimiter(ItemExponentialFailureRateLimiter[T](), BucketRateLimiter[T](clock=clock))
