"""Waiting longer after each failure (spec runtime REF-15)."""

from __future__ import annotations

import random

from bobrapet.runtime.clock import Clock

INITIAL = 0.8
FACTOR = 2.0
MAXIMUM = 30.0
JITTER = 1.0
RESET_AFTER = 120.0


class Backoff:
    """Exponential delays with jitter, which start over after a quiet time.

    With these numbers a client asks a sick server about 0.22 times per second, and a fleet of clients not in step.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        initial: float = INITIAL,
        factor: float = FACTOR,
        maximum: float = MAXIMUM,
        jitter: float = JITTER,
        reset_after: float = RESET_AFTER,
        rng: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._initial = initial
        self._factor = factor
        self._maximum = maximum
        self._jitter = jitter
        self._reset_after = reset_after
        self._random = rng or random.Random()
        self._delay = initial
        self._last_used: float | None = None

    def next(self) -> float:
        """Seconds to wait now."""
        now = self._clock.monotonic()
        if self._last_used is not None and now - self._last_used > self._reset_after:
            self._delay = self._initial
        delay = self._delay * (1 + self._jitter * self._random.random())
        self._delay = min(self._delay * self._factor, self._maximum)
        # Quiet time counts from the end of the wait: the wait itself proves nothing.
        self._last_used = now + delay
        return delay

    def reset(self) -> None:
        """The next delay is the first again."""
        self._delay = self._initial
