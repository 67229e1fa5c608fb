"""One evaluation: the text that it has written, and what it may still use.

Every loop and every function whose cost is not bounded by the length of the template asks here, so that a hostile
template or hostile data stops at a limit and not at the end of memory or patience.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.text import byte_length

VALUE_LIMIT = 16 * 1024 * 1024
"""Bytes of the largest string, and elements of the largest list, that a function may build."""

WORK_LIMIT = 256 * 1024 * 1024
"""Bytes of all larger values that one evaluation may build; nothing is given back, so it bounds what can be alive."""

TEMPLATE_DEPTH = 100
"""`template` calls inside each other."""

VALUE_DEPTH = 200
"""Lists and objects inside each other that functions can print, encode or compare."""

_UNLIMITED = float("inf")


class Run:
    """The state of one evaluation that does not change with scopes: output, limits, time."""

    __slots__ = ("_deadline", "_max_bytes", "_parts", "_size", "_timeout", "_worked", "depth", "now")

    def __init__(self, max_bytes: int | None, timeout: float | None, now: Callable[[], int] | None) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._max_bytes: float = max_bytes or _UNLIMITED
        self._timeout = timeout
        self._deadline = monotonic() + timeout if timeout else _UNLIMITED
        self._worked = 0
        self.depth = 0
        self.now = now
        """Nanoseconds since 1970, None when the evaluator is deterministic."""

    def write(self, text: str) -> None:
        """Appends to the output, unless it would grow over the limit or time is up."""
        size = self._size + (len(text) if text.isascii() else byte_length(text))
        if size > self._max_bytes:
            raise FunctionError(
                f"template output exceeds max bytes (current={self._size}, writing={size - self._size}, "
                f"max={self._max_bytes})",
                "outputLimit",
            )
        self._size = size
        self._parts.append(text)
        if monotonic() > self._deadline:
            self.time_out()

    def text(self) -> str:
        """Returns what was written."""
        parts = self._parts
        return parts[0] if len(parts) == 1 else "".join(parts)

    def check_time(self) -> None:
        """Raises when time is up."""
        if monotonic() > self._deadline:
            self.time_out()

    def time_out(self) -> None:
        raise FunctionError(f"template evaluation timed out after {self._timeout:g}s", "timeout")

    def reserve(self, size: int) -> None:
        """Accounts for a value of `size` bytes or elements that is about to be built."""
        self._worked += size
        if size > VALUE_LIMIT or self._worked > WORK_LIMIT:
            raise FunctionError(
                f"a value of {size} bytes is too large (at most {VALUE_LIMIT}, and {WORK_LIMIT} in one evaluation)",
                "outputLimit",
            )
        if monotonic() > self._deadline:
            self.time_out()
