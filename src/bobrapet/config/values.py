"""How the text of one configuration key is read. Each function makes a reader that returns the value or refuses it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

from bobrapet.api import duration as go_duration
from bobrapet.api.wire import QUANTITY_PATTERN


class ValueRefused(ValueError):
    """The text is no such value; the default stays in place."""


class KeyRefused(ValueRefused):
    """The text is so wrong that the whole configuration must not be used."""


def text(value: str) -> str:
    return value.strip()


def boolean(value: str) -> bool:
    """Exactly `true` is true, everything else is false (B1)."""
    return value == "true"


def integer(
    *,
    at_least: int | None = None,
    at_most: int | None = None,
    clamp: int | None = None,
    fatal: bool = False,
    lenient_below: int | None = None,
) -> Callable[[str], int]:
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
            raise refusal(f"{number} is not {_bounds(at_least, at_most)}")
        return number

    return read


def duration(
    *,
    at_least: timedelta | None = None,
    at_most: timedelta | None = None,
    more_than: timedelta | None = None,
    off: bool = False,
    fatal: bool = False,
    lenient_below: timedelta | None = None,
) -> Callable[[str], timedelta]:
    """Reads a Go duration within bounds.

    Args:
        off: zero is accepted besides, and turns the matter off.
        fatal: a duration out of bounds refuses the configuration, unless it is below `lenient_below`.
    """

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
            low = _text(at_least) if at_least is not None else None
            high = _text(at_most) if at_most is not None else None
            bounds = _bounds(low, high) if low or high else f"more than {_text(more_than or timedelta(0))}"
            raise _refusal(fatal and not lenient)(f"{_text(span)} is not {bounds}{' or 0' if off else ''}")
        return span

    return read


def choice(*values: str, fatal: bool = False) -> Callable[[str], str]:
    """Reads one of `values`."""

    def read(value: str) -> str:
        if (word := value.strip()) in values:
            return word
        raise _refusal(fatal)(f'"{value}" is none of {", ".join(word or "(empty)" for word in values)}')

    return read


def names(*, default: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """Reads a comma-separated list of words in upper case; an empty list is `default`."""

    def read(value: str) -> tuple[str, ...]:
        words = tuple(word for part in value.split(",") if (word := part.strip().upper()))
        return words or default

    return read


def quantity(value: str) -> str:
    """Reads a Kubernetes quantity and keeps its text."""
    if not re.fullmatch(QUANTITY_PATTERN, word := value.strip()):
        raise ValueRefused(f'"{value}" is no quantity; write for example 500m, 1.5 or 512Mi')
    return word


def _refusal(fatal: bool) -> type[ValueRefused]:
    return KeyRefused if fatal else ValueRefused


_text = go_duration.from_timedelta


def _bounds(low: object, high: object) -> str:
    if low is not None and high is not None:
        return f"between {low} and {high}"
    return f"at least {low}" if low is not None else f"at most {high}"
