"""Requests for the object that an event is about (HND-1)."""

from __future__ import annotations

from typing import Any

from bobrapet.runtime.event import CreateEvent, DeleteEvent, GenericEvent, Metadata, UpdateEvent
from bobrapet.runtime.handler.eventhandler import RequestQueue, enqueue, priority_of_create, priority_of_update
from bobrapet.runtime.reconcile import Request


class EnqueueRequestForObject:
    """Asks for a reconcile of the object itself."""

    async def create(self, event: CreateEvent[Any], queue: RequestQueue) -> None:
        enqueue(queue, _request(event.metadata), priority_of_create(event))

    async def update(self, event: UpdateEvent[Any], queue: RequestQueue) -> None:
        metadata = event.metadata_new or event.metadata_old
        if metadata is not None:
            enqueue(queue, _request(metadata), priority_of_update(event))

    async def delete(self, event: DeleteEvent[Any], queue: RequestQueue) -> None:
        queue.add(_request(event.metadata))

    async def generic(self, event: GenericEvent[Any], queue: RequestQueue) -> None:
        queue.add(_request(event.metadata))

    def __repr__(self) -> str:
        return "EnqueueRequestForObject"


def _request(metadata: Metadata) -> Request:
    return Request(metadata.namespace or "", metadata.name or "")
