"""What every reconciler is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bobrapet.config.operator import OperatorConfig
from bobrapet.runtime.client.interfaces import Client, Reader
from bobrapet.runtime.clock import Clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """The way to the API server, the time, and the configuration as it is now."""

    client: Client
    """Reads from the cache, writes to the API server."""

    live: Reader
    """Reads from the API server: for the few decisions that cannot be taken back."""

    clock: Clock
    config: Callable[[], OperatorConfig]
