"""Go's time.Time: an instant of any year, to the nanosecond, in a time zone."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import zoneinfo

from bobrapet.expressions.date_layout import MONTHS, WEEKDAYS, format_time
from bobrapet.expressions.function import Function
from bobrapet.expressions.values import Int, Int64, Opaque, wrap_int64

NANOSECONDS = 1_000_000_000
_DAY = 86_400
_EPOCH_DAYS = 719_468
"""Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar."""

ZERO_SECONDS = -62_135_596_800
"""The year 1, where Go's zero time lies."""

_FIRST = -62_135_510_400
_LAST = 253_402_214_400
"""Seconds between which Python's time zone data can be asked, a day inside the years 1 and 9999."""


class Month(Int, Opaque):
    """Go's time.Month: an int that prints as a name."""

    __slots__ = ()
    go_type = "time.Month"
    go_kind = "int"

    def __str__(self) -> str:
        return MONTHS[self - 1]

    def truth(self) -> bool:
        return True


class Weekday(Int, Opaque):
    """Go's time.Weekday: an int that prints as a name; Sunday is 0, and so is not true."""

    __slots__ = ()
    go_type = "time.Weekday"
    go_kind = "int"

    def __str__(self) -> str:
        return WEEKDAYS[self]

    def truth(self) -> bool:
        return int(self) != 0


class Zone:
    """A time zone: a fixed offset, or one with rules from the time zone database."""

    __slots__ = ("_name", "_offset", "_rules")

    def __init__(self, name: str, offset: int = 0, rules: zoneinfo.ZoneInfo | None = None) -> None:
        self._name = name
        self._offset = offset
        self._rules = rules

    def at(self, seconds: int) -> tuple[int, str]:
        """Returns the offset from UTC in seconds, and the abbreviation, at a moment."""
        if self._rules is None:
            return self._offset, self._name
        import datetime

        moment = datetime.datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), self._rules)
        offset = moment.utcoffset() or datetime.timedelta()
        name = moment.tzname() or ""
        return round(offset.total_seconds()), name


UTC = Zone("UTC")


@lru_cache(256)
def load_zone(name: str) -> Zone:
    """Returns the zone with an IANA name; the process zone is UTC, and so is a zone that nobody knows."""
    if name in ("", "UTC", "Local"):
        return UTC
    import zoneinfo  # together with its data slow to load, and few templates name a zone

    try:
        return Zone(name, rules=zoneinfo.ZoneInfo(name))
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return UTC


def days_from_civil(year: int, month: int, day: int) -> int:
    """Returns the days from 1970-01-01 to a date; `day` may lie outside the month."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - _EPOCH_DAYS


def civil_from_days(days: int) -> tuple[int, int, int]:
    """Returns year, month and day of a number of days from 1970-01-01."""
    era, day_of_era = divmod(days + _EPOCH_DAYS, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year_of_era + era * 400 + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1


_METHODS: dict[str, Function] = {}


class Time(Opaque):
    """An instant with a zone."""

    __slots__ = ("nanosecond", "seconds", "zone")
    go_type = "time.Time"
    go_kind = "struct"
    members = _METHODS

    def __init__(self, seconds: int, nanosecond: int = 0, zone: Zone = UTC) -> None:
        self.seconds = seconds
        self.nanosecond = nanosecond
        self.zone = zone

    @classmethod
    def at(cls, nanoseconds: int) -> Time:
        """The instant that many nanoseconds after 1970."""
        return cls(*divmod(nanoseconds, NANOSECONDS))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Time)
            and (self.seconds, self.nanosecond) == (other.seconds, other.nanosecond)
            and self.zone is other.zone
        )

    def __hash__(self) -> int:
        return hash((self.seconds, self.nanosecond))

    def __str__(self) -> str:
        return format_time(self, "2006-01-02 15:04:05.999999999 -0700 MST")

    def json(self) -> str | None:
        return format_time(self, "2006-01-02T15:04:05.999999999Z07:00") if 0 <= self.date[0] <= 9999 else None

    def truth(self) -> bool:
        return True

    def moved(self, nanoseconds: int) -> Time:
        """The instant that much later."""
        carry, nanosecond = divmod(self.nanosecond + nanoseconds, NANOSECONDS)
        return Time(self.seconds + carry, nanosecond, self.zone)

    def inside(self, zone: Zone) -> Time:
        """The same instant in another zone."""
        return Time(self.seconds, self.nanosecond, zone)

    @property
    def offset(self) -> tuple[int, str]:
        return self.zone.at(self.seconds)

    @property
    def date(self) -> tuple[int, int, int]:
        """Year, month and day."""
        return civil_from_days((self.seconds + self.offset[0]) // _DAY)

    @property
    def clock(self) -> tuple[int, int, int]:
        """Hour, minute and second."""
        minutes, second = divmod((self.seconds + self.offset[0]) % _DAY, 60)
        return (*divmod(minutes, 60), second)

    @property
    def weekday(self) -> int:
        return ((self.seconds + self.offset[0]) // _DAY + 4) % 7

    @property
    def year_day(self) -> int:
        days = (self.seconds + self.offset[0]) // _DAY
        return days - days_from_civil(self.date[0], 1, 1) + 1


def _add_date(time: Time, years: int, months: int, days: int) -> Time:
    """Adds to the calendar fields; a day that a month lacks runs over into the next."""
    year, month, day = time.date
    month += months - 1
    offset = time.offset[0]
    moved = days_from_civil(year + years + month // 12, month % 12 + 1, 1) + day - 1 + days
    local = moved * _DAY + (time.seconds + offset) % _DAY
    guess = local - offset
    return Time(local - time.zone.at(guess)[0], time.nanosecond, time.zone)


def _compare(left: Time, right: Time) -> int:
    first, second = (left.seconds, left.nanosecond), (right.seconds, right.nanosecond)
    return (first > second) - (first < second)


def _formatted(time: Time, layout: str) -> str:
    return format_time(time, layout[:4096])


def _member(name: str, signature: str, call: Any) -> None:
    _METHODS[name] = Function(name, signature, call, False)


_member("Year", "", lambda time: Int(time.date[0]))
_member("Month", "", lambda time: Month(time.date[1]))
_member("Day", "", lambda time: Int(time.date[2]))
_member("Hour", "", lambda time: Int(time.clock[0]))
_member("Minute", "", lambda time: Int(time.clock[1]))
_member("Second", "", lambda time: Int(time.clock[2]))
_member("Nanosecond", "", lambda time: Int(time.nanosecond))
_member("Weekday", "", lambda time: Weekday(time.weekday))
_member("YearDay", "", lambda time: Int(time.year_day))
_member("Unix", "", lambda time: Int64(time.seconds))
_member("UnixMilli", "", lambda time: Int64(time.seconds * 1000 + time.nanosecond // 1_000_000))
_member("UnixMicro", "", lambda time: wrap_int64(time.seconds * 1_000_000 + time.nanosecond // 1000))
_member("UnixNano", "", lambda time: wrap_int64(time.seconds * NANOSECONDS + time.nanosecond))
_member("IsZero", "", lambda time: time.seconds == ZERO_SECONDS and time.nanosecond == 0)
_member("UTC", "", lambda time: time.inside(UTC))
_member("String", "", str)
_member("Format", "s", _formatted)
_member("AddDate", "iii", _add_date)
_member("Before", "t", lambda time, other: _compare(time, other) < 0)
_member("After", "t", lambda time, other: _compare(time, other) > 0)
_member("Equal", "t", lambda time, other: _compare(time, other) == 0)
_member("Compare", "t", lambda time, other: Int(_compare(time, other)))
