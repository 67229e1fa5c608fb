"""Doing something again after certain errors, with a growing pause (client-go's util/retry; spec runtime CLI-11)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import Conflict

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses between tries."""

    steps: int
    """Tries in all, the first included."""

    duration: float
    """Seconds of the first pause."""

    factor: float = 1.0
    """By which each pause is longer than the one before."""

    jitter: float = 0.0
    """Each pause is lengthened by a random part of itself, up to this."""

    def pause(self, tries: int, random_: Callable[[], float] = random.random) -> float:
        """Seconds to wait after that many tries."""
        return self.duration * self.factor ** (tries - 1) * (1 + self.jitter * random_())


DEFAULT_RETRY = Backoff(steps=5, duration=0.01, factor=1.0, jitter=0.1)
"""For conflicts between controllers that each change a different part of an object."""

DEFAULT_BACKOFF = Backoff(steps=4, duration=0.01, factor=5.0, jitter=0.1)
"""For conflicts with writers that may keep writing for a while."""


async def on_error(
    backoff: Backoff,
    retriable: Callable[[Exception], bool],
    fn: Callable[[], Awaitable[T]],
    *,
    clock: Clock = REAL_CLOCK,
) -> T:
    """Calls `fn` until it succeeds, raises something that is not retriable, or the tries are used up (last error)."""
    tries = 0
    while True:
        tries += 1
        try:
            return await fn()
        except Exception as error:
            if tries >= backoff.steps or not retriable(error):
                raise
        await clock.sleep(backoff.pause(tries))


async def retry_on_conflict(
    fn: Callable[[], Awaitable[T]], backoff: Backoff = DEFAULT_RETRY, *, clock: Clock = REAL_CLOCK
) -> T:
    """Calls `fn` again after a `Conflict`. `fn` must read the object afresh each time, change it, and write it."""
    return await on_error(backoff, lambda error: isinstance(error, Conflict), fn, clock=clock)
