"""SIGTERM and SIGINT: the first one stops gracefully, the second one at once (spec runtime MGR-18)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from bobrapet.runtime.errors import ControllerRuntimeError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_installed = False


class SignalHandlerInstalled(ControllerRuntimeError):
    """A process has one signal handler."""


def setup_signal_handler(stop: Callable[[], object]) -> None:
    """Calls `stop` (say, `manager.request_stop`) on the first signal; the second one ends the process with code 1.

    Raises `SignalHandlerInstalled` when called twice.
    """
    global _installed
    if _installed:
        raise SignalHandlerInstalled("the signal handler is installed already")
    _installed = True
    received = 0

    def on_signal() -> None:
        nonlocal received
        received += 1
        if received == 1:
            stop()
        else:
            os._exit(1)

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
