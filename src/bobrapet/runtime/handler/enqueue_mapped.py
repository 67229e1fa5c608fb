"""Requests that a function derives from an object (HND-3)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, TypeVar

from bobrapet.runtime.event import CreateEvent, DeleteEvent, GenericEvent, UpdateEvent
from bobrapet.runtime.handler.eventhandler import RequestQueue, enqueue, priority_of_create, priority_of_update

T = TypeVar("T")
R = TypeVar("R", bound=Hashable)

MapFunc = Callable[[T], Iterable[R] | Awaitable[Iterable[R]]]
"""The requests that an object concerns. May be `async`, for one that reads the cache."""


class EnqueueMapped:
    """Calls the function with the object; on an update with the old and the new one. Each request is added once.

    `priority`: that of all its requests, instead of the low one for what HND-4 names and the usual one for the rest.
    """

    def __init__(self, to_requests: MapFunc[Any, Any], *, priority: int | None = None) -> None:
        self._to_requests = to_requests
        self._priority = priority

    async def create(self, event: CreateEvent[Any], queue: RequestQueue) -> None:
        await self._enqueue(queue, priority_of_create(event), event.object)

    async def update(self, event: UpdateEvent[Any], queue: RequestQueue) -> None:
        await self._enqueue(queue, priority_of_update(event), event.object_old, event.object_new)

    async def delete(self, event: DeleteEvent[Any], queue: RequestQueue) -> None:
        await self._enqueue(queue, None, event.object)

    async def generic(self, event: GenericEvent[Any], queue: RequestQueue) -> None:
        await self._enqueue(queue, None, event.object)

    async def _enqueue(self, queue: RequestQueue, priority: int | None, *objects: Any) -> None:
        requests: dict[Hashable, None] = {}
        for obj in objects:
            if obj is not None:
                mapped = self._to_requests(obj)
                requests.update(dict.fromkeys(await mapped if inspect.isawaitable(mapped) else mapped))
        for request in requests:
            enqueue(queue, request, priority if self._priority is None else self._priority)

    def __repr__(self) -> str:
        return f"EnqueueMapped({getattr(self._to_requests, '__qualname__', self._to_requests)})"


def enqueue_requests_from_map_func(to_requests: MapFunc[Any, Any], *, priority: int | None = None) -> EnqueueMapped:
    """A handler for requests that `to_requests` derives from an object."""
    return EnqueueMapped(to_requests, priority=priority)
