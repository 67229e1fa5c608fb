"""Who leads, by a lock that must be renewed (spec runtime section 13; client-go leaderelection).

A candidate judges by its own clock how long the record has not changed; the times inside the record decide nothing, so
clocks may be set differently. Two processes may both think that they lead for a short while; `holds_lease()`, asked
directly before a write, closes that gap for writes that have not left yet.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio

from bobrapet.runtime.clock import REAL_CLOCK, Clock, cancel_after
from bobrapet.runtime.errors import Conflict, ControllerRuntimeError, NotFound
from bobrapet.runtime.leaderelection.errors import ElectionMisconfigured, LeadershipLost
from bobrapet.runtime.leaderelection.resourcelock import LeaderElectionRecord, ResourceLock, TellsRelease
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.metrics.leaderelection import MASTER_STATUS, SLOWPATH

JITTER = 1.2
LOG_PERIOD = 60.0
"""Seconds between two lines about a lock that cannot be reached."""

RELEASED_DURATION = 1

log = get_logger("leaderelection")


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """What is called when leadership changes."""

    on_started_leading: Callable[[], Awaitable[None]]
    """In a task of its own, which is cancelled when leading ends."""

    on_stopped_leading: Callable[[], None] = lambda: None
    """When the elector ends, also if it never led."""

    on_new_leader: Callable[[str], None] = lambda identity: None
    """When another identity is seen to lead, ours included."""


class LeaderElector:
    """One candidacy. `run()` returns when leadership was lost; it does not try again."""

    def __init__(
        self,
        lock: ResourceLock,
        callbacks: Callbacks,
        *,
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        release_on_cancel: bool = False,
        name: str = "",
        clock: Clock = REAL_CLOCK,
        rng: random.Random | None = None,
    ) -> None:
        """Raises `ElectionMisconfigured` unless lease_duration > renew_deadline > 1.2 retry_period > 0."""
        if retry_period <= 0 or renew_deadline <= 0 or lease_duration < 1:
            raise ElectionMisconfigured("durations must be positive, and the lease duration at least 1 s")
        if lease_duration <= renew_deadline:
            raise ElectionMisconfigured(
                f"lease duration {lease_duration:g} s must be longer than the renew deadline {renew_deadline:g} s"
            )
        if renew_deadline <= retry_period * JITTER:
            raise ElectionMisconfigured(
                f"renew deadline {renew_deadline:g} s must be longer than {JITTER} x retry period ({retry_period:g} s)"
            )
        if not lock.identity:
            raise ElectionMisconfigured("the lock has no identity")
        self.lock = lock
        self.lease_duration = lease_duration
        self._callbacks = callbacks
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        self._release_on_cancel = release_on_cancel
        self._name = name
        self._clock = clock
        self._random = rng or random.Random()
        self._observed_record = LeaderElectionRecord()
        self._observed_raw = b""
        self._observed_time = float("-inf")
        self._reported_leader = ""
        self._led = False
        self._logged_at = float("-inf")
        self._status = MASTER_STATUS.labels(name)
        self._slowpath = SLOWPATH.labels(name)
        self._status.set(0)

    # Questions

    @property
    def leader(self) -> str:
        """The identity that was last seen to lead; empty when nobody does."""
        return self._observed_record.holder_identity

    def is_leader(self) -> bool:
        """Whether the record, as last seen, names us."""
        return self._observed_record.holder_identity == self.lock.identity

    def holds_lease(self) -> bool:
        """Whether nobody else can have taken over yet. To be asked directly before a write leaves."""
        return self.is_leader() and self._observed_time + self._renew_deadline > self._clock.boot_time()

    def fence(self) -> None:
        """Raises `LeadershipLost` when this process has led and may not lead now."""
        if self._led and not self.holds_lease():
            raise LeadershipLost(f"the lease {self.lock.describe()} was not renewed in time; the write was not sent")

    def seconds_since_observation(self) -> float:
        """How long the record has not been seen to change."""
        return self._clock.boot_time() - self._observed_time

    # Life

    async def run(self) -> None:
        """Waits to lead, leads, and returns when leadership is lost. Cancellation ends it in any state."""
        leading: asyncio.Task[None] | None = None
        try:
            await self._acquire()
            self._led = True
            self._status.set(1)
            self.lock.record_event("became leader")
            log.info("successfully acquired lease", lock=self.lock.describe())
            leading = asyncio.create_task(self._started(), name="leading")
            await self._renew()
            log.error("failed to renew lease", lock=self.lock.describe())
        finally:
            self._status.set(0)
            with anyio.CancelScope(shield=True):
                if leading is not None:
                    leading.cancel()
                    await asyncio.wait([leading])
                    self.lock.record_event("stopped leading")
                # A lease that ran out is no longer ours to give: not even this write may leave then.
                if self._release_on_cancel and self.is_leader() and not self._is_expired():
                    await self._release()
            self._callbacks.on_stopped_leading()

    async def _started(self) -> None:
        await self._callbacks.on_started_leading()

    async def _acquire(self) -> None:
        log.info("attempting to acquire leader lease...", lock=self.lock.describe())
        watching: asyncio.Task[bool] | None = None
        try:
            while not await self._try_acquire_or_renew():
                if isinstance(self.lock, TellsRelease) and (watching is None or watching.done()):
                    watching = asyncio.create_task(self.lock.released(), name="watching the lock")
                # Candidates must not march in step.
                await self._wait(self._retry_period * (1 + JITTER * self._random.random()), watching)
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait([watching])

    async def _wait(self, seconds: float, watching: asyncio.Task[bool] | None) -> None:
        """Until the next try: at once when a leader that ends gives up the lock, else when its time has come."""
        if watching is None:
            await self._clock.sleep(seconds)
            return
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait([sleeping, watching], return_when=asyncio.FIRST_COMPLETED)
            if not sleeping.done() and not watching.result():
                await sleeping
        finally:
            sleeping.cancel()

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(self._retry_period)
            renewed = False
            with cancel_after(self._clock, self._renew_deadline):
                while not (renewed := await self._try_acquire_or_renew()) and not self._is_expired():
                    await self._clock.sleep(self._retry_period)
            if not renewed:
                return

    # One try

    async def _try_acquire_or_renew(self) -> bool:
        started = self._clock.boot_time()
        record = LeaderElectionRecord(
            holder_identity=self.lock.identity,
            lease_duration_seconds=math.ceil(self.lease_duration),  # others must not come before we would go
            acquire_time=self._clock.now(),
            renew_time=self._clock.now(),
        )
        try:
            return await self._try(record, started)
        except (ControllerRuntimeError, OSError) as error:
            self._log_failure(error)
            return False
        finally:
            self._report_leader()

    async def _try(self, record: LeaderElectionRecord, started: float) -> bool:
        if self.is_leader():
            if self._is_expired():
                # The loop stood still for too long: another process may lead, and a renewal would be a lie (LE-12).
                return False
            kept = replace(
                record,
                acquire_time=self._observed_record.acquire_time,
                leader_transitions=self._observed_record.leader_transitions,
            )
            try:
                await self.lock.update(kept)
            except (ControllerRuntimeError, OSError) as error:
                self._log_failure(error)
            else:
                self._observe(kept, started)
                return True
        return await self._try_slowly(record)

    async def _try_slowly(self, record: LeaderElectionRecord) -> bool:
        """Reads the record first."""
        try:
            old, raw = await self.lock.get()
        except NotFound:
            started = self._clock.boot_time()
            await self.lock.create(record)
            self._observe(record, started)
            return True
        if raw != self._observed_raw:
            self._observed_raw = raw
            self._observed_record = old
            self._observed_time = self._clock.boot_time()
        mine = old.holder_identity == self.lock.identity
        if old.holder_identity and not mine and not self._is_expired():
            return False
        if mine:
            if self._led and self._is_expired():
                return False
            self._slowpath.inc()
            record = replace(record, acquire_time=old.acquire_time, leader_transitions=old.leader_transitions)
        else:
            record = replace(record, leader_transitions=old.leader_transitions + 1)
        started = self._clock.boot_time()
        await self.lock.update(record)
        self._observe(record, started)
        return True

    def _is_expired(self) -> bool:
        """Whether the record, as we saw it, is older than it may get.

        What the holder has promised counts, as in client-go: during an upgrade that changes the lease duration, or
        beside a Go operator, the holder goes by its own. A record without one gets ours.
        """
        promised = self.lease_duration
        if not self.is_leader() and self._observed_record.lease_duration_seconds > 0:
            promised = self._observed_record.lease_duration_seconds
        return self._observed_time + promised <= self._clock.boot_time()

    def _observe(self, record: LeaderElectionRecord, moment: float) -> None:
        """Our own write: it counts from when it was sent, since others may have seen it any time later."""
        self._observed_record = record
        self._observed_raw = b""
        self._observed_time = moment

    def _report_leader(self) -> None:
        leader = self._observed_record.holder_identity
        if leader != self._reported_leader:
            self._reported_leader = leader
            if leader != self.lock.identity:
                log.info("new leader elected", leader=leader)
            self._callbacks.on_new_leader(leader)

    async def _release(self) -> None:
        """Makes the lease free at once. A renewal that was cut off may have arrived: then the release tries again."""
        with cancel_after(self._clock, self._renew_deadline):
            while True:
                try:
                    old, _ = await self.lock.get()
                    if old.holder_identity != self.lock.identity:
                        return
                    now = self._clock.now()
                    released = LeaderElectionRecord(
                        lease_duration_seconds=RELEASED_DURATION,
                        acquire_time=now,
                        renew_time=now,
                        leader_transitions=old.leader_transitions,
                    )
                    await self.lock.update(released)
                    self._observe(released, self._clock.boot_time())
                    return
                except Conflict:
                    continue
                except (ControllerRuntimeError, OSError) as error:
                    log.error("failed to release the lease; it will run out", lock=self.lock.describe(), error=error)
                    return

    def _log_failure(self, error: Exception) -> None:
        if isinstance(error, Conflict):
            log.debug("another candidate was faster", lock=self.lock.describe())
            return
        now = self._clock.monotonic()
        if now - self._logged_at >= LOG_PERIOD:
            self._logged_at = now
            log.error("the lock cannot be reached; trying on", lock=self.lock.describe(), error=error)
