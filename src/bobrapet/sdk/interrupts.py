"""Turns SIGTERM, the step's time limit and a lost claim into exceptions at the right place."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from bobrapet.sdk.durations import format_duration
from bobrapet.sdk.errors import Cancelled, Interrupted, StepTimeout

Handler = Callable[[Interrupted], object]


class Interrupts:
    """Where interruptions go. While entered, `deliver` raises in the function, or hands to who asked for it.

    After the block, and after `settle()`, nothing interrupts: a result that exists is reported and not cut off.
    """

    def __init__(self) -> None:
        self._handlers: list[Handler] = []
        self.on_delivery: Callable[[Interrupted], None] = lambda _: None
        """Told of every interruption just before it is delivered."""

    def __enter__(self) -> Interrupts:
        self._handlers = [raised]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.settle()

    def settle(self) -> None:
        """From here on nothing interrupts."""
        self._handlers.clear()

    @contextmanager
    def delivered_to(self, handler: Handler) -> Iterator[None]:
        """Within the block interruptions go to `handler` instead of being raised where the program stands."""
        self._handlers.append(handler)
        try:
            yield
        finally:
            if self._handlers:
                self._handlers.pop()

    def deliver(self, error: Interrupted) -> None:
        """Interrupts, in the thread that runs the component."""
        if self._handlers:
            self.on_delivery(error)
            self._handlers[-1](error)

    def ring(self, error: Interrupted) -> None:
        """Interrupts from another thread."""
        raise NotImplementedError


class ProcessInterrupts(Interrupts):
    """SIGTERM raises `Cancelled`, the end of `timeout` seconds raises `StepTimeout`. Main thread only."""

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout
        self._rung: Interrupted | None = None

    def __enter__(self) -> Interrupts:
        super().__enter__()
        signal.signal(signal.SIGTERM, self._receive)
        signal.signal(signal.SIGALRM, self._receive)
        signal.setitimer(signal.ITIMER_REAL, self._timeout)
        return self

    def settle(self) -> None:
        super().settle()
        signal.setitimer(signal.ITIMER_REAL, 0)

    def ring(self, error: Interrupted) -> None:
        import threading

        self._rung = error
        # A signal also ends what the main thread is waiting for.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _receive(self, number: int, _frame: FrameType | None) -> Any:
        rung, self._rung = self._rung, None
        if rung is not None:
            self.deliver(rung)
        elif number == signal.SIGALRM:
            self.deliver(StepTimeout(f"timed out: the step's limit of {format_duration(self._timeout)} passed"))
        else:
            self.deliver(Cancelled("cancelled: the process was asked to stop (SIGTERM)"))


def raised(error: Interrupted) -> None:
    """Interrupts where the program stands."""
    raise error
