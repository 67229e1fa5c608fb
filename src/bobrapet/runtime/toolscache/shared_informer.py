"""One watch of a collection, shared by any number of handlers (spec runtime 5.3; client-go shared_informer).

The reflector feeds the store; each change of the store is put into the queue of every handler, and each handler works
its queue off in a task of its own. So a handler sees what happened to one object in order, after the store has it, and
a slow handler delays nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from bobrapet.runtime.client.object import compare_resource_version
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.internal.tasks import TaskSet
from bobrapet.runtime.scheme import GroupVersionKind
from bobrapet.runtime.toolscache.deltas import DeletedFinalStateUnknown, Delta, DeltaType
from bobrapet.runtime.toolscache.listwatch import ListerWatcher
from bobrapet.runtime.toolscache.outage import Outage
from bobrapet.runtime.toolscache.record import Record, RecordDecoder, Transform
from bobrapet.runtime.toolscache.reflector import Reflector
from bobrapet.runtime.toolscache.store import Indexer, IndexFunc
from bobrapet.runtime.toolscache.watchline import DELETED, Change

MIN_RESYNC = 1.0
PENDING_WARNING = 1024
SLOW_AFTER = 1.0
"""Seconds without a pause from which on a long queue is the fault of the handler, and no burst."""

PAUSE_AFTER_ERROR = 1.0
YIELD_EVERY = 100

log = logging.getLogger(__name__)


class ResourceEventHandler(Protocol):
    """Hears of changes. Should be quick: its own queue grows meanwhile."""

    async def on_add(self, obj: Record, is_in_initial_list: bool) -> None: ...

    async def on_update(self, old: Record, new: Record) -> None:
        """Also called with `old is new`, for resyncs."""
        ...

    async def on_delete(self, obj: Record | DeletedFinalStateUnknown) -> None: ...


class InformerStopped(ControllerRuntimeError):
    """The informer has been stopped; it delivers nothing any more."""


class InformerStarted(ControllerRuntimeError):
    """This can be set only before the informer starts."""


class Registration:
    """One handler of one informer."""

    def __init__(
        self, handler: ResourceEventHandler, resync_period: float, clock: Clock, informer_synced: bool, name: str
    ) -> None:
        self.handler = handler
        self.resync_period = resync_period
        self.errors = 0
        """Notifications lost to exceptions of the handler."""

        self._name = name
        self._clock = clock
        self._next_resync = clock.monotonic() + resync_period if resync_period else None
        self._queue: deque[Delta] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._initial_left = 0
        self._informer_synced = informer_synced
        self._synced = asyncio.Event()
        self._warned = False
        self._waiting_since = 0.0

    def has_synced(self) -> bool:
        """Whether the handler was called for every object of the initial list."""
        return self._synced.is_set()

    async def wait_for_sync(self) -> None:
        await self._synced.wait()

    # For the informer

    @property
    def pending(self) -> int:
        return len(self._queue)

    @property
    def next_resync(self) -> float | None:
        return self._next_resync

    def is_resync_due(self, now: float) -> bool:
        return self._next_resync is not None and self._next_resync <= now

    def resync_done(self, now: float) -> None:
        self._next_resync = now + self.resync_period

    def put(self, deltas: Sequence[Delta]) -> None:
        if not deltas:
            return
        if not self._queue:
            self._waiting_since = self._clock.monotonic()
        self._queue.extend(deltas)
        if not self._informer_synced:
            self._initial_left += len(deltas)
        elif len(self._queue) > PENDING_WARNING and not self._warned:
            self._warn_if_slow()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _warn_if_slow(self) -> None:
        waiting = self._clock.monotonic() - self._waiting_since
        if waiting > SLOW_AFTER:
            self._warned = True
            log.warning(
                "%s: %d notifications wait for %r, which has been busy for %.1f s",
                *(self._name, len(self._queue), self.handler, waiting),
            )

    def informer_synced(self) -> None:
        self._informer_synced = True
        self._check_synced()

    def start_with(self, records: Sequence[Record]) -> None:
        """Gives a late handler what is in the store."""
        self._initial_left = len(records)
        self._queue.extend(Delta(DeltaType.ADDED, None, record, is_in_initial_list=True) for record in records)
        self._check_synced()

    async def run(self) -> None:
        """Delivers until cancelled."""
        handler, queue = self.handler, self._queue
        delivered = 0
        while True:
            while not queue:
                self._warned = False
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
                self._wake = None
            delta = queue.popleft()
            try:
                if delta.type is DeltaType.ADDED:
                    await handler.on_add(delta.new, delta.is_in_initial_list)
                elif delta.type is not DeltaType.DELETED:
                    await handler.on_update(delta.old or delta.new, delta.new)
                elif delta.final_state_unknown:
                    await handler.on_delete(DeletedFinalStateUnknown(delta.new.key, delta.new))
                else:
                    await handler.on_delete(delta.new)
            except Exception:
                self.errors += 1
                log.exception("%s: %r failed on %s, which it will not see again", self._name, handler, delta.new.key)
                await self._clock.sleep(PAUSE_AFTER_ERROR)
            if self._initial_left:
                self._initial_left -= 1
                self._check_synced()
            delivered += 1
            if delivered % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _check_synced(self) -> None:
        if self._informer_synced and not self._initial_left:
            self._synced.set()


class SharedIndexInformer:
    """A store that follows a collection, and tells handlers."""

    def __init__(
        self,
        lister_watcher: ListerWatcher,
        gvk: GroupVersionKind,
        *,
        transform: Transform | None = None,
        indexers: Mapping[str, IndexFunc] | None = None,
        resync_period: float = 0.0,
        clock: Clock = REAL_CLOCK,
        bookmarks: bool = True,
        streaming_lists: bool = True,
        name: str = "",
        rng: random.Random | None = None,
        outage: Outage | None = None,
    ) -> None:
        """`outage` is shared by the informers of one client.
        `resync_period`: seconds after which handlers hear of every object again if they do not say otherwise."""
        self.gvk = gvk
        self.name = name or str(gvk)
        self.store = Indexer(indexers)
        self.synced = asyncio.Event()
        """Set once the first list is in the store."""

        self.progress = ""
        """The resourceVersion up to which the store has seen everything."""

        self._lister_watcher = lister_watcher
        self._transform = transform
        self._resync_period = max(resync_period, MIN_RESYNC) if resync_period else 0.0
        self._resync_check = self._resync_period
        self._clock = clock
        self._bookmarks = bookmarks
        self._streaming_lists = streaming_lists
        self._random = rng
        self._outage = outage
        self._watch_error_handler: Callable[[Exception], None] | None = None
        self._registrations: dict[Registration, asyncio.Task[None] | None] = {}
        self._observers: list[Callable[[Sequence[Delta]], None]] = []
        self._tasks = TaskSet()
        self._started = False
        self._stopped = False
        self._resync_changed = asyncio.Event()
        self.reflector: Reflector | None = None

    # Settings

    @property
    def is_stopped(self) -> bool:
        return self._stopped

    def has_synced(self) -> bool:
        return self.synced.is_set()

    def set_transform(self, transform: Transform | None) -> None:
        self._refuse_when_started("transform")
        self._transform = transform

    def set_watch_error_handler(self, handler: Callable[[Exception], None]) -> None:
        """`handler` hears of failed lists and watches instead of the log."""
        self._refuse_when_started("watch error handler")
        self._watch_error_handler = handler

    def add_indexers(self, indexers: Mapping[str, IndexFunc]) -> None:
        """Adds indexes, at any time before the stop."""
        self._refuse_when_stopped()
        self.store.add_indexers(indexers)

    def add_event_handler(self, handler: ResourceEventHandler, resync_period: float | None = None) -> Registration:
        """Tells `handler` of everything in the store, as initial adds, and of all changes from then on.

        `resync_period` None: that of the informer; 0: no resync. Raises `InformerStopped`.
        """
        self._refuse_when_stopped()
        period = self._resync_period if resync_period is None else resync_period
        if period:
            period = max(period, MIN_RESYNC)
            if not self._started:
                self._resync_check = min(period, self._resync_check or period)
            elif self._resync_check:
                period = max(period, self._resync_check)
            else:
                self._resync_check = period
        registration = Registration(handler, period, self._clock, self.has_synced(), self.name)
        registration.start_with(self.store.list())
        self._registrations[registration] = None
        if self._started:
            self._start_delivery(registration)
            self._resync_changed.set()
        return registration

    def remove_event_handler(self, registration: Registration) -> None:
        """The handler hears nothing more. Unknown registrations are ignored."""
        task = self._registrations.pop(registration, None)
        if task is not None:
            task.cancel()

    def handler_errors(self) -> Counter[str]:
        """Notifications lost to exceptions, by the owner of the handler."""
        errors: Counter[str] = Counter()
        for registration in self._registrations:
            errors[getattr(registration.handler, "owner", "")] += registration.errors
        return errors

    def watch_age(self) -> float | None:
        """Seconds since the open watch was opened, None without one."""
        started = None if self.reflector is None else self.reflector.metrics.watch_started
        return None if started is None else self._clock.monotonic() - started

    def add_observer(self, observer: Callable[[Sequence[Delta]], None]) -> None:
        """Calls a plain function with what changed, at once, after each change of the store or of `progress`.

        It must not raise.
        """
        self._observers.append(observer)

    # Running

    async def run(self) -> None:
        """Follows the collection until cancelled; afterwards the informer cannot be used again."""
        self._refuse_when_stopped()
        if self._started:
            raise InformerStarted(f"the informer of {self.name} runs already")
        self._started = True
        decoder = RecordDecoder(self.gvk, self._transform)
        self.reflector = Reflector(
            self._lister_watcher,
            self,
            decoder,
            name=self.name,
            clock=self._clock,
            bookmarks=self._bookmarks,
            streaming_lists=self._streaming_lists,
            on_error=self._watch_error_handler,
            rng=self._random,
            outage=self._outage,
        )
        for registration in self._registrations:
            self._start_delivery(registration)
        self._tasks.spawn(self._resync(), name=f"resync {self.name}")
        self._tasks.spawn(self.reflector.run(), name=f"reflector {self.name}")
        try:
            await self._tasks.failure()
        finally:
            self._stopped = True
            await self._tasks.stop()

    # The sink of the reflector. Plain functions: store, indexes and queues of the handlers change in one step.

    def replace(self, records: Sequence[Record], resource_version: str) -> None:
        """Takes a whole list; what is no longer in it was deleted unseen (INF-6, INF-7)."""
        initial = not self.has_synced()
        deltas: list[Delta] = []
        unchanged: list[Delta] = []
        kept: list[Record] = []
        seen: set[Any] = set()
        for record in records:
            seen.add(record.key)
            old = self.store.get_by_key(record.key)
            if old is None:
                deltas.append(Delta(DeltaType.ADDED, None, record, is_in_initial_list=initial))
            elif (
                old.metadata.resource_version == record.metadata.resource_version
                and old.metadata.uid == record.metadata.uid
            ):
                unchanged.append(Delta(DeltaType.SYNC, old, old))
                kept.append(old)
                continue
            else:
                deltas.append(Delta(DeltaType.UPDATED, old, record))
            kept.append(record)
        deltas.extend(
            Delta(DeltaType.DELETED, old, old, final_state_unknown=True)
            for old in self.store.list()
            if old.key not in seen
        )
        self.store.replace(kept)
        self.progress = resource_version
        now = self._clock.monotonic()
        for registration in self._registrations:
            registration.put(deltas)
            if unchanged and registration.is_resync_due(now):
                registration.put(unchanged)
        if initial:
            self.synced.set()
            for registration in self._registrations:
                registration.informer_synced()
        self._tell_observers(deltas)

    def apply(self, changes: Sequence[Change], resource_version: str) -> None:
        """Takes events; what an event is called counts less than what the store has (INF-4)."""
        store = self.store
        deltas: list[Delta] = []
        for kind, record in changes:
            old = store.get_by_key(record.key)
            if old is not None and _is_older(record, old):
                continue
            if kind == DELETED:
                if old is not None:
                    store.delete(record.key)
                    deltas.append(Delta(DeltaType.DELETED, old, record))
            else:
                store.add(record)
                deltas.append(Delta(DeltaType.ADDED if old is None else DeltaType.UPDATED, old, record))
        if resource_version:
            self.progress = resource_version
        for registration in self._registrations:
            registration.put(deltas)
        self._tell_observers(deltas)

    def bookmark(self, resource_version: str) -> None:
        self.progress = resource_version
        self._tell_observers(())

    def _tell_observers(self, deltas: Sequence[Delta]) -> None:
        for observer in self._observers:
            observer(deltas)

    # Tasks

    def _start_delivery(self, registration: Registration) -> None:
        name = f"deliver {self.name} to {registration.handler!r}"
        self._registrations[registration] = self._tasks.spawn(registration.run(), name=name)

    async def _resync(self) -> None:
        """Repeats every object to the handlers that asked for it, each in its own rhythm. Never asks the server."""
        await self.synced.wait()
        while True:
            self._resync_changed.clear()
            moments = [moment for r in self._registrations if (moment := r.next_resync) is not None]
            timer = self._clock.call_at(min(moments), self._resync_changed.set) if moments else None
            try:
                await self._resync_changed.wait()
            finally:
                if timer is not None:
                    timer.cancel()
            now = self._clock.monotonic()
            due = [registration for registration in self._registrations if registration.is_resync_due(now)]
            if due:
                deltas = [Delta(DeltaType.SYNC, record, record) for record in self.store.list()]
                for registration in due:
                    registration.put(deltas)
                    registration.resync_done(now)

    def _refuse_when_started(self, what: str) -> None:
        if self._started:
            raise InformerStarted(f"the {what} of the informer of {self.name} can be set only before it starts")

    def _refuse_when_stopped(self) -> None:
        if self._stopped:
            raise InformerStopped(f"the informer of {self.name} has been stopped")


def _is_older(record: Record, stored: Record) -> bool:
    """Whether an event tells of a state that the store has left behind: time does not run backwards."""
    new, old = record.metadata, stored.metadata
    return new.uid == old.uid and compare_resource_version(new.resource_version, old.resource_version) == -1
