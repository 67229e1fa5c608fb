"""The values that templates work with, as Go sees them.

Python                   Go
None                     nil
bool, str                bool, string
int, float               float64 (all JSON numbers; an int keeps its digits until a function needs the float)
Int, Int64, Uint8        int (literals, len), int64 (add ...), uint8 (a byte of a string)
complex                  complex128
list, dict               []interface {}, map[string]interface {}
StringList, StringMap    []string, map[string]string
NilList                  a []interface {} that is nil: empty, but `null` in JSON
Opaque                   a type of which templates see the printed form and the listed members only
Absent                   nil whose fields are nil at any depth
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from bobrapet.expressions.function import Function


class Int(int):
    """Go's int."""

    __slots__ = ()


class Int64(int):
    """Go's int64."""

    __slots__ = ()


class Uint8(int):
    """Go's uint8."""

    __slots__ = ()


class Uint64(int):
    """Go's uint64."""

    __slots__ = ()


class StringList(list[str]):
    """Go's []string."""

    __slots__ = ()


class StringMap(dict[str, str]):
    """Go's map[string]string."""

    __slots__ = ()


class NilList(list[Any]):
    """Go's nil slice of any."""

    __slots__ = ()


class Opaque:
    """A Go value with methods: `members` maps each name that templates may use to its implementation."""

    __slots__ = ()
    go_type: ClassVar[str]
    go_kind: ClassVar[str]
    members: ClassVar[Mapping[str, Function]] = {}

    def json(self) -> str | None:
        """The text that stands for the value in JSON; None if it has none (then it is an empty object)."""
        return str(self)

    def truth(self) -> bool:
        return True


class _Absent:
    """The type of `Absent`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Absent"

    def __bool__(self) -> bool:
        return False

    def __copy__(self) -> _Absent:
        return self

    def __deepcopy__(self, memo: object) -> _Absent:
        return self

    def __reduce__(self) -> str:
        return "Absent"


Absent: Final = _Absent()
"""Stands in a context for what a skipped step, or one that failed with `allowFailure`, would have given.

It reads as null at any depth: `steps.a.output.x` is null when `steps.a` is Absent, where a missing key would be an
error.
"""

MIN_INT64 = -(2**63)
MAX_INT64 = 2**63 - 1

INTEGERS = (Int, Int64, Uint8, Uint64)

_TYPE_NAMES: dict[type, str] = {
    str: "string",
    int: "float64",
    float: "float64",
    bool: "bool",
    Int: "int",
    Int64: "int64",
    Uint8: "uint8",
    Uint64: "uint64",
    complex: "complex128",
    list: "[]interface {}",
    NilList: "[]interface {}",
    dict: "map[string]interface {}",
    StringList: "[]string",
    StringMap: "map[string]string",
    type(None): "<nil>",
    _Absent: "<nil>",
}

_KIND_NAMES: dict[type, str] = {
    **_TYPE_NAMES,
    list: "slice",
    NilList: "slice",
    StringList: "slice",
    dict: "map",
    StringMap: "map",
    type(None): "invalid",
    _Absent: "invalid",
}


def type_name(value: object) -> str:
    """Returns the Go type, as `%T` prints it."""
    if isinstance(value, Opaque):
        return value.go_type
    return _TYPE_NAMES.get(type(value)) or _TYPE_NAMES[_json_type(value)]


def kind_name(value: object) -> str:
    """Returns the name of Go's reflect.Kind."""
    if isinstance(value, Opaque):
        return value.go_kind
    return _KIND_NAMES.get(type(value)) or _KIND_NAMES[_json_type(value)]


def _json_type(value: object) -> type:
    """The plain type of a subclass of a JSON type (an OrderedDict, a str enum); `object()` counts as nil."""
    for plain in (bool, str, int, float, list, dict):
        if isinstance(value, plain):
            return plain
    return type(None)


def wrap_int64(value: int) -> Int64:
    """Returns the value modulo 2**64, as Go's arithmetic does."""
    if MIN_INT64 <= value <= MAX_INT64:
        return Int64(value)
    return Int64((value - MIN_INT64) % 2**64 + MIN_INT64)


def to_float(value: float) -> float:
    """Returns the float64 of a JSON number; what is too large for one is an infinity."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def truth(value: Any) -> bool:
    """Go's truth: false, 0, nil and everything empty are false."""
    if isinstance(value, Opaque):
        return value.truth()
    return bool(value)
