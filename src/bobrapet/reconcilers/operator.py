"""What every reconciler is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from bobrapet.config.operator import OperatorConfig
from bobrapet.config.storage import StorageSettings
from bobrapet.reconcilers.echoes import Echoes
from bobrapet.reconcilers.stores import Stores
from bobrapet.runtime.client.interfaces import Client, Reader
from bobrapet.runtime.clock import Clock
from bobrapet.storage import Store

T = TypeVar("T")


class OutputStore(Protocol):
    """Reads and writes whole objects in the store of a step. Any exception means: not possible now."""

    async def read(self, store: StorageSettings, namespace: str, path: str) -> bytes | None:
        """The object; None when there is none. `namespace`: where the store's Secret is."""
        ...

    async def write(self, store: StorageSettings, namespace: str, path: str, body: bytes) -> None: ...


if TYPE_CHECKING:
    from bobrapet.reconcilers.tracing import Tracer


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """The way to the API server, the time, and the configuration as it is now."""

    client: Client
    """Reads from the cache, writes to the API server."""

    live: Reader
    """Reads from the API server: for the few decisions that cannot be taken back."""

    clock: Clock
    config: Callable[[], OperatorConfig]

    outputs: OutputStore | None = None
    """Where cached outputs of steps lie; None: steps run without cache."""

    stores: Stores = field(default_factory=Stores)
    """The way to offloaded data."""

    echoes: Echoes = field(default_factory=Echoes)

    tracer: Tracer | None = None
    """None: nothing is traced, whatever the configuration says."""

    async def call_store(
        self,
        span: str,
        settings: StorageSettings,
        namespace: str,
        work: Callable[[Store], T],
        **attributes: str,
    ) -> T:
        """`stores.call`, in a span of tracing."""

        async def call() -> T:
            return await self.stores.call(settings, namespace, work)

        if self.tracer is None:
            return await call()
        return await self.tracer.storage(span, attributes, call)
