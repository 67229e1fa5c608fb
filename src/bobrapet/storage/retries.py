"""How often a call to a store is repeated, and within which time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from bobrapet.storage.errors import BackendUnavailable, Retriable
from bobrapet.storage.settings import DEFAULT_TIMEOUT

T = TypeVar("T")

DELAYS: Final = (1.0, 2.0)  # workloads 24.1: three attempts


@dataclass(frozen=True, kw_only=True)
class Retries:
    """Repeats what is worth repeating. One object bounds one whole operation, however many calls it makes."""

    delays: tuple[float, ...] = DELAYS
    """Seconds before the second attempt, the third and so on."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds for everything together, from the making of this object on."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "started", self.clock())

    def call(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns. Raises what it raises, the last failure when all attempts failed."""
        for delay in (*self.delays, None):
            self.check()
            try:
                return attempt()
            except Retriable:
                if delay is None or self.remaining() <= delay:
                    raise
                self.sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def remaining(self) -> float:
        """Seconds left."""
        return self.timeout - (self.clock() - self.started)

    def check(self) -> None:
        """Raises BackendUnavailable when the time is up."""
        if self.remaining() <= 0:
            raise BackendUnavailable(f"the store took longer than {self.timeout:g}s")
