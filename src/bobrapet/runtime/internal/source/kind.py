"""The source of the changes of one kind (spec runtime SRC-2 to SRC-4)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import ControllerRuntimeError, NoKindMatch, NotRegistered
from bobrapet.runtime.handler import EventHandler, RequestQueue
from bobrapet.runtime.internal.source.event_handler import EventAdapter
from bobrapet.runtime.internal.tasks import TaskSet
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.predicate import Predicate

if TYPE_CHECKING:
    from bobrapet.runtime.cache import Cache
    from bobrapet.runtime.cache.cache import Informer

RETRY_PERIOD = 10.0
"""Seconds between two looks at whether the kind can be watched now."""

log = get_logger("source")


class Kind:
    """Registers a handler at the informer of a class, as soon as there can be one."""

    def __init__(
        self,
        cache: Cache,
        cls: type[Any],
        handler: EventHandler,
        predicates: Sequence[Predicate] = (),
        *,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self.cls = cls
        self._cache = cache
        self._handler = handler
        self._predicates = tuple(predicates)
        self._clock = clock
        self._tasks = TaskSet()
        self._connecting: asyncio.Task[Any] | None = None
        self._informer: Informer | None = None
        self._registration: Any = None

    async def start(self, queue: RequestQueue) -> None:
        adapter = EventAdapter(self.cls, queue, self._handler, self._predicates)
        self._connecting = self._tasks.spawn(self._connect(adapter), name=str(self))

    async def wait_for_sync(self) -> None:
        """Waits until the handler has seen every object that was there at the start."""
        assert self._connecting is not None, "start() comes first"
        await asyncio.shield(self._connecting)
        assert self._registration is not None
        await self._registration.wait_for_sync()

    async def stop(self) -> None:
        await self._tasks.stop()
        if self._informer is not None and self._registration is not None:
            self._informer.remove_event_handler(self._registration)
            self._registration = None

    async def _connect(self, adapter: EventAdapter) -> None:
        while True:
            try:
                self._informer = await self._cache.get_informer(self.cls, block_until_synced=False)
                break
            except NoKindMatch as error:
                log.error("the kind is not served; if it is a custom resource, install its definition", kind=str(error))
            except NotRegistered as error:
                log.error("the class is not in the scheme; call scheme.add_known_types at start", kind=str(error))
            except ControllerRuntimeError as error:
                log.error("the informer cannot be had yet", error=error, source=str(self))
            await self._clock.sleep(RETRY_PERIOD)
        self._registration = self._informer.add_event_handler(adapter)

    @property
    def name(self) -> str:
        return getattr(self.cls, "KIND", "") or self.cls.__name__

    def __str__(self) -> str:
        return f"kind source: {self.name}"
