"""Times on the wire: RFC 3339 text in UTC (spec api 1.1; decision 13: deadlines carry milliseconds)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_FORM = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d+))?([Zz]|[+-]\d{2}:\d{2})")


class TimeError(ValueError):
    """The text is no RFC 3339 time."""


def format_time(moment: datetime) -> str:
    """Seconds, as Kubernetes writes metav1.Time: `2026-01-01T10:00:00Z`."""
    return _utc(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_deadline(moment: datetime) -> str:
    """Milliseconds, for times that are compared with the clock: `2026-01-01T10:00:00.250Z`."""
    utc = _utc(moment)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def format_micro_time(moment: datetime) -> str:
    """Six fractional digits, as Kubernetes writes metav1.MicroTime."""
    return _utc(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Reads any RFC 3339 time as UTC; digits finer than a microsecond are cut off.

    Raises:
        TimeError: not RFC 3339, or no date of the calendar.
    """
    match = _FORM.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        day, clock, fraction, zone = match.groups()
        digits = (fraction or "")[:6].ljust(6, "0")
        offset = "+00:00" if zone in "Zz" else zone
        return datetime.fromisoformat(f"{day}T{clock}.{digits}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise TimeError(f'"{text[:64]}" is not a time; write it as 2026-01-31T12:00:00Z') from None


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time without zone cannot be written; give it tzinfo=UTC")
    return moment.astimezone(UTC)
