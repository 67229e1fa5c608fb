"""Go's reference layouts: a date is described by how Mon Jan 2 15:04:05 MST 2006 would look."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

_ELEMENT = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|002|0[1-6]|15|1|2006|2|__2|_2(?!006)|3|4|5|PM|pm"
    r"|-07:00:00|-070000|-07:00|-0700|-07|Z07:00:00|Z070000|Z07:00|Z0700|Z07|[.,](?:0+|9+)(?![0-9])"
)
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
SHORT_MONTHS = tuple(name[:3] for name in MONTHS)
SHORT_WEEKDAYS = tuple(name[:3] for name in WEEKDAYS)


class Moment(Protocol):
    """What the layout of a time needs to know about it."""

    @property
    def date(self) -> tuple[int, int, int]: ...
    @property
    def clock(self) -> tuple[int, int, int]: ...
    @property
    def nanosecond(self) -> int: ...
    @property
    def weekday(self) -> int: ...
    @property
    def year_day(self) -> int: ...
    @property
    def offset(self) -> tuple[int, str]: ...


@lru_cache(256)
def elements(layout: str) -> tuple[tuple[str, str], ...]:
    """Splits a layout into pairs of the text before an element and the element; the last element is empty."""
    pairs: list[tuple[str, str]] = []
    position = 0
    for match in _ELEMENT.finditer(layout):
        pairs.append((layout[position : match.start()], match.group()))
        position = match.end()
    pairs.append((layout[position:], ""))
    return tuple(pairs)


def format_time(time: Moment, layout: str) -> str:
    """Returns the time in the form of a layout."""
    parts: list[str] = []
    date, clock = time.date, time.clock
    for prefix, element in elements(layout):
        parts.append(prefix)
        if element:
            parts.append(_format_element(time, element, date, clock))
    return "".join(parts)


def _format_element(time: Moment, element: str, date: tuple[int, int, int], clock: tuple[int, int, int]) -> str:
    year, month, day = date
    hour, minute, second = clock
    match element:
        case "2006":
            return _padded(year, 4)
        case "06":
            return f"{abs(year) % 100:02d}"
        case "January":
            return MONTHS[month - 1]
        case "Jan":
            return SHORT_MONTHS[month - 1]
        case "1":
            return str(month)
        case "01":
            return f"{month:02d}"
        case "Monday":
            return WEEKDAYS[time.weekday]
        case "Mon":
            return SHORT_WEEKDAYS[time.weekday]
        case "2":
            return str(day)
        case "_2":
            return f"{day:2d}"
        case "02":
            return f"{day:02d}"
        case "__2":
            return f"{time.year_day:3d}"
        case "002":
            return f"{time.year_day:03d}"
        case "15":
            return f"{hour:02d}"
        case "3":
            return str(hour % 12 or 12)
        case "03":
            return f"{hour % 12 or 12:02d}"
        case "4":
            return str(minute)
        case "04":
            return f"{minute:02d}"
        case "5":
            return str(second)
        case "05":
            return f"{second:02d}"
        case "PM":
            return "PM" if hour >= 12 else "AM"
        case "pm":
            return "pm" if hour >= 12 else "am"
        case "MST":
            offset, name = time.offset
            return name or _format_offset(offset, "-0700")
    if element[0] in "-Z":
        offset = time.offset[0]
        return "Z" if element[0] == "Z" and offset == 0 else _format_offset(offset, element)
    digits = f"{time.nanosecond:09d}"
    count = len(element) - 1
    if element[1] == "0":
        return element[0] + digits[:count].ljust(count, "0")
    kept = digits[:count].rstrip("0")
    return element[0] + kept if kept else ""


def _padded(number: int, width: int) -> str:
    return f"-{-number:0{width}d}" if number < 0 else f"{number:0{width}d}"


def _format_offset(offset: int, element: str) -> str:
    sign = "-" if offset < 0 else "+"
    minutes, seconds = divmod(abs(offset), 60)
    hours, minutes = divmod(minutes, 60)
    colon = ":" if ":" in element else ""
    text = f"{sign}{hours:02d}"
    if len(element) > 3:
        text += f"{colon}{minutes:02d}"
    if len(element.replace(":", "")) > 5:
        text += f"{colon}{seconds:02d}"
    return text
