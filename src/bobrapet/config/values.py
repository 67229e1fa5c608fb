"""How the text of one configuration key is read: readers return the value or refuse it, and say their rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Generic, TypeVar

from bobrapet.api import duration as go_duration
from bobrapet.api.wire import QUANTITY_PATTERN


class ValueRefused(ValueError):
    """The text is no such value; the default stays in place."""


class KeyRefused(ValueRefused):
    """The text is so wrong that the whole configuration must not be used."""


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reader(Generic[_T]):
    """Reads the text of a key. Raises `ValueRefused`."""

    rule: str
    """What the text must be, for people: `a whole number, at least 1`."""

    read: Callable[[str], _T]
    doubt: Callable[[str], str | None] = lambda _: None
    """What is odd about a text that is read all the same."""

    def __call__(self, value: str) -> _T:
        return self.read(value)


text: Final = Reader("text", str.strip)


def _doubtful_boolean(value: str) -> str | None:
    return None if value in ("true", "false") else f'"{value}" is read as false; write exactly true or false'


boolean: Final = Reader("true or false", lambda value: value == "true", _doubtful_boolean)
"""Exactly `true` is true, everything else is false (B1)."""


def integer(
    *,
    at_least: int | None = None,
    at_most: int | None = None,
    clamp: int | None = None,
    fatal: bool = False,
    lenient_below: int | None = None,
) -> Reader[int]:
    """Reads a decimal number within bounds.

    Args:
        clamp: a larger number becomes this one.
        fatal: a number out of bounds refuses the configuration, unless it is below `lenient_below`.
    """

    def read(value: str) -> int:
        try:
            number = int(value.strip(), 10)
        except ValueError:
            raise ValueRefused(f'"{value}" is no whole number') from None
        if clamp is not None:
            number = min(number, clamp)
        if (at_least is not None and number < at_least) or (at_most is not None and number > at_most):
            refusal = (
                KeyRefused if fatal and not (lenient_below is not None and number < lenient_below) else ValueRefused
            )
            raise refusal(f"{number} is out of bounds")
        return number

    bounds = _bounds(at_least, at_most) if at_least is not None or at_most is not None else ""
    largest = f"more than {clamp} means {clamp}" if clamp is not None else ""
    return Reader(", ".join(filter(None, ("a whole number", bounds, largest))), read)


def duration(
    *,
    at_least: timedelta | None = None,
    at_most: timedelta | None = None,
    more_than: timedelta | None = None,
    off: bool = False,
    fatal: bool = False,
    lenient_below: timedelta | None = None,
) -> Reader[timedelta]:
    """Reads a Go duration within bounds.

    Args:
        off: zero is accepted besides, and turns the matter off.
        fatal: a duration out of bounds refuses the configuration, unless it is below `lenient_below`.
    """

    low = _text(at_least) if at_least is not None else None
    high = _text(at_most) if at_most is not None else None
    bounds = _bounds(low, high) if low or high else f"more than {_text(more_than or timedelta(0))}"
    if off:
        bounds += " or 0"

    def read(value: str) -> timedelta:
        try:
            span = go_duration.to_timedelta(value.strip())
        except go_duration.DurationError as error:
            raise ValueRefused(str(error)) from error
        if off and not span:
            return span
        if (
            (at_least is not None and span < at_least)
            or (at_most is not None and span > at_most)
            or (more_than is not None and span <= more_than)
        ):
            lenient = lenient_below is not None and span < lenient_below
            raise _refusal(fatal and not lenient)(f"{_text(span)} is out of bounds")
        return span

    return Reader(f"a Go duration such as 30s, {bounds}", read)


def choice(*values: str, fatal: bool = False) -> Reader[str]:
    """Reads one of `values`."""

    def read(value: str) -> str:
        if (word := value.strip()) in values:
            return word
        raise _refusal(fatal)(f'"{value}" is no choice')

    words = ", ".join(word or "(empty)" for word in values)
    return Reader(f"one of {words}", read)


def names(*, default: tuple[str, ...]) -> Reader[tuple[str, ...]]:
    """Reads a comma-separated list of words in upper case; an empty list is `default`."""

    def read(value: str) -> tuple[str, ...]:
        words = tuple(word for part in value.split(",") if (word := part.strip().upper()))
        return words or default

    return Reader(f"words separated by commas; none: {', '.join(default)}", read)


def _quantity(value: str) -> str:
    if not re.fullmatch(QUANTITY_PATTERN, word := value.strip()):
        raise ValueRefused(f'"{value}" is no quantity; write for example 500m, 1.5 or 512Mi')
    return word


quantity: Final = Reader("a Kubernetes quantity such as 500m or 512Mi", _quantity)
"""Keeps the text as it is written."""


def _refusal(fatal: bool) -> type[ValueRefused]:
    return KeyRefused if fatal else ValueRefused


_text = go_duration.from_timedelta


def _bounds(low: object, high: object) -> str:
    if low is not None and high is not None:
        return f"between {low} and {high}"
    return f"at least {low}" if low is not None else f"at most {high}"
