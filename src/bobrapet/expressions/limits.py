"""One evaluation: the text that it has written, and what it may still use.

Every loop and every function whose cost is not bounded by the length of the template asks here, so that a hostile
template or hostile data stops at a limit and not at the end of memory or patience.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from heapq import merge
from time import monotonic
from typing import TypeVar

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.text import byte_length

MEBIBYTE = 1024 * 1024

LARGEST_VALUE = 64 * MEBIBYTE
"""Bytes of the largest value that a function may build when the output has no limit."""

SMALLEST_LIMIT = 4 * MEBIBYTE
"""A limited output limits the values on the way to it to sixteen times as much, but not to less than this."""

WORK_FACTOR = 16
"""How many of the largest values one evaluation may build or hold in all; nothing is given back."""

ELEMENT_SIZE = 16
"""Bytes that an element of a list or object counts for, besides its own."""

STRIDE = 1024
"""Elements that a loop handles between two looks at the clock."""

TEMPLATE_DEPTH = 100
"""`template` calls inside each other."""

VALUE_DEPTH = 200
"""Lists and objects inside each other that functions can print, encode or compare."""

T = TypeVar("T")

_UNLIMITED = float("inf")


def never() -> None:
    """A look at the clock where there is no clock: short texts are read in no time."""


class Run:
    """The state of one evaluation that does not change with scopes: output, limits, time."""

    __slots__ = ("_deadline", "_max_bytes", "_parts", "_size", "_timeout", "_value_limit", "_worked", "depth", "now")

    def __init__(
        self,
        max_bytes: int | None = None,
        timeout: float | None = None,
        now: Callable[[], int] | None = None,
        deadline: float | None = None,
    ) -> None:
        """`deadline`, on the monotonic clock, replaces the one that `timeout` would give from now on."""
        self._parts: list[str] = []
        self._size = 0
        self._max_bytes: float = max_bytes or _UNLIMITED
        self._timeout = timeout
        self._deadline = deadline or (monotonic() + timeout if timeout else _UNLIMITED)
        self._value_limit = max(16 * max_bytes, SMALLEST_LIMIT) if max_bytes else LARGEST_VALUE
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
            self._time_out()

    def text(self) -> str:
        """Returns what was written."""
        parts = self._parts
        return parts[0] if len(parts) == 1 else "".join(parts)

    def check_time(self) -> None:
        """Raises when time is up."""
        if monotonic() > self._deadline:
            self._time_out()

    def _time_out(self) -> None:
        raise FunctionError(f"template evaluation timed out after {self._timeout or 0:g}s", "timeout")

    def reserve(self, size: int) -> None:
        """Accounts for a value of `size` bytes that is about to be built."""
        if size > self._value_limit:
            raise FunctionError(
                f"would build a value of {size} bytes; at most {self._value_limit} are allowed", "outputLimit"
            )
        self.hold(size)

    def hold(self, size: int) -> None:
        """Accounts for a value that stays in memory, in a variable or an argument list."""
        self._worked += size
        if self._worked > WORK_FACTOR * self._value_limit:
            raise FunctionError(f"all values together exceed {WORK_FACTOR * self._value_limit} bytes", "outputLimit")
        if monotonic() > self._deadline:
            self._time_out()

    def reserve_elements(self, count: int) -> None:
        """Accounts for a list or object with `count` elements that is about to be built."""
        self.reserve(ELEMENT_SIZE * count)

    def paced(self, elements: Iterable[T]) -> Iterator[T]:
        """Goes through many elements with a look at the clock now and then."""
        for number, element in enumerate(elements):
            if number % STRIDE == STRIDE - 1:
                self.check_time()
            yield element

    def sorted(self, texts: Collection[str]) -> list[str]:
        """Sorts texts; many of them in portions, because a sort cannot be interrupted."""
        if len(texts) <= 16 * STRIDE:
            return sorted(texts)
        rest = list(texts)
        portions: list[list[str]] = []
        for start in range(0, len(rest), 16 * STRIDE):
            self.check_time()
            portions.append(sorted(rest[start : start + 16 * STRIDE]))
        return list(self.paced(merge(*portions)))
