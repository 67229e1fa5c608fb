"""Startup, liveness and readiness of a running container, by the rules of a kubelet.

The startup probe comes first and alone; while it has not succeeded the container is neither started nor ready. Then the
other two run side by side. What follows (a restart, a condition) is for the pod to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bobrapet.runtime.clock import Clock

from .actions import Actor

KINDS = ("startup", "liveness", "readiness")


@dataclass(frozen=True, slots=True)
class Probe:
    """When to check, and how many answers in a row decide. Seconds."""

    kind: str
    action: Mapping[str, Any]
    delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    successes: int = 1
    failures: int = 3
    grace: float | None = None
    """Of the termination that a failure leads to; None: the pod's."""


def probes_of(container: Mapping[str, Any]) -> dict[str, Probe]:
    """The probes of a container by kind."""
    return {kind: _probe(kind, given) for kind in KINDS if (given := container.get(f"{kind}Probe"))}


def _probe(kind: str, given: Mapping[str, Any]) -> Probe:
    grace = given.get("terminationGracePeriodSeconds")
    return Probe(
        kind,
        {name: value for name, value in given.items() if name in ("exec", "httpGet", "tcpSocket", "grpc")},
        delay=float(given.get("initialDelaySeconds") or 0),
        period=float(given.get("periodSeconds") or 10),
        timeout=float(given.get("timeoutSeconds") or 1),
        successes=int(given.get("successThreshold") or 1),
        failures=int(given.get("failureThreshold") or 3),
        grace=None if grace is None else float(grace),
    )


class Prober:
    """Checks one run of a container until it is cancelled."""

    def __init__(
        self,
        probes: Mapping[str, Probe],
        actor: Actor,
        clock: Clock,
        *,
        started: Callable[[], None],
        ready: Callable[[bool], None],
        unhealthy: Callable[[Probe, str], None],
        dead: Callable[[Probe], None],
    ) -> None:
        """`started` is called once, `ready` on every change, `unhealthy` for each failed check, `dead` once at most."""
        self._probes = probes
        self._actor = actor
        self._clock = clock
        self._started = started
        self._ready = ready
        self._unhealthy = unhealthy
        self._dead = dead

    async def run(self) -> None:
        """Returns when the container has to be ended, or there is nothing (more) to check."""
        startup = self._probes.get("startup")
        if startup is not None and not await self._until_decided(startup):
            self._dead(startup)
            return
        self._started()
        tasks = []
        if (readiness := self._probes.get("readiness")) is None:
            self._ready(True)
        else:
            tasks.append(asyncio.create_task(self._follow(readiness)))
        if (liveness := self._probes.get("liveness")) is not None:
            tasks.append(asyncio.create_task(self._live(liveness)))
        if not tasks:
            return
        try:
            # Only the liveness probe ever ends; another end is a fault.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _until_decided(self, probe: Probe) -> bool:
        """The first verdict: True after enough successes, False after enough failures."""
        good = bad = 0
        await self._clock.sleep(probe.delay)
        while True:
            if await self._check(probe):
                good, bad = good + 1, 0
            else:
                good, bad = 0, bad + 1
            if good >= probe.successes:
                return True
            if bad >= probe.failures:
                return False
            await self._clock.sleep(probe.period)

    async def _live(self, probe: Probe) -> None:
        bad = 0
        await self._clock.sleep(probe.delay)
        while True:
            bad = 0 if await self._check(probe) else bad + 1
            if bad >= probe.failures:
                self._dead(probe)
                return
            await self._clock.sleep(probe.period)

    async def _follow(self, probe: Probe) -> None:
        """Readiness comes and goes as often as it wants."""
        good = bad = 0
        ready = False
        await self._clock.sleep(probe.delay)
        while True:
            if await self._check(probe):
                good, bad = good + 1, 0
            else:
                good, bad = 0, bad + 1
            decided = True if good >= probe.successes else False if bad >= probe.failures else ready
            if decided != ready:
                ready = decided
                self._ready(ready)
            await self._clock.sleep(probe.period)

    async def _check(self, probe: Probe) -> bool:
        problem = await self._actor.act(probe.action, probe.timeout)
        if problem:
            self._unhealthy(probe, problem)
        return not problem
