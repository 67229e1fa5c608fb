"""The request to end a pod, and how long its containers still have."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from bobrapet.runtime.clock import Clock

from .status import Verdict


@dataclass
class Ending:
    """Nobody asked while `asked` is not set; the grace period counts from the first request."""

    clock: Clock
    verdict: Verdict | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    shortened: asyncio.Event = field(default_factory=asyncio.Event)
    """The grace period became shorter; who waits for its end clears this and looks again."""

    _grace: float = 0.0
    _since: float = 0.0

    def ask(self, grace: float, verdict: Verdict | None = None) -> None:
        """Ends the pod after `grace` seconds at most; a later call can only shorten the grace period."""
        if not self.is_asked():
            self._grace, self._since, self.verdict = grace, self.clock.monotonic(), verdict
            self.asked.set()
        elif grace < self._grace:
            self._grace = grace
            self.shortened.set()

    def is_asked(self) -> bool:
        """The pod is to end."""
        return self.asked.is_set()

    def left(self) -> float:
        """Seconds until what still runs is killed; not positive when that moment is over."""
        return self._since + self._grace - self.clock.monotonic()

    def is_overdue(self) -> bool:
        """The grace period is over."""
        return self.is_asked() and self.left() <= 0
