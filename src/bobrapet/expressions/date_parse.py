"""Reads a time in the form of a Go layout (Go: time.Parse, in UTC)."""

from __future__ import annotations

import re

from bobrapet.expressions.date_layout import MONTHS, SHORT_MONTHS, SHORT_WEEKDAYS, WEEKDAYS, elements
from bobrapet.expressions.gotime import UTC, ZERO_SECONDS, Time, Zone, days_from_civil


class BadTime(ValueError):
    """A text that does not fit its layout."""


class _Fields:
    """What the elements of a layout have told so far."""

    __slots__ = (
        "afternoon",
        "day",
        "hour",
        "minute",
        "month",
        "nanosecond",
        "offset",
        "second",
        "utc",
        "year",
        "year_day",
        "zone",
    )

    def __init__(self) -> None:
        self.year = self.hour = self.minute = self.second = self.nanosecond = 0
        self.month = self.day = self.year_day = -1
        self.afternoon: bool | None = None
        self.offset: int | None = None
        self.zone = ""
        self.utc = False


def parse_time(layout: str, text: str) -> Time:
    """Returns the time that a text in the form of a layout stands for; raises BadTime."""
    fields = _Fields()
    parts = elements(layout)
    for index, (prefix, element) in enumerate(parts):
        text = _skip(text, prefix)
        if not element:
            if text:
                raise BadTime(f"extra text: {text[:40]!r}")
            break
        following = parts[index + 1][1]
        text = _parse_element(fields, element, text, following)
    return _assemble(fields)


def _skip(text: str, prefix: str) -> str:
    """Removes a literal prefix; runs of spaces count as one."""
    position = 0
    while position < len(prefix):
        character = prefix[position]
        if character == " ":
            if text and text[0] != " ":
                raise BadTime(f"expected a space at {text[:20]!r}")
            text = text.lstrip(" ")
            while position < len(prefix) and prefix[position] == " ":
                position += 1
            continue
        if not text or text[0] != character:
            raise BadTime(f"expected {prefix[position:]!r} at {text[:20]!r}")
        text = text[1:]
        position += 1
    return text


def _number(text: str, most: int, least: int = 1) -> tuple[int, str]:
    """Takes `least` to `most` digits."""
    count = 0
    while count < most and count < len(text) and text[count] in "0123456789":
        count += 1
    if count < least:
        raise BadTime(f"expected a number at {text[:20]!r}")
    return int(text[:count]), text[count:]


def _name(names: tuple[str, ...], text: str) -> tuple[int, str]:
    for index, name in enumerate(names):
        if text[: len(name)].lower() == name.lower() and text[: len(name)].isascii():
            return index, text[len(name) :]
    raise BadTime(f"expected a name at {text[:20]!r}")


def _within(number: int, low: int, high: int, what: str) -> int:
    if not low <= number <= high:
        raise BadTime(f"{what} out of range")
    return number


def _parse_element(fields: _Fields, element: str, text: str, following: str) -> str:
    """Reads one element into `fields` and returns the rest of the text."""
    match element:
        case "2006":
            fields.year, rest = _number(text, 4, 4)
            return rest
        case "06":
            match_year = re.match(r"[0-9]{2}|[-+][0-9]", text)
            if match_year is None:
                raise BadTime(f"expected a year at {text[:20]!r}")
            year = int(match_year.group())
            fields.year = year + (1900 if year >= 69 else 2000)
            return text[2:]
        case "January" | "Jan":
            index, rest = _name(MONTHS if element == "January" else SHORT_MONTHS, text)
            fields.month = index + 1
            return rest
        case "1" | "01":
            month, rest = _number(text, 2, len(element))
            fields.month = _within(month, 1, 12, "month")
            return rest
        case "Monday" | "Mon":
            return _name(WEEKDAYS if element == "Monday" else SHORT_WEEKDAYS, text)[1]
        case "2" | "_2" | "02":
            if element == "_2" and text.startswith(" "):
                text = text[1:]
            fields.day, rest = _number(text, 2, 2 if element == "02" else 1)
            return rest
        case "__2" | "002":
            if element == "__2":
                text = text[1:] if text.startswith(" ") else text
                text = text[1:] if text.startswith(" ") else text
            fields.year_day, rest = _number(text, 3, 3 if element == "002" else 1)
            return rest
        case "15":
            hour, rest = _number(text, 2)
            fields.hour = _within(hour, 0, 23, "hour")
            return rest
        case "3" | "03":
            hour, rest = _number(text, 2, len(element))
            fields.hour = _within(hour, 0, 12, "hour")
            return rest
        case "4" | "04":
            minute, rest = _number(text, 2, len(element))
            fields.minute = _within(minute, 0, 59, "minute")
            return rest
        case "5" | "05":
            second, rest = _number(text, 2, len(element))
            fields.second = _within(second, 0, 59, "second")
            if re.match(r"[.,][0-9]", rest) and following[:1] not in (".", ","):
                # A fraction may follow the seconds although the layout has none.
                return _fraction(fields, rest)
            return rest
        case "PM" | "pm":
            word = text[:2]
            if word not in (("PM", "AM") if element == "PM" else ("pm", "am")):
                raise BadTime(f"expected {element} at {text[:20]!r}")
            fields.afternoon = word.lower() == "pm"
            return text[2:]
        case "MST":
            return _zone_name(fields, text)
    if element[0] in "-Z":
        if element[0] == "Z" and text.startswith("Z"):
            fields.utc = True
            return text[1:]
        return _offset(fields, element, text)
    if element[1] == "9":
        return _fraction(fields, text) if re.match(r"[.,][0-9]", text) else text
    return _fraction(fields, text, len(element) - 1)


