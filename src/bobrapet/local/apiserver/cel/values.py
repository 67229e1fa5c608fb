"""The values of expressions, and what equality, order and size mean for them.

A JSON value is its own CEL value: null, booleans, integers, floats, strings, lists and dicts are what Python decodes.
The classes here are the rest. Python's `True == 1` and `1 == 1.0` are not what CEL means everywhere, so nothing but
`equal` compares.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import SplitResult

from bobrapet.local.apiserver.cel import types
from bobrapet.local.apiserver.cel.errors import EvaluationError, no_such_overload
from bobrapet.local.apiserver.cel.types import Type

INT_MAX: Final = 2**63 - 1
INT_MIN: Final = -(2**63)
UINT_MAX: Final = 2**64 - 1
_SECOND = 1_000_000_000


class UInt(int):
    """An unsigned integer of 64 bits."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment; nanoseconds since 1970 UTC."""

    nanoseconds: int

    def moment(self, zone: Any = UTC) -> datetime:
        """The moment in a time zone, in microseconds."""
        return (_EPOCH + timedelta(microseconds=self.nanoseconds // 1000)).astimezone(zone)

    def __str__(self) -> str:
        text = self.moment().strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        return text + _fraction(self.nanoseconds % _SECOND) + "Z"


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in nanoseconds."""

    nanoseconds: int

    def __str__(self) -> str:
        sign = "-" if self.nanoseconds < 0 else ""
        return f"{sign}{abs(self.nanoseconds) // _SECOND}{_fraction(abs(self.nanoseconds) % _SECOND)}s"


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be absent."""

    value: Any = None
    present: bool = True


NONE = Optional(present=False)


class SetList(list[Any]):
    """A list of `x-kubernetes-list-type: set`: order does not matter, `+` unites."""

    __slots__ = ()


class KeyedList(list[Any]):
    """A list of `x-kubernetes-list-type: map`: entries are found by keys, `+` replaces those of the same key."""

    __slots__ = ("keys",)

    def __init__(self, items: Iterable[Any], keys: Sequence[str]) -> None:
        super().__init__(items)
        self.keys = tuple(keys)

    def identity(self, item: Any) -> tuple[Any, ...]:
        """What tells an entry apart."""
        return tuple(hashable(item.get(key)) for key in self.keys)


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address."""

    value: ipaddress.IPv4Address | ipaddress.IPv6Address

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Network:
    """A CIDR with the address as it was written."""

    value: ipaddress.IPv4Interface | ipaddress.IPv6Interface

    def __str__(self) -> str:
        return self.value.with_prefixlen


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed URL."""

    value: SplitResult


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """A Kubernetes quantity, exact."""

    value: Decimal


@dataclass(frozen=True, slots=True)
class Semver:
    """A semantic version; `text` of the pre-release decides after the numbers."""

    numbers: tuple[int, int, int]
    pre: tuple[int | str, ...] = ()
    build: tuple[str, ...] = ()

    def order(self) -> tuple[Any, ...]:
        """The key to sort by: a release comes after its pre-releases, numbers before words."""
        parts = tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in self.pre)
        return (*self.numbers, not self.pre, parts)


@dataclass(frozen=True, slots=True)
class NamedFormat:
    """A format that strings can be checked against."""

    name: str


KINDS: dict[type, Type] = {
    type(None): types.NULL,
    bool: types.BOOL,
    int: types.INT,
    UInt: types.UINT,
    float: types.DOUBLE,
    str: types.STRING,
    bytes: types.BYTES,
    list: types.list_of(types.DYN),
    SetList: types.list_of(types.DYN),
    KeyedList: types.list_of(types.DYN),
    dict: types.map_of(types.DYN, types.DYN),
    Timestamp: types.TIMESTAMP,
    Duration: types.DURATION,
    Optional: types.optional_of(types.DYN),
    Type: types.type_of(types.DYN),
    Address: types.IP,
    Network: types.CIDR,
    Url: types.URL,
    Quantity: types.QUANTITY,
    Semver: types.SEMVER,
    NamedFormat: types.FORMAT,
}
"""The type of a value by its class."""

_NUMBERS = (int, float, UInt)


def equal(a: Any, b: Any) -> bool:
    """CEL's equality: numbers by value whatever their type, everything else only with its own kind."""
    kind, other = type(a), type(b)
    if kind is other and kind in _PLAIN:
        return bool(a == b)
    if kind in _NUMBERS and other in _NUMBERS:
        return bool(a == b)
    if isinstance(a, list) and isinstance(b, list):
        return _equal_lists(a, b)
    if kind is dict and other is dict:
        return len(a) == len(b) and all(key in b and equal(item, b[key]) for key, item in a.items())
    if kind is Optional and other is Optional:
        return a.present == b.present and (not a.present or equal(a.value, b.value))
    if kind is Semver and other is Semver:
        return bool(a.order() == b.order())
    if kind is Type and other is Type:
        return bool(a.name == b.name)
    return kind is other and bool(a == b)


_PLAIN = frozenset((str, int, bool, bytes, type(None), float, Timestamp, Duration))


def _equal_lists(a: list[Any], b: list[Any]) -> bool:
    if len(a) != len(b):
        return False
    if isinstance(a, SetList):
        return all(any(equal(item, other) for other in b) for item in a)
    if isinstance(a, KeyedList):
        known = {a.identity(item): item for item in b if isinstance(item, dict)}
        return all((key := a.identity(item)) in known and equal(item, known[key]) for item in a)
    return all(map(equal, a, b))


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1 for values that have an order. Raises EvaluationError for others."""
    kind, other = type(a), type(b)
    if kind in _NUMBERS and other in _NUMBERS:
        if (kind is float and math.isnan(a)) or (other is float and math.isnan(b)):
            raise EvaluationError("NaN values cannot be ordered")
    elif kind is not other or kind not in (str, bytes, bool, Timestamp, Duration):
        raise no_such_overload()
    return int(a > b) - int(a < b)


def size(value: Any) -> int:
    """Characters of a string, bytes, entries; 1 for anything without a size. The unit of costs."""
    return len(value) if isinstance(value, str | bytes | list | dict) else 1


def hashable(value: Any) -> Any:
    """A key that is equal for equal JSON values."""
    if isinstance(value, dict):
        return ("{}", frozenset((key, hashable(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("[]", *map(hashable, value))
    return (type(value) is bool, value)


def timestamp(text: str) -> Timestamp:
    """RFC 3339. Raises ValueError."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse')
    base = datetime.fromisoformat(f"{match[1]}T{match[2]}{'+00:00' if match[4] in 'zZ' else match[4]}")
    delta = base - _EPOCH
    seconds = delta.days * 86400 + delta.seconds
    return Timestamp(seconds * _SECOND + int((match[3] or "0")[:9].ljust(9, "0")))


def date(text: str) -> Timestamp:
    """A date as the moment it begins. Raises ValueError."""
    delta = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) - _EPOCH
    return Timestamp(delta.days * 86400 * _SECOND)


def duration(text: str) -> Duration:
    """Go's notation: `1h30m`, `-1.5s`. Raises ValueError."""
    sign = -1 if text[:1] == "-" else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return Duration(0)
    if not _GO_DURATION.fullmatch(rest):
        raise ValueError(f'time: invalid duration "{text}"')
    total = sum(Decimal(number) * _UNITS[unit] for number, unit in _GO_PART.findall(rest))
    nanoseconds = sign * int(total)
    if not INT_MIN <= nanoseconds <= INT_MAX:
        raise ValueError(f'time: invalid duration "{text}"')
    return Duration(nanoseconds)


def _fraction(nanoseconds: int) -> str:
    return f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)")
_GO_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_GO_DURATION = re.compile(rf"(?:{_GO_PART.pattern})+")
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
