"""A liveness check for leaders that are stuck (spec runtime LE-14)."""

from __future__ import annotations

from bobrapet.runtime.leaderelection.elector import LeaderElector
from bobrapet.runtime.leaderelection.errors import ElectionError

TOLERANCE = 20.0
"""Seconds beyond the lease duration that a leader may take to notice that it is none."""


class HealthzAdaptor:
    """Fails when this process believes to lead although its lease ran out long ago."""

    def __init__(self, elector: LeaderElector, tolerance: float = TOLERANCE) -> None:
        self._elector = elector
        self._tolerance = tolerance

    async def check(self) -> None:
        elector = self._elector
        if elector.is_leader() and elector.seconds_since_observation() > elector.lease_duration + self._tolerance:
            raise ElectionError(f"failed election to renew leadership on lease {elector.lock.describe()}")
