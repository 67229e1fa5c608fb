"""One operator process: the real controllers with the real wiring, over the simulated cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from bobrapet.api import KINDS
from bobrapet.config.operator import OperatorConfig
from bobrapet.config.storage import StorageSettings
from bobrapet.reconcilers import indexes, wiring
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.operatorconfig import ConfigSource
from bobrapet.reconcilers.stores import Stores
from bobrapet.runtime import config
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.internal.controller.stranded import Stranded
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.reconcile import Request
from bobrapet.runtime.scheme import Scheme
from bobrapet.storage import BackendUnavailable, Store
from tests.simulation.cluster import FAIL, LOSE, Cache, Client, Server, Wire

T = TypeVar("T")


def scheme() -> Scheme:
    """All our kinds."""
    made = Scheme()
    made.add_known_types(*KINDS)
    return made


class _Namespaced:
    """Every kind that is asked about lives in a namespace."""

    namespaced = True

    async def rest_mapping(self, _gvk: Any) -> _Namespaced:
        return self


class _NoEvents:
    def event(self, *_: Any, **__: Any) -> None: ...


class _Stores(Stores):
    """The way to a payload store: each use waits for its turn, and may fail, before or after it happened."""

    def __init__(self, wire: Wire, store: Store | None) -> None:
        super().__init__()
        self._wire = wire
        self._reached = store

    def reach(self, settings: StorageSettings | None) -> bool:
        return self._reached is not None and settings is not None

    async def call(
        self, settings: StorageSettings, namespace: str, work: Callable[[Store], T], *, timeout: float = 0
    ) -> T:
        assert self._reached is not None
        outcome = await self._wire.turn("use the payload store")
        if outcome is FAIL:
            raise BackendUnavailable(f"the store {outcome}")
        found = work(self._reached)
        if outcome is LOSE:
            raise BackendUnavailable(f"the store {outcome}")
        return found


class Process:
    """As much of a manager as the wiring looks at."""

    rest_mapper = _Namespaced()

    def __init__(
        self,
        server: Server,
        clock: FakeClock,
        known: Scheme,
        operator_config: OperatorConfig,
        *,
        behind: Any,
        sees_its_writes: bool,
        store: Store | None,
    ) -> None:
        self.clock = clock
        self.scheme = known
        self.logger = get_logger("simulation")
        self.wire = Wire()
        self.cache = Cache(known, server, behind)
        self.controllers: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.source = ConfigSource(ObjectKey("", ""))
        self.source._config = operator_config
        self.operator = Operator(
            client=Client(server, self.cache, self.wire, sees_its_writes=sees_its_writes),  # type: ignore[arg-type]
            live=Client(server, self.cache, self.wire, sees_its_writes=False, live=True),  # type: ignore[arg-type]
            clock=clock,
            config=self.source,
            stores=_Stores(self.wire, store),
        )

    def get_controller_options(self) -> config.Controller:
        return config.Controller(skip_name_validation=True)

    def get_cache(self) -> Cache:
        return self.cache

    def get_event_recorder(self, _name: str) -> _NoEvents:
        return _NoEvents()

    def add(self, controller: Any) -> None:
        self.controllers.append(controller)

    async def start(self) -> None:
        """Fills the queues from what the cache shows, and lets the controllers work."""
        manager: Any = self
        await indexes.register(self.cache)  # type: ignore[arg-type]
        await wiring._add_storyrun(manager, self.operator, self.source)
        await wiring._add_steprun(manager, self.operator)
        for controller in self.controllers:
            controller._stranded = Stranded(Random(0))  # the only chance in it; a seed must mean one order of events
        self.tasks = [asyncio.create_task(controller.start()) for controller in self.controllers]

    def enqueue(self, controller: int, name: str) -> None:
        """A request for no reason."""
        queue = self.controllers[controller].queue
        if queue is not None:
            queue.add(Request("wf", name))
