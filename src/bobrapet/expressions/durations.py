"""Go's time.Duration as text: `1h30m`, in nanoseconds."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]+)")
_LIMIT = 2**63


def parse_duration(text: str) -> int | None:
    """Returns the nanoseconds of a Go duration such as `-1.5h` or `2m3s`; None if it is not one."""
    negative = text.startswith("-")
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0
    total = position = 0
    while position < len(body):
        match = _PART.match(body, position)
        if match is None:
            return None
        whole, fraction, unit_name = match.groups()
        unit = _UNITS.get(unit_name)
        if unit is None or not (whole or fraction) or len(whole) > 400:
            return None
        amount = int(whole or 0) * unit
        if amount > _LIMIT:
            return None
        total += amount + _fraction(fraction or "", unit)
        if total > _LIMIT:
            return None
        position = match.end()
    if not body or (total == _LIMIT and not negative):
        return None
    return -total if negative else total


def _fraction(digits: str, unit: int) -> int:
    """The part after the point, cut to nanoseconds; digits that an int64 cannot hold do not count."""
    kept = digits[:18]
    if not kept:
        return 0
    return int(float(int(kept)) * (float(unit) / float(10 ** len(kept))))


def format_duration(nanoseconds: int) -> str:
    """Returns the text of a duration as Go prints it: `1h30m0s`, `1.5s`, `20ms`."""
    if nanoseconds == 0:
        return "0s"
    sign = "-" if nanoseconds < 0 else ""
    rest = abs(nanoseconds)
    if rest < 1_000_000_000:
        for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
            if rest < size * 1000:
                return f"{sign}{_decimal(rest, size)}{unit}"
    seconds, fraction = divmod(rest, 1_000_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = _decimal(seconds * 1_000_000_000 + fraction, 1_000_000_000) + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else sign + text


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    digits = str(size)[1:]
    fraction = str(rest).rjust(len(digits), "0").rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
