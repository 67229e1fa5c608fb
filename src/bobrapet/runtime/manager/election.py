"""How a manager takes part in an election (spec runtime MGR-6, MGR-9, MGR-13, MGR-14)."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.clock import Clock, cancel_after
from bobrapet.runtime.cluster import Cluster
from bobrapet.runtime.leaderelection import Callbacks, HealthzAdaptor, LeaderElector, new_resource_lock
from bobrapet.runtime.leaderelection.leader_election import request_timeout
from bobrapet.runtime.leaderelection.resourcelock import ResourceLock
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig

if TYPE_CHECKING:
    from bobrapet.runtime.manager.manager import Options


class Election:
    """Runs outside of all groups: the lease must stay held until the reconcilers have drained."""

    def __init__(self, options: Options, config: RestConfig | None, clock: Clock) -> None:
        self._options = options
        self._config = options.leader_election_config or config
        self._clock = clock
        self._rest: RestClient | None = None
        self._elector: LeaderElector
        self._on_started_leading: Callable[[], Awaitable[None]]
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def prepare(self, cluster: Cluster) -> None:
        """Makes the lock and the elector. Raises `ElectionMisconfigured`."""
        options = self._options
        self._elector = LeaderElector(
            options.leader_election_resource_lock_interface or self._lock(cluster),
            Callbacks(on_started_leading=self._started),
            lease_duration=options.lease_duration,
            renew_deadline=options.renew_deadline,
            retry_period=options.retry_period,
            release_on_cancel=options.leader_election_release_on_cancel,
            name=options.leader_election_id,
            clock=self._clock,
        )

    def _lock(self, cluster: Cluster) -> ResourceLock:
        options = self._options
        if options.cluster.rest is not None or self._config is None:
            client = ApiClient(cluster.rest, cluster.scheme, cluster.rest_mapper)
        else:
            # A connection of its own: neither a slow request nor a full pool of the controllers may cost the lease.
            config = dataclasses.replace(
                self._config,
                timeout=request_timeout(options.renew_deadline),
                user_agent=f"{self._config.user_agent}/leader-election",
            )
            self._rest = RestClient(config)
            client = ApiClient(self._rest, cluster.scheme)
        return new_resource_lock(
            client,
            lock_id=options.leader_election_id,
            namespace=options.leader_election_namespace,
            resource_lock=options.leader_election_resource_lock,
            labels=options.leader_election_labels,
            recorder=cluster.get_event_recorder(options.leader_election_id),
        )

    @property
    def elector(self) -> LeaderElector:
        return self._elector

    def fence(self) -> None:
        """Asked before each write of the manager's client."""
        self._elector.fence()

    async def check(self) -> None:
        """The liveness check."""
        await HealthzAdaptor(self._elector).check()

    def start(self, *, on_started_leading: Callable[[], Awaitable[None]], on_lost: Callable[[], None]) -> None:
        self._on_started_leading = on_started_leading
        self._task = asyncio.create_task(self._run(on_lost), name="leader election")

    async def stop(self, deadline: float | None) -> None:
        """Ends the candidacy, which may release the lease."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            with cancel_after(self._clock, None if deadline is None else max(0.0, deadline - self._clock.monotonic())):
                await asyncio.wait([self._task])
            if not self._task.done():
                self._task.cancel()
                await asyncio.sleep(0)
        if self._rest is not None:
            await self._rest.close()

    async def _run(self, on_lost: Callable[[], None]) -> None:
        await self._elector.run()
        if not self._stopping:
            on_lost()

    async def _started(self) -> None:
        await self._on_started_leading()
