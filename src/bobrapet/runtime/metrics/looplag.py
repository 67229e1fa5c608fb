"""How late the event loop is: on one loop a slow reconcile delays lease, probes and webhooks (spec runtime G-9)."""

from __future__ import annotations

from collections import deque

from prometheus_client import Histogram

from bobrapet.runtime.clock import Clock
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.metrics.registry import REGISTRY

PERIOD = 1.0
WINDOW = 30
"""Measurements that the check looks back at: half a minute."""

UNHEALTHY = 10.0

LAG = Histogram(
    "bobrapet_runtime_event_loop_lag_seconds",
    "How much later than asked for the event loop wakes a task",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    registry=REGISTRY,
)


class LoopIsBlocked(ControllerRuntimeError):
    """Something keeps the event loop from running."""


class LoopLag:
    """A runnable that measures, and a check. Only managers with probes or metrics have one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recent: deque[float] = deque([0.0], maxlen=WINDOW)

    def need_leader_election(self) -> bool:
        return False

    async def start(self) -> None:
        while True:
            expected = self._clock.monotonic() + PERIOD
            await self._clock.sleep(PERIOD)
            lag = max(0.0, self._clock.monotonic() - expected)
            self._recent.append(lag)
            LAG.observe(lag)

    async def check(self) -> None:
        """Fails when the loop was late by `UNHEALTHY` seconds within the last half minute."""
        worst = max(self._recent)
        if worst >= UNHEALTHY:
            raise LoopIsBlocked(f"the event loop was blocked for {worst:.1f} s within the last {WINDOW * PERIOD:.0f} s")

    def __str__(self) -> str:
        return "event loop lag"