def _fraction(fields: _Fields, text: str, digits: int | None = None) -> str:
    """Reads a fraction of a second; all its digits, or exactly `digits`."""
    match = re.match(r"[.,]([0-9]*)" if digits is None else rf"[.,]([0-9]{{{digits}}})", text)
    if match is None:
        raise BadTime(f"expected a fraction of a second at {text[:20]!r}")
    fields.nanosecond = int(match.group(1)[:9].ljust(9, "0"))
    return text[match.end() :]


def _offset(fields: _Fields, element: str, text: str) -> str:
    """Reads a numeric zone offset in the form of the element."""
    pattern = r"([-+])" + re.sub(r"[0-9]{2}", "([0-9]{2})", element[1:])
    match = re.match(pattern, text)
    if match is None:
        raise BadTime(f"expected a zone offset at {text[:20]!r}")
    sign, *numbers = match.groups()
    hours, minutes, seconds = [*map(int, numbers), 0, 0][:3]
    _within(hours, 0, 24, "time zone offset hour")
    _within(minutes, 0, 60, "time zone offset minute")
    _within(seconds, 0, 60, "time zone offset second")
    offset = (hours * 60 + minutes) * 60 + seconds
    fields.offset = -offset if sign == "-" else offset
    return text[match.end() :]


_ZONE_NAME = re.compile(
    r"ChST|MeST|GMT(?:[-+](?:0*(?:[01]?[0-9]|2[0-3]))(?![0-9]))?|[-+]0*(?:[01]?[0-9]|2[0-3])(?![0-9])"
    r"|[A-Z]{4}T(?![A-Z])|(?:[A-Z]{3}T|WITA)(?![A-Z])|[A-Z]{3}(?![A-Z])"
)


def _zone_name(fields: _Fields, text: str) -> str:
    if text.startswith("UTC"):
        fields.utc = True
        return text[3:]
    match = _ZONE_NAME.match(text)
    if match is None:
        raise BadTime(f"expected a zone at {text[:20]!r}")
    fields.zone = match.group()
    return text[match.end() :]


_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _assemble(fields: _Fields) -> Time:
    """Checks that the fields make a date, and builds the instant."""
    hour = fields.hour
    if fields.afternoon and hour < 12:
        hour += 12
    elif fields.afternoon is False and hour == 12:
        hour = 0
    leap = _is_leap(fields.year)
    if fields.year_day >= 0:
        _within(fields.year_day, 1, 365 + leap, "day-of-year")
        rest, month = fields.year_day, 1
        while rest > _LENGTHS[month - 1] + (leap and month == 2):
            rest -= _LENGTHS[month - 1] + (leap and month == 2)
            month += 1
        if fields.month not in (-1, month) or fields.day not in (-1, rest):
            raise BadTime("day-of-year does not match month and day")
        fields.month, fields.day = month, rest
    month = 1 if fields.month < 0 else fields.month
    day = 1 if fields.day < 0 else fields.day
    _within(day, 1, _LENGTHS[month - 1] + (leap and month == 2), "day")
    local = days_from_civil(fields.year, month, day) * 86_400 + hour * 3600 + fields.minute * 60 + fields.second
    if fields.utc:
        return Time(local, fields.nanosecond, UTC)
    if fields.offset is not None:
        if fields.offset == 0 and fields.zone in ("", "UTC"):
            return Time(local, fields.nanosecond, UTC)
        return Time(local - fields.offset, fields.nanosecond, Zone(fields.zone, fields.offset))
    if fields.zone:
        hours = fields.zone[3:] if fields.zone.startswith("GMT") else ""
        offset = int(hours) * 3600 if hours else 0
        return Time(local - offset, fields.nanosecond, Zone(fields.zone, offset))
    return Time(local, fields.nanosecond, UTC)


ZERO = Time(ZERO_SECONDS)
"""Go's zero time, which a failed parse leaves behind."""
