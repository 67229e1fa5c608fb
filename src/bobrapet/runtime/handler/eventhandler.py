"""From events to requests (controller-runtime pkg/handler)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Protocol, TypeVar

from bobrapet.runtime.controller.priorityqueue import AddOpts, PriorityQueue
from bobrapet.runtime.event import CreateEvent, DeleteEvent, GenericEvent, UpdateEvent

R = TypeVar("R", bound=Hashable)

LOW_PRIORITY = -100
"""For what may wait: the initial list after a start, and resyncs. Fresh changes go first (HND-4)."""


class RequestQueue(Protocol):
    """What a handler needs of a queue."""

    def add(self, item: Any) -> None: ...

    def add_after(self, item: Any, seconds: float) -> None: ...

    def add_rate_limited(self, item: Any) -> None: ...


class EventHandler(Protocol):
    """Turns events into requests. Must not block: the events of its kind wait behind it."""

    async def create(self, event: CreateEvent[Any], queue: RequestQueue) -> None: ...

    async def update(self, event: UpdateEvent[Any], queue: RequestQueue) -> None: ...

    async def delete(self, event: DeleteEvent[Any], queue: RequestQueue) -> None: ...

    async def generic(self, event: GenericEvent[Any], queue: RequestQueue) -> None: ...


def priority_of_create(event: CreateEvent[Any]) -> int | None:
    return LOW_PRIORITY if event.is_in_initial_list else None


def priority_of_update(event: UpdateEvent[Any]) -> int | None:
    return LOW_PRIORITY if event.is_resync else None


def enqueue(queue: RequestQueue, item: Hashable, priority: int | None) -> None:
    """Adds with a priority where the queue knows priorities."""
    if priority is not None and isinstance(queue, PriorityQueue | WithDefaultPriority):
        queue.add_with_opts(AddOpts(priority=priority), item)
    else:
        queue.add(item)


class WithDefaultPriority:
    """A queue that gives `priority` to whatever is added without one."""

    def __init__(self, queue: PriorityQueue[Any], priority: int) -> None:
        self._queue = queue
        self._priority = priority

    def add(self, item: Any) -> None:
        self.add_with_opts(AddOpts(), item)

    def add_after(self, item: Any, seconds: float) -> None:
        self.add_with_opts(AddOpts(after=seconds), item)

    def add_rate_limited(self, item: Any) -> None:
        self.add_with_opts(AddOpts(rate_limited=True), item)

    def add_with_opts(self, opts: AddOpts, *items: Any) -> None:
        if opts.priority is None:
            opts = AddOpts(after=opts.after, rate_limited=opts.rate_limited, priority=self._priority)
        self._queue.add_with_opts(opts, *items)


Handle = Callable[[Any, RequestQueue], Awaitable[None]]


class Funcs:
    """A handler from single functions; a missing one ignores its events.

    What create and update functions add without a priority of their own gets the low one where HND-4 asks for it.
    """

    def __init__(
        self,
        *,
        create: Handle | None = None,
        update: Handle | None = None,
        delete: Handle | None = None,
        generic: Handle | None = None,
    ) -> None:
        self._create = create
        self._update = update
        self._delete = delete
        self._generic = generic

    async def create(self, event: CreateEvent[Any], queue: RequestQueue) -> None:
        if self._create is not None:
            await self._create(event, _prioritized(queue, priority_of_create(event)))

    async def update(self, event: UpdateEvent[Any], queue: RequestQueue) -> None:
        if self._update is not None:
            await self._update(event, _prioritized(queue, priority_of_update(event)))

    async def delete(self, event: DeleteEvent[Any], queue: RequestQueue) -> None:
        if self._delete is not None:
            await self._delete(event, queue)

    async def generic(self, event: GenericEvent[Any], queue: RequestQueue) -> None:
        if self._generic is not None:
            await self._generic(event, queue)


def _prioritized(queue: RequestQueue, priority: int | None) -> RequestQueue:
    if priority is None or not isinstance(queue, PriorityQueue):
        return queue
    return WithDefaultPriority(queue, priority)
