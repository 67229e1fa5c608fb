"""Where the events of a controller come from (controller-runtime pkg/source)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bobrapet.runtime.event import GenericEvent
from bobrapet.runtime.handler import EventHandler, RequestQueue
from bobrapet.runtime.internal.source.event_handler import EventAdapter
from bobrapet.runtime.internal.source.kind import Kind
from bobrapet.runtime.internal.tasks import TaskSet
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.predicate import Predicate

if TYPE_CHECKING:
    from bobrapet.runtime.cache import Cache

log = get_logger("source")

CHANNEL_BUFFER = 1024


@runtime_checkable
class Source(Protocol):
    """A stream of events into a queue."""

    async def start(self, queue: RequestQueue) -> None:
        """Begins to add requests, and returns soon; long work runs in a task of the source."""
        ...


@runtime_checkable
class SyncingSource(Source, Protocol):
    """A source with an initial state, whose requests must be queued before workers start."""

    async def wait_for_sync(self) -> None: ...


@runtime_checkable
class StoppableSource(Source, Protocol):
    """A source with tasks or registrations to give back when its controller ends."""

    async def stop(self) -> None: ...


def kind(cache: Cache, cls: type[Any], handler: EventHandler, *predicates: Predicate) -> Kind:
    """The changes of all objects of a class, from the cache."""
    return Kind(cache, cls, handler, predicates)


class Informer:
    """The changes that one informer sees; `cls` is what its objects are decoded to."""

    def __init__(self, informer: Any, cls: type[Any], handler: EventHandler, *predicates: Predicate) -> None:
        self._informer = informer
        self._cls = cls
        self._handler = handler
        self._predicates = predicates
        self._registration: Any = None

    async def start(self, queue: RequestQueue) -> None:
        adapter = EventAdapter(self._cls, queue, self._handler, self._predicates)
        self._registration = self._informer.add_event_handler(adapter)

    async def wait_for_sync(self) -> None:
        await self._registration.wait_for_sync()

    async def stop(self) -> None:
        if self._registration is not None:
            self._informer.remove_event_handler(self._registration)

    def __str__(self) -> str:
        return f"informer source: {self._informer!r}"


class Func:
    """A function as a source. It must return soon."""

    def __init__(self, function: Callable[[RequestQueue], Awaitable[None]]) -> None:
        self._function = function

    async def start(self, queue: RequestQueue) -> None:
        await self._function(queue)

    def __str__(self) -> str:
        return f"func source: {getattr(self._function, '__qualname__', self._function)}"


def func(function: Callable[[RequestQueue], Awaitable[None]]) -> Func:
    """A source from a function."""
    return Func(function)


class Channel:
    """Events from outside of the API, as any async iterable of `GenericEvent`.

    One reader serves all controllers that use the source. Each of them has a buffer; a full one holds up the reader,
    and with it the others.
    """

    def __init__(
        self,
        stream: AsyncIterable[GenericEvent[Any]],
        handler: EventHandler,
        buffer_size: int = CHANNEL_BUFFER,
        predicates: Sequence[Predicate] = (),
    ) -> None:
        self._stream = stream
        self._handler = handler
        self._buffer_size = buffer_size
        self._predicates = tuple(predicates)
        self._destinations: list[asyncio.Queue[GenericEvent[Any] | None]] = []
        self._tasks = TaskSet()
        self._users = 0
        self._reading = False

    async def start(self, queue: RequestQueue) -> None:
        buffer: asyncio.Queue[GenericEvent[Any] | None] = asyncio.Queue(self._buffer_size)
        self._destinations.append(buffer)
        self._users += 1
        self._tasks.spawn(self._deliver(buffer, queue), name="channel source delivery")
        if not self._reading:
            self._reading = True
            self._tasks.spawn(self._read(), name="channel source reader")

    async def stop(self) -> None:
        self._users -= 1
        if self._users == 0:
            await self._tasks.stop()

    async def _read(self) -> None:
        async for event in self._stream:
            for buffer in self._destinations:
                await buffer.put(event)
        for buffer in self._destinations:
            await buffer.put(None)

    async def _deliver(self, buffer: asyncio.Queue[GenericEvent[Any] | None], queue: RequestQueue) -> None:
        while (event := await buffer.get()) is not None:
            try:
                if all(predicate.generic(event) for predicate in self._predicates):
                    await self._handler.generic(event, queue)
            except Exception as error:
                log.error("handler failed on an event of a channel", error=error, event=repr(event))

    def __str__(self) -> str:
        return f"channel source: {self._stream!r}"


def channel(
    stream: AsyncIterable[GenericEvent[Any]],
    handler: EventHandler,
    buffer_size: int = CHANNEL_BUFFER,
    predicates: Sequence[Predicate] = (),
) -> Channel:
    """A source of events from outside of the API."""
    return Channel(stream, handler, buffer_size, predicates)
