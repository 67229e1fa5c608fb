"""The event loop of a command and the signals that end it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from bobrapet.cli.errors import CliError
from bobrapet.local.apiserver import ServerError
from bobrapet.local.node.errors import NodeError
from bobrapet.local.store import StoreError
from bobrapet.runtime.errors import ControllerRuntimeError

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a command to its end in a loop of its own.

    Raises:
        CliError: what stopped it and is no fault of this program: a full disk, a server that cannot be reached.
    """
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(coroutine)
    except (ControllerRuntimeError, ServerError, StoreError, NodeError) as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed: the embedded API server is five times as fast on it."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


@contextmanager
def on_signals(action: Callable[[], None]) -> Iterator[None]:
    """Calls `action` for each SIGINT and SIGTERM, inside the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
