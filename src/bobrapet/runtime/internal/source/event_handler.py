"""Between an informer and an event handler: predicates are asked, records become events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bobrapet.runtime.event import CreateEvent, DeleteEvent, UpdateEvent
from bobrapet.runtime.handler import EventHandler, RequestQueue
from bobrapet.runtime.predicate import Predicate
from bobrapet.runtime.toolscache.deltas import DeletedFinalStateUnknown
from bobrapet.runtime.toolscache.record import Record


class EventAdapter:
    """A `ResourceEventHandler` that feeds a queue. All predicates must agree, in order."""

    def __init__(
        self, cls: type[Any], queue: RequestQueue, handler: EventHandler, predicates: Sequence[Predicate]
    ) -> None:
        self._cls = cls
        self._queue = queue
        self._handler = handler
        self._predicates = tuple(predicates)
        self.owner: str = getattr(queue, "name", "")
        """The controller, for metrics."""

    async def on_add(self, obj: Record, is_in_initial_list: bool) -> None:
        event: CreateEvent[Any] = CreateEvent(obj, is_in_initial_list, cls=self._cls)
        for predicate in self._predicates:
            if not predicate.create(event):
                return
        await self._handler.create(event, self._queue)

    async def on_update(self, old: Record, new: Record) -> None:
        event: UpdateEvent[Any] = UpdateEvent(old, new, cls=self._cls)
        for predicate in self._predicates:
            if not predicate.update(event):
                return
        await self._handler.update(event, self._queue)

    async def on_delete(self, obj: Record | DeletedFinalStateUnknown) -> None:
        unknown = isinstance(obj, DeletedFinalStateUnknown)
        record = obj.obj if isinstance(obj, DeletedFinalStateUnknown) else obj
        event: DeleteEvent[Any] = DeleteEvent(record, unknown, cls=self._cls)
        for predicate in self._predicates:
            if not predicate.delete(event):
                return
        await self._handler.delete(event, self._queue)

    def __repr__(self) -> str:
        return f"{self._handler!r}"
