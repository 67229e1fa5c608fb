"""Go durations: the text form of `time.Duration`, exact to the nanosecond (spec api 1.1 "dur").

A duration is an `int` of nanoseconds in the signed 64-bit range, about 292 years either way.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import Final

NANOSECOND: Final = 1
MICROSECOND: Final = 1_000
MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE

_UNITS: Final = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "µs": MICROSECOND,  # U+00B5 micro sign
    "μs": MICROSECOND,  # U+03BC Greek mu
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_MAX: Final = 2**63 - 1
_PART: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")


class DurationError(ValueError):
    """The text is no Go duration; the message says why and shows a right one."""


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> int:
    """Reads a Go duration such as `300ms`, `-1.5h` or `1h30m` as nanoseconds.

    Raises:
        DurationError: no number, no or an unknown unit, or more than 64 bits hold.
    """
    rest = text
    negative = rest[:1] == "-"
    if rest[:1] in ("-", "+"):
        rest = rest[1:]
    if rest == "0":
        return 0
    if not rest:
        raise DurationError(f"{_quoted(text)} is not a duration; write a number and a unit, such as 30s or 1h30m")
    total = position = 0
    while position < len(rest):
        match = _PART.match(rest, position)
        whole, fraction, unit = match.groups() if match else ("", None, "")
        if not whole and not fraction:
            raise DurationError(f"{_quoted(text)} is not a duration; write a number and a unit, such as 30s or 1h30m")
        if not unit:
            raise DurationError(f"{_quoted(text)}: a unit is missing after {whole}; write for example {whole or 1}s")
        scale = _UNITS.get(unit)
        if scale is None:
            hint = "; days are written in hours, 24h" if unit == "d" else ""
            raise DurationError(f"{_quoted(text)}: unknown unit {_quoted(unit)}; known are ns, us, ms, s, m, h{hint}")
        total += int(whole or "0") * scale + _fraction(fraction or "", scale)
        if total > _MAX + 1:
            raise DurationError(f"{_quoted(text)} is longer than a duration can be (about 292 years)")
        assert match is not None
        position = match.end()
    if total > _MAX and not (negative and total == _MAX + 1):
        raise DurationError(f"{_quoted(text)} is longer than a duration can be (about 292 years)")
    return -total if negative else total


def _fraction(digits: str, scale: int) -> int:
    # As Go does it: digits that would overflow 64 bits are dropped, then a float product is cut off.
    value, power = 0, 1.0
    for digit in digits:
        if value > _MAX // 10 or (extended := value * 10 + int(digit)) > _MAX:
            break
        value, power = extended, power * 10
    return int(float(value) * (float(scale) / power))


def format_duration(nanoseconds: int) -> str:
    """Writes nanoseconds as Go does: `5m0s`, `1.5s`, `300ms`, `0s`."""
    if not nanoseconds:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < SECOND:
        for unit, scale in (("ms", MILLISECOND), ("µs", MICROSECOND), ("ns", NANOSECOND)):
            if rest >= scale:
                return f"{sign}{_decimal(rest, scale)}{unit}"
    minutes, seconds = divmod(rest, MINUTE)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(seconds, SECOND)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def _decimal(value: int, scale: int) -> str:
    whole, fraction = divmod(value, scale)
    if not fraction:
        return str(whole)
    digits = str(fraction).rjust(len(str(scale)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"


def to_seconds(text: str) -> float:
    """A Go duration in seconds."""
    return parse_duration(text) / SECOND


def to_timedelta(text: str) -> timedelta:
    """A Go duration as timedelta, cut off to microseconds."""
    nanoseconds = parse_duration(text)
    microseconds = abs(nanoseconds) // MICROSECOND
    return timedelta(microseconds=microseconds if nanoseconds >= 0 else -microseconds)


def from_seconds(seconds: float) -> str:
    """Seconds as a Go duration, rounded to nanoseconds."""
    return format_duration(round(seconds * SECOND))


def from_timedelta(delta: timedelta) -> str:
    """A timedelta as a Go duration, exact."""
    return format_duration((delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds * MICROSECOND)


def _quoted(text: str) -> str:
    return f'"{text}"' if len(text) <= 64 else f'"{text[:61]}..."'
