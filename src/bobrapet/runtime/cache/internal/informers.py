"""The informers of one cache: one per kind and projection, started when needed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from bobrapet.runtime.cache.internal.expectations import Expectations
from bobrapet.runtime.cache.internal.selector import Selector
from bobrapet.runtime.client.apiutil import RESTMapper
from bobrapet.runtime.clock import Clock
from bobrapet.runtime.internal.tasks import TaskSet
from bobrapet.runtime.rest.interface import Rest
from bobrapet.runtime.scheme import GroupVersionKind
from bobrapet.runtime.toolscache.listwatch import ListWatch
from bobrapet.runtime.toolscache.outage import Outage
from bobrapet.runtime.toolscache.record import Transform
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer

Projection = Literal["object", "metadata"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the informers of one cache are made."""

    namespace: str = ""
    selector: Selector = field(default_factory=Selector)
    transform: Transform | None = None
    sync_period: float = 0.0
    watch_error_handler: Callable[[Exception], None] | None = None
    enable_watch_bookmarks: bool = True
    streaming_lists: bool = True
    new_informer: Callable[..., SharedIndexInformer] = SharedIndexInformer


class Entry:
    """One informer with what belongs to it."""

    def __init__(self, informer: SharedIndexInformer, projection: Projection, namespaced: bool, clock: Clock) -> None:
        self.informer = informer
        self.projection = projection
        self.namespaced = namespaced
        self.expectations = Expectations(informer, clock)
        self.task: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        RUNNING.add(self)
        try:
            await self.informer.run()
        finally:
            RUNNING.discard(self)


RUNNING: set[Entry] = set()
"""All informers that run in this process, for metrics and debugging."""


class Informers:
    """Made empty; runs what it has from `start()` to its cancellation."""

    def __init__(self, rest: Rest, mapper: RESTMapper, settings: Settings, clock: Clock) -> None:
        self._rest = rest
        self._mapper = mapper
        self._settings = settings
        self._clock = clock
        self._outage = Outage(clock)
        self._entries: dict[tuple[GroupVersionKind, Projection], Entry] = {}
        self._tasks = TaskSet()
        self._running = False
        self.started = asyncio.Event()

    async def start(self) -> None:
        """Runs the informers until cancelled, and returns after all of them have ended."""
        self._running = True
        try:
            for entry in self._entries.values():
                self._run(entry)
            self.started.set()
            await self._tasks.failure()
        finally:
            self._running = False
            await self._tasks.stop()

    async def wait_for_cache_sync(self) -> bool:
        """True once all informers known now are filled. Cancellation answers by being raised."""
        await self.started.wait()
        for entry in [*self._entries.values()]:
            await entry.informer.synced.wait()
        return True

    def peek(self, gvk: GroupVersionKind, projection: Projection) -> Entry | None:
        """The informer to read from, if there is one. Metadata is read from whole objects where those are at hand."""
        found = self._entries.get((gvk, "object"))
        return found or (self._entries.get((gvk, "metadata")) if projection == "metadata" else None)

    def of_kind(self, gvk: GroupVersionKind) -> list[Entry]:
        """All informers of a kind."""
        both = (self._entries.get((gvk, "object")), self._entries.get((gvk, "metadata")))
        return [entry for entry in both if entry is not None]

    async def get(self, gvk: GroupVersionKind, projection: Projection) -> Entry:
        """The informer to read from, made (and started, if this runs) when there is none. Raises `NoKindMatch`."""
        known = self.peek(gvk, projection)
        if known is not None:
            return known
        mapping = await self._mapper.rest_mapping(gvk)
        known = self.peek(gvk, projection)  # another reader may have come first while this one waited
        if known is not None:
            return known
        settings = self._settings
        namespace, selector = settings.selector.within(settings.namespace if mapping.namespaced else "")
        list_watch = ListWatch(
            self._rest,
            mapping.path(namespace),
            label_selector=str(selector.label),
            field_selector=str(selector.field),
            metadata_only=projection == "metadata",
        )
        informer = settings.new_informer(
            list_watch,
            gvk,
            transform=settings.transform,
            # Informers that start together should not resync together.
            resync_period=settings.sync_period * random.uniform(0.9, 1.1),
            clock=self._clock,
            bookmarks=settings.enable_watch_bookmarks,
            streaming_lists=settings.streaming_lists,
            name=f"{gvk.kind} metadata" if projection == "metadata" else gvk.kind,
            outage=self._outage,
        )
        if settings.watch_error_handler is not None:
            informer.set_watch_error_handler(settings.watch_error_handler)
        entry = self._entries[gvk, projection] = Entry(informer, projection, mapping.namespaced, self._clock)
        if self._running:
            self._run(entry)
        return entry

    async def remove(self, gvk: GroupVersionKind, projection: Projection) -> None:
        """Stops an informer and forgets what it stored."""
        entry = self._entries.pop((gvk, projection), None)
        if entry is not None and entry.task is not None:
            await self._tasks.cancel(entry.task)

    def _run(self, entry: Entry) -> None:
        entry.task = self._tasks.spawn(entry.run(), name=f"informer {entry.informer.name}")
