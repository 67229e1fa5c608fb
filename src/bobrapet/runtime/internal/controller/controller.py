"""A controller at work: sources fill its queue, workers empty it (spec runtime 6.6, 6.7)."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Hashable
from typing import Any, Generic, NoReturn, TypeVar

from bobrapet.runtime.clock import Clock, cancel_after
from bobrapet.runtime.controller.priorityqueue import AddOpts, PriorityQueue
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.internal.controller.metrics import ERROR, REQUEUE, REQUEUE_AFTER, SUCCESS, ControllerMetrics
from bobrapet.runtime.internal.controller.stranded import Stranded, is_stranded
from bobrapet.runtime.internal.faults import FAULTS
from bobrapet.runtime.internal.tasks import TaskSet
from bobrapet.runtime.log.log import Logger, with_fields
from bobrapet.runtime.metrics.workqueue import WORKQUEUES
from bobrapet.runtime.reconcile import Reconciler, ReconcileTimeout, Result, ResultWithError, is_terminal
from bobrapet.runtime.source import Source, StoppableSource, SyncingSource
from bobrapet.runtime.workqueue import QueueMetrics, RateLimiter, RateLimitingQueue

R = TypeVar("R", bound=Hashable)


class ControllerError(ControllerRuntimeError):
    """A controller cannot be run in this way."""


class SourceSyncTimeout(ControllerError, TimeoutError):
    """A source did not start, or did not fill, in time."""


class ReconcilerPanic(ControllerError):
    """A fault in the code of a reconciler ends the process, because `recover_panic` is off."""


def reconcile_id() -> str:
    """A new name for one call of a reconciler, to find its log lines by."""
    return str(uuid.uuid4())


class Controller(Generic[R]):
    """Made by `controller.new`; a runnable of the manager. Starts once."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler[R],
        *,
        clock: Clock,
        logger: Logger,
        log_fields: Callable[[R], dict[str, Any]],
        new_rate_limiter: Callable[[], RateLimiter[R]],
        max_concurrent_reconciles: int = 1,
        cache_sync_timeout: float = 120.0,
        recover_panic: bool = True,
        leader_election: bool = True,
        enable_warmup: bool = False,
        reconciliation_timeout: float | Callable[[], float] = 0.0,
        use_priority_queue: bool = True,
    ) -> None:
        self.name = name
        self.log = logger
        self.max_concurrent_reconciles = max_concurrent_reconciles
        self.queue: PriorityQueue[R] | RateLimitingQueue[R] | None = None
        """Made when the controller starts or warms up."""

        self._reconciler = reconciler
        self._clock = clock
        self._log_fields = log_fields
        self._new_rate_limiter = new_rate_limiter
        self._cache_sync_timeout = cache_sync_timeout
        self._recover_panic = recover_panic
        self._leader_election = leader_election
        self._enable_warmup = enable_warmup
        self._reconciliation_timeout = reconciliation_timeout
        self._use_priority_queue = use_priority_queue
        self._sources: list[Source] = []
        self._running_sources: list[Source] = []
        self._sources_started: asyncio.Task[None] | None = None
        self._started = False
        self._metrics: ControllerMetrics | None = None
        self._stranded: Stranded[R] = Stranded()
        self._workers = TaskSet()

    def need_leader_election(self) -> bool:
        return self._leader_election

    @property
    def has_warmup(self) -> bool:
        return self._enable_warmup

    # Sources

    async def watch(self, source: Source) -> None:
        """Adds a source; it starts with the controller, or now if that runs."""
        if self.queue is None:
            self._sources.append(source)
            return
        await self._start_source(source, self.queue)

    async def warmup(self) -> None:
        """Fills caches and queue before this process leads, so that it can begin at once when it does. Runs on."""
        await self._fill()
        await asyncio.get_running_loop().create_future()

    async def _fill(self) -> None:
        """Starts the sources once, however many ask for it, and waits for them."""
        if self._sources_started is None:
            queue = self.queue = self._new_queue()
            self._sources_started = self._workers.spawn(self._start_sources(queue), name=f"sources of {self.name}")
        await asyncio.shield(self._sources_started)

    async def _start_sources(self, queue: PriorityQueue[R] | RateLimitingQueue[R]) -> None:
        sources, self._sources = self._sources, []  # each may pin a cache in memory; nobody needs the list again
        async with asyncio.TaskGroup() as group:
            for source in sources:
                group.create_task(self._start_source(source, queue))

    async def _start_source(self, source: Source, queue: PriorityQueue[R] | RateLimitingQueue[R]) -> None:
        self.log.info("Starting EventSource", source=str(source))
        self._running_sources.append(source)
        with cancel_after(self._clock, self._cache_sync_timeout) as scope:
            await source.start(queue)
        if scope.cancel_called:
            raise SourceSyncTimeout(
                f"controller {self.name}: {source} did not return from start() within {self._cache_sync_timeout:g} s; "
                "start() must not block: long work belongs in a task of the source"
            )
        if isinstance(source, SyncingSource):
            with cancel_after(self._clock, self._cache_sync_timeout) as scope:
                await source.wait_for_sync()
            if scope.cancel_called:
                raise SourceSyncTimeout(
                    f"controller {self.name}: timed out waiting for cache to be synced for {source}; "
                    "may this process list and watch it?"
                )

    def _new_queue(self) -> PriorityQueue[R] | RateLimitingQueue[R]:
        metrics = QueueMetrics(self.name, self._clock.monotonic, by_priority=self._use_priority_queue)
        WORKQUEUES.register(metrics)
        make = PriorityQueue if self._use_priority_queue else RateLimitingQueue
        return make(self._new_rate_limiter(), name=self.name, clock=self._clock, metrics=metrics)

    # Running

    async def start(self) -> None:
        """Fills the queue, then works until cancelled.

        The first cancellation lets running reconciles finish and starts no new ones; a second one cancels them too.
        """
        if self._started:
            raise ControllerError(f"controller {self.name} was started already; a controller can be started once")
        self._started = True
        metrics = self._metrics = ControllerMetrics(self.name)
        try:
            self.log.info("Starting Controller")
            try:
                await self._fill()
            except* SourceSyncTimeout as group:
                raise group.exceptions[0] from None
            metrics.max_concurrent.set(self.max_concurrent_reconciles)
            self.log.info("Starting workers", **{"worker count": self.max_concurrent_reconciles})
            await self._work()
        finally:
            await self._end()

    async def _work(self) -> NoReturn:
        assert self.queue is not None
        workers = TaskSet()
        for number in range(self.max_concurrent_reconciles):
            workers.spawn(self._worker(self.queue), name=f"worker {number} of {self.name}")
        try:
            await workers.failure()
        except asyncio.CancelledError:
            self.log.info("Shutdown signal received, waiting for all workers to finish")
            self.queue.shut_down()
            current = asyncio.current_task()
            assert current is not None
            requests = current.cancelling()
            for _ in range(requests):
                current.uncancel()  # the wait below is not cut short by the cancellation that it answers
            await workers.ended()
            self.log.info("All workers finished")
            raise
        finally:
            await workers.stop()

    async def _end(self) -> None:
        if self.queue is not None:
            self.queue.shut_down()
        await self._workers.stop()
        sources, self._running_sources = self._running_sources, []
        for source in sources:
            if isinstance(source, StoppableSource):
                await source.stop()

    async def _worker(self, queue: PriorityQueue[R] | RateLimitingQueue[R]) -> None:
        assert self._metrics is not None
        active = self._metrics.active_workers
        while True:
            if isinstance(queue, PriorityQueue):
                request, priority, shut_down = await queue.get_with_priority()
            else:
                (request, shut_down), priority = await queue.get(), 0
            if shut_down:
                return
            assert request is not None
            active.inc()
            try:
                await self._handle(queue, request, priority)
            finally:
                queue.done(request)
                active.dec()

    async def _handle(self, queue: PriorityQueue[R] | RateLimitingQueue[R], request: R, priority: int) -> None:
        """One reconcile and what follows from it (the outcome table, 6.7)."""
        metrics = self._metrics
        assert metrics is not None
        started = time.perf_counter()
        with with_fields(**self._log_fields(request), reconcileID=reconcile_id()):
            try:
                result = await self.reconcile(request)
            except Exception as error:
                metrics.errors.inc()
                metrics.results[ERROR].inc()
                if is_terminal(error):
                    metrics.terminal_errors.inc()
                    self._got_through(queue, request)
                elif is_stranded(error):
                    at_most = self._stranded.add(request, priority)
                    _add(queue, request, AddOpts(after=at_most, rate_limited=True, priority=priority))
                else:
                    self._got_through(queue, request)
                    _add(queue, request, AddOpts(rate_limited=True, priority=priority))
                if isinstance(error, ResultWithError) and (error.result.requeue or error.result.requeue_after):
                    self.log.warning("The result of a reconcile that failed is ignored; the error decides")
                self.log.error("Reconciler error", error=error)
                if isinstance(error, ReconcilerPanic):
                    raise
            else:
                self._got_through(queue, request)
                if result.priority is not None:
                    priority = result.priority
                if result.requeue_after > 0:
                    # A reconcile that asks for a later one has succeeded: it must not inherit a back-off.
                    queue.forget(request)
                    _add(queue, request, AddOpts(after=result.requeue_after, priority=priority))
                    metrics.results[REQUEUE_AFTER].inc()
                elif result.requeue:
                    _add(queue, request, AddOpts(rate_limited=True, priority=priority))
                    metrics.results[REQUEUE].inc()
                else:
                    queue.forget(request)
                    metrics.results[SUCCESS].inc()
            finally:
                metrics.time.observe(time.perf_counter() - started)

    def _got_through(self, queue: PriorityQueue[R] | RateLimitingQueue[R], request: R) -> None:
        """After an answer of the server: pauses that grew while there was none mean nothing any more."""
        if request not in self._stranded:
            return
        queue.forget(request)
        for stranded, priority in self._stranded.got_through(request).items():
            queue.forget(stranded)
            _add(queue, stranded, AddOpts(priority=priority))

    async def reconcile(self, request: R) -> Result:
        """Calls the reconciler: bounded in time, and with its faults told apart from its errors."""
        try:
            limit = self._reconciliation_timeout
            seconds = limit() if callable(limit) else limit
            if not seconds:
                return await self._reconciler.reconcile(request) or Result()
            result: Result | None = None
            with cancel_after(self._clock, seconds) as scope:
                result = await self._reconciler.reconcile(request)
            if scope.cancelled_caught:
                if self._metrics is not None:
                    self._metrics.timeouts.inc()
                raise ReconcileTimeout(f"reconcile of {request} took longer than {seconds:g} s")
            return result or Result()
        except FAULTS as fault:
            if self._metrics is not None:
                self._metrics.panics.inc()
            text = f"panic: {type(fault).__name__}: {fault}"
            if not self._recover_panic:
                raise ReconcilerPanic(f"{text} (controller {self.name}, request {request})") from fault
            fault.add_note(f"{text} [recovered]")
            raise

    def __str__(self) -> str:
        return f"controller {self.name}"


def _add(queue: PriorityQueue[Any] | RateLimitingQueue[Any], request: Any, opts: AddOpts) -> None:
    if isinstance(queue, PriorityQueue):
        queue.add_with_opts(opts, request)
        return
    if opts.rate_limited:
        queue.add_rate_limited(request)
    if opts.after > 0 or not opts.rate_limited:
        queue.add_after(request, opts.after)  # of two moments the queue keeps the earlier one
