"""Turns SIGTERM and the step's time limit into exceptions at the right place."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from bobrapet.sdk.durations import format_duration
from bobrapet.sdk.errors import Cancelled, Interrupted, StepTimeout

Handler = Callable[[Interrupted], object]


class Interrupts:
    """While entered, SIGTERM raises `Cancelled` and the end of `timeout` seconds raises `StepTimeout`.

    Main thread only. After the block, and after `settle()`, both signals are ignored: a result that exists is reported
    and not cut off.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._handlers: list[Handler] = []

    def __enter__(self) -> Interrupts:
        self._handlers = [_raise]
        signal.signal(signal.SIGTERM, self._receive)
        signal.signal(signal.SIGALRM, self._receive)
        signal.setitimer(signal.ITIMER_REAL, self._timeout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.settle()

    def settle(self) -> None:
        """From here on nothing interrupts."""
        self._handlers.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)

    @contextmanager
    def delivered_to(self, handler: Handler) -> Iterator[None]:
        """Within the block interruptions go to `handler` instead of being raised where the program stands."""
        self._handlers.append(handler)
        try:
            yield
        finally:
            if self._handlers:
                self._handlers.pop()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if not self._handlers:
            return
        if number == signal.SIGALRM:
            self._handlers[-1](StepTimeout(f"timed out: the step's limit of {format_duration(self._timeout)} passed"))
        else:
            self._handlers[-1](Cancelled("cancelled: the process was asked to stop (SIGTERM)"))


def _raise(error: Interrupted) -> None:
    raise error
