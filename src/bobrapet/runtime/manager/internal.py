"""The manager at work: start order, stop order, errors, election (spec runtime 4.2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio

from bobrapet.runtime import cluster as clusters
from bobrapet.runtime.cache import Cache
from bobrapet.runtime.client.apiutil import RESTMapper
from bobrapet.runtime.client.interfaces import Client, FieldIndexer, Reader
from bobrapet.runtime.clock import Clock
from bobrapet.runtime.config import Controller
from bobrapet.runtime.healthz import Checker, ping
from bobrapet.runtime.log.log import Logger
from bobrapet.runtime.manager.errors import GracefulShutdownTimeout, LeaderElectionLost, ManagerError
from bobrapet.runtime.manager.runnable_group import Runnables, describe
from bobrapet.runtime.recorder import EventRecorder
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.scheme import Scheme

if TYPE_CHECKING:
    from bobrapet.runtime.manager.election import Election
    from bobrapet.runtime.manager.endpoints import Endpoints
    from bobrapet.runtime.manager.manager import Options
    from bobrapet.runtime.webhook import Server as WebhookServer


class ControllerManager:
    """Made by `manager.new`. Starts once."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.clock = clock
        self.logger: Logger = options.logger
        self.elected = asyncio.Event()
        """Set when this process leads, or at once without election."""

        self._options = options
        self._groups = Runnables(self._failed, clock)
        self._failure: BaseException | None = None
        self._wake = asyncio.Event()
        self._started = False
        self._caches_synced = False
        self._stopping = False
        self._cluster: clusters.Cluster
        self._config: RestConfig | None = None
        self._election: Election | None = None
        self._endpoints: Endpoints | None = None
        self._webhook_server: WebhookServer | None = options.webhook_server
        self._webhook_server_added = False

    async def prepare(self, config: RestConfig | None) -> None:
        """The part of construction that may wait; called by `new`."""
        options = self._options
        self._config = config
        if options.leader_election:
            from bobrapet.runtime.manager.election import Election

            self._election = Election(options, config, self.clock)
        fence = None if self._election is None else self._election.fence
        self._cluster = await clusters.new(config, options.cluster, clock=self.clock, fence=fence)
        try:
            await self._prepare_parts(options)
        except BaseException:
            await self._close()
            raise

    async def discard(self) -> None:
        """Gives back what a manager holds that will never be started."""
        if self._election is not None:
            await self._election.stop(None)
        await self._close()

    async def _close(self, *, ports: bool = True) -> None:
        if ports and self._endpoints is not None:
            self._endpoints.close()
        await self._cluster.close()

    async def _prepare_parts(self, options: Options) -> None:
        if self._election is not None:
            await self._election.prepare(self._cluster)
        self._groups.caches.add(self._cluster, self._cluster.cache.wait_for_cache_sync)
        from bobrapet.runtime.manager.endpoints import Endpoints

        self._endpoints = Endpoints(self, options)
        self.add_healthz_check("ping", ping)
        self.add_readyz_check("ping", ping)
        self.add_readyz_check("cache-sync", self._check_caches)
        if self._election is not None:
            self.add_healthz_check("leaderElection", self._election.check)
        for server in self._endpoints.servers():
            self.add(server)

    # What others need

    @property
    def scheme(self) -> Scheme:
        return self._cluster.scheme

    @property
    def rest_mapper(self) -> RESTMapper:
        return self._cluster.rest_mapper

    def get_scheme(self) -> Scheme:
        return self.scheme

    def get_rest_mapper(self) -> RESTMapper:
        return self.rest_mapper

    def get_config(self) -> RestConfig | None:
        return self._config

    def get_client(self) -> Client:
        """Reads from the cache, writes to the API server, and only while this process may lead."""
        return self._cluster.client

    def get_api_reader(self) -> Reader:
        """Reads from the API server; works before the start."""
        return self._cluster.api_reader

    def get_cache(self) -> Cache:
        return self._cluster.cache

    def get_field_indexer(self) -> FieldIndexer:
        return self._cluster.cache

    def get_event_recorder(self, name: str) -> EventRecorder:
        """A recorder that reports as controller `name`."""
        return self._cluster.get_event_recorder(name)

    def get_controller_options(self) -> Controller:
        return self._options.controller

    def get_logger(self) -> Logger:
        return self.logger

    def get_webhook_server(self) -> WebhookServer:
        """The webhook server, which runs from the first call of this on."""
        if self._webhook_server is None:
            from bobrapet.runtime.webhook import Server

            self._webhook_server = Server()
        if not self._webhook_server_added:
            self._webhook_server_added = True
            self.add(self._webhook_server)
            if not self._started:
                self.add_readyz_check("webhook", self._webhook_server.started_check)
        return self._webhook_server

    # What others add

    def add(self, runnable: Any) -> None:
        """Adds a runnable to the group where it belongs (MGR-3); started at once if its group runs.

        Raises `GroupStopped` at the end.
        """
        groups = self._groups
        if _is_http_server(runnable):
            group = groups.leader_election if runnable.only_serve_when_leader else groups.http_servers
            group.add(runnable, runnable.ready)
        elif _is_webhook_server(runnable):
            groups.webhooks.add(runnable, runnable.ready)
        elif isinstance(runnable, clusters.Cluster):
            groups.caches.add(runnable, runnable.cache.wait_for_cache_sync)
        elif hasattr(runnable, "wait_for_cache_sync"):
            groups.caches.add(runnable, runnable.wait_for_cache_sync)
        else:
            self._add_worker(runnable)

    def _add_worker(self, runnable: Any) -> None:
        if hasattr(runnable, "warmup") and getattr(runnable, "has_warmup", True):
            self._groups.warmup.add(_Warmup(runnable))
        elected_only = getattr(runnable, "need_leader_election", None)  # without an opinion: yes, it is the safe side
        if elected_only is not None and not elected_only():
            self._groups.others.add(runnable)
        else:
            self._groups.leader_election.add(runnable)

    def add_healthz_check(self, name: str, check: Checker) -> None:
        """Adds a check of whether this process should be restarted. Before the start only."""
        self._refuse_when_started("health checks")
        assert self._endpoints is not None
        self._endpoints.healthz.checks[name] = check

    def add_readyz_check(self, name: str, check: Checker) -> None:
        """Adds a check of whether this process should get traffic. Before the start only."""
        self._refuse_when_started("readiness checks")
        assert self._endpoints is not None
        self._endpoints.readyz.checks[name] = check

    def add_metrics_server_extra_handler(self, path: str, handler: Any) -> None:
        """Adds a page beside /metrics. Before the start only."""
        self._refuse_when_started("metrics handlers")
        assert self._endpoints is not None
        self._endpoints.add_metrics_handler(path, handler)

    def _refuse_when_started(self, what: str) -> None:
        if self._started:
            raise ManagerError(f"{what} can be added only before the manager starts")

    # Life

    async def start(self) -> None:
        """Runs until cancelled, or until something fails: then stops everything and raises what failed first.

        Raises also `GracefulShutdownTimeout` and `LeaderElectionLost`.
        """
        if self._started:
            raise ManagerError("the manager was started already; make a new one")
        self._started = True
        cancelled: BaseException | None = None
        startup = asyncio.create_task(self._start_groups(), name="manager start")
        startup.add_done_callback(self._startup_ended)
        try:
            await self._wake.wait()
        except asyncio.CancelledError as error:
            cancelled = error
        # Cancellation by an anyio scope repeats itself at each await; the stop has a deadline of its own instead.
        with anyio.CancelScope(shield=True):
            await self._stop(startup)
        if self._failure is None and cancelled is not None:
            raise cancelled
        if self._failure is not None:
            raise self._failure

    def request_stop(self) -> None:
        """Makes `start()` stop everything and return."""
        self._wake.set()

    async def _start_groups(self) -> None:
        groups = self._groups
        await groups.http_servers.start()
        await groups.webhooks.start()
        await groups.caches.start()
        self._caches_synced = True
        await groups.others.start()
        await groups.warmup.start()
        if self._election is None:
            await self._lead()
        else:
            self._election.start(on_started_leading=self._lead, on_lost=self._lost)

    async def _check_caches(self) -> None:
        if not self._caches_synced:
            raise ManagerError("caches are not filled yet")

    async def _lead(self) -> None:
        self.elected.set()
        await self._groups.leader_election.start()

    def _lost(self) -> None:
        self._failed("leader election", LeaderElectionLost("the leader election lease was lost; this process must end"))

    def _startup_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed("manager start", error)

    def _failed(self, runnable: Any, error: BaseException) -> None:
        """The first failure stops the manager; those that follow are usually its consequences (MGR-7)."""
        if self._failure is None and not self._stopping:
            self._failure = error
            self._wake.set()
        else:
            self.logger.error(
                "error received after stop sequence was engaged", runnable=describe(runnable), error=error
            )

    async def _stop(self, startup: asyncio.Task[None]) -> None:
        self._stopping = True
        self.logger.info("Stopping and waiting for non leader election runnables")
        timeout = self._options.graceful_shutdown_timeout
        if isinstance(self._failure, LeaderElectionLost):
            timeout = 0.0
        deadline = None if timeout < 0 else self.clock.monotonic() + timeout
        startup.cancel()
        await asyncio.wait([startup])
        groups = self._groups
        if not self.elected.is_set():
            groups.leader_election.close_without_starting()
        warmup = asyncio.create_task(groups.warmup.stop_and_wait(deadline), name="stop warmup")
        late: list[str] = []
        for group in (groups.others, groups.leader_election, groups.caches, groups.webhooks, groups.http_servers):
            late += [f"{group.name}: {name}" for name in await group.stop_and_wait(deadline)]
            if group is groups.leader_election and self._election is not None:
                # Nothing that needs the lease is left; whoever waits for it need not wait for our servers too.
                await self._election.stop(deadline)
        late += [f"warmup: {name}" for name in await warmup]
        await self._cluster.recorders.stop(deadline)
        await self._close(ports=not late)  # whoever still runs holds its socket
        if late and timeout != 0:
            error = GracefulShutdownTimeout(f"not stopped within {timeout:g} s: {', '.join(late)}")
            if self._failure is None:
                self._failure = error
            else:
                self._failure = BaseExceptionGroup(
                    "the manager failed, and did not stop in time", [self._failure, error]
                )


class _Warmup:
    """The warm-up of a runnable as a runnable of its own."""

    def __init__(self, runnable: Any) -> None:
        self._runnable = runnable

    async def start(self) -> None:
        await self._runnable.warmup()

    def __str__(self) -> str:
        return describe(self._runnable)


def _is_http_server(runnable: Any) -> bool:
    return hasattr(runnable, "only_serve_when_leader")


def _is_webhook_server(runnable: Any) -> bool:
    return hasattr(runnable, "started_check")
