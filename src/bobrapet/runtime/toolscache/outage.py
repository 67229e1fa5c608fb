"""What the reflectors of one client know together about an API server that cannot be reached.

When each backs off for itself, the unlucky ones of twenty come back a minute after the server: their long pauses grew
while nobody could have succeeded. So while the server is away, one of those who wait asks in short steps, and with the
first answer that anybody gets, all go on at once. client-go lets each wait for itself.
"""

from __future__ import annotations

import asyncio
import random

from bobrapet.runtime.clock import Clock, cancel_after

ASK_EVERY = 5.0
"""Seconds that the one who asks waits at most, before jitter of up to as much again: clients shall not ask in step."""


class Outage:
    """Shared by the reflectors of one client."""

    def __init__(self, clock: Clock, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._random = rng or random.Random()
        self._answer = asyncio.Event()
        self._somebody_asks = False

    def answered(self) -> None:
        """The server answered, no matter what."""
        self._answer.set()
        self._answer = asyncio.Event()

    async def wait(self, delay: float, at_least: float = 0.0) -> None:
        """Waits `delay` seconds, or until the server answers somebody; less for the one who asks for all, although not
        less than `at_least`."""
        mine = not self._somebody_asks
        if mine:
            self._somebody_asks = True
            delay = max(at_least, min(delay, ASK_EVERY * (1 + self._random.random())))
        answer = self._answer
        try:
            with cancel_after(self._clock, delay):
                await answer.wait()
        finally:
            if mine:
                self._somebody_asks = False
