"""Sprig's dates. The process zone is UTC (spec expressions 6.6)."""

from __future__ import annotations

import re
from typing import Any

from bobrapet.expressions.date_layout import format_time
from bobrapet.expressions.date_parse import ZERO, BadTime, parse_time
from bobrapet.expressions.durations import format_duration, parse_duration
from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.gotime import NANOSECONDS, Time, load_zone
from bobrapet.expressions.limits import Run
from bobrapet.expressions.values import MAX_INT64, MIN_INT64, Int, Int64, type_name, wrap_int64

DATES = Library()
LONGEST_TEXT = 4096
"""Characters of a layout or of a date in text; nothing sensible comes near it."""

CLOCK = Library()
"""What only an evaluator with a clock has."""


@CLOCK.add("now", "", takes_run=True)
def now(run: Run) -> Time:
    return _current(run)


def _current(run: Run) -> Time:
    if run.now is None:
        raise FunctionError("there is no current time in deterministic evaluation; pass a time or an int")
    return Time.at(run.now())


@DATES.add("toDate", "ss")
def to_date(layout: str, text: str) -> Time:
    try:
        return parse_time(_short(layout, "layout"), _short(text, "date"))
    except BadTime:
        return ZERO


@DATES.add("mustToDate", "ss")
def must_to_date(layout: str, text: str) -> Time:
    try:
        return parse_time(_short(layout, "layout"), _short(text, "date"))
    except BadTime as problem:
        raise FunctionError(f"cannot read “{text[:40]}” as “{layout[:40]}”: {problem}") from None


def _short(text: str, what: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise FunctionError(f"a {what} of {len(text)} characters is too long (at most {LONGEST_TEXT})")
    return text


def _time_of(run: Run, value: Any) -> Time:
    """A time, or an int or int64 in seconds since 1970; anything else means now."""
    if isinstance(value, Time):
        return value
    if type(value) is Int or type(value) is Int64:
        return Time(int(value))
    if run.now is None:
        raise FunctionError(f"wants a time or an int in deterministic evaluation, got {type_name(value)}")
    return _current(run)


@DATES.add("dateInZone date_in_zone", "sas", takes_run=True)
def date_in_zone(run: Run, layout: str, value: Any, zone: str) -> str:
    return format_time(_time_of(run, value).inside(load_zone(_short(zone, "zone"))), _short(layout, "layout"))


@DATES.add("date", "sa", takes_run=True)
def date(run: Run, layout: str, value: Any) -> str:
    return date_in_zone(run, layout, value, "UTC")


@DATES.add("htmlDate", "a", takes_run=True)
def html_date(run: Run, value: Any) -> str:
    return date_in_zone(run, "2006-01-02", value, "UTC")


@DATES.add("htmlDateInZone", "as", takes_run=True)
def html_date_in_zone(run: Run, value: Any, zone: str) -> str:
    return date_in_zone(run, "2006-01-02", value, zone)


@DATES.add("dateModify date_modify", "st")
def date_modify(duration: str, time: Time) -> Time:
    nanoseconds = parse_duration(_short(duration, "duration"))
    return time if nanoseconds is None else time.moved(nanoseconds)


@DATES.add("mustDateModify must_date_modify", "st")
def must_date_modify(duration: str, time: Time) -> Time:
    nanoseconds = parse_duration(_short(duration, "duration"))
    if nanoseconds is None:
        raise FunctionError(f"“{duration[:40]}” is not a duration; write 36h, 90m or 1h30m")
    return time.moved(nanoseconds)


@DATES.add("unixEpoch", "t")
def unix_epoch(time: Time) -> str:
    return str(time.seconds)


@DATES.add("duration", "a")
def duration(value: Any) -> str:
    seconds = 0
    if type(value) is Int64:
        seconds = int(value)
    elif isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,400}", value):
        # strconv.ParseInt stops at the nearest int64 when a number is too large.
        seconds = min(max(int(value), MIN_INT64), MAX_INT64)
    return format_duration(int(wrap_int64(seconds * NANOSECONDS)))


_UNITS = (("y", 8760), ("mo", 720), ("d", 24), ("h", 1))


@DATES.add("durationRound", "a", takes_run=True)
def duration_round(run: Run, value: Any) -> str:
    """The largest unit that fits more than once."""
    nanoseconds = 0
    if isinstance(value, str):
        nanoseconds = parse_duration(_short(value, "duration")) or 0
    elif type(value) is Int64:
        nanoseconds = int(value)
    elif isinstance(value, Time):
        current = _current(run)
        elapsed = (current.seconds - value.seconds) * NANOSECONDS + current.nanosecond - value.nanosecond
        nanoseconds = min(max(elapsed, MIN_INT64), MAX_INT64)
    rest = abs(nanoseconds)
    for unit, hours in _UNITS:
        size = hours * 3600 * NANOSECONDS
        if rest > size:
            return f"{rest // size}{unit}"
    for unit, seconds in (("m", 60), ("s", 1)):
        if rest > seconds * NANOSECONDS:
            return f"{rest // (seconds * NANOSECONDS)}{unit}"
    return "0s"
