"""Parts of timestamps and durations."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from bobrapet.local.apiserver.cel.errors import EvaluationError
from bobrapet.local.apiserver.cel.functions import Functions
from bobrapet.local.apiserver.cel.types import DURATION, INT, STRING, TIMESTAMP
from bobrapet.local.apiserver.cel.values import Duration, Timestamp

_PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda t: t.year,
    "getMonth": lambda t: t.month - 1,
    "getDate": lambda t: t.day,
    "getDayOfMonth": lambda t: t.day - 1,
    "getDayOfWeek": lambda t: t.isoweekday() % 7,
    "getDayOfYear": lambda t: t.timetuple().tm_yday - 1,
    "getHours": lambda t: t.hour,
    "getMinutes": lambda t: t.minute,
    "getSeconds": lambda t: t.second,
    "getMilliseconds": lambda t: t.microsecond // 1000,
}
_UNITS = {
    "getHours": 3_600_000_000_000,
    "getMinutes": 60_000_000_000,
    "getSeconds": 1_000_000_000,
    "getMilliseconds": 1_000_000,
}
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)")


def declare(functions: Functions) -> None:
    """Adds this family."""
    for name, part in _PARTS.items():
        call = _part(part)
        functions.method(name, f"timestamp_{name}", (TIMESTAMP,), INT, call)
        functions.method(name, f"timestamp_{name}_with_tz", (TIMESTAMP, STRING), INT, call)
    for name, unit in _UNITS.items():
        functions.method(name, f"duration_{name}", (DURATION,), INT, _whole(unit))


def _part(part: Callable[[datetime], int]) -> Callable[..., int]:
    def call(moment: Timestamp, zone: str = "") -> int:
        return part(moment.moment(_zone(zone) if zone else UTC))

    return call


def _whole(unit: int) -> Callable[[Duration], int]:
    return lambda d: abs(d.nanoseconds) // unit * (-1 if d.nanoseconds < 0 else 1)


def _zone(name: str) -> tzinfo:
    if match := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise EvaluationError(f"unknown time zone {name}") from None
