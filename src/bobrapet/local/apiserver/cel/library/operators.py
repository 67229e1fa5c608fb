"""Operators, sizes, containers and conversions: the standard definitions of the language."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from bobrapet.local.apiserver.cel import types
from bobrapet.local.apiserver.cel.errors import EvaluationError, no_such_overload
from bobrapet.local.apiserver.cel.functions import STRING_FACTOR, Functions, traversal
from bobrapet.local.apiserver.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    A,
    B,
    Type,
)
from bobrapet.local.apiserver.cel.values import (
    INT_MAX,
    INT_MIN,
    KINDS,
    UINT_MAX,
    Duration,
    KeyedList,
    SetList,
    Timestamp,
    UInt,
    compare,
    duration,
    equal,
    size,
    timestamp,
)

_LIST = types.list_of(A)
_MAP = types.map_of(A, B)
_SECOND = 1_000_000_000
_FIRST_MOMENT = -62135596800
_LAST_MOMENT = 253402300799
_LARGEST_PLAIN_POWER = 6
"""Powers of ten from which on Go writes an exponent."""


def declare(functions: Functions) -> None:
    """Adds this family."""
    _declare_arithmetic(functions)
    _declare_order(functions)
    _declare_containers(functions)
    _declare_conversions(functions)


def _declare_arithmetic(functions: Functions) -> None:
    add = functions.add
    for name, word, call in (
        ("_+_", "add", lambda a, b: a + b),
        ("_-_", "subtract", lambda a, b: a - b),
        ("_*_", "multiply", lambda a, b: a * b),
    ):
        add(name, f"{word}_int64", (INT, INT), INT, _int_result(call))
        add(name, f"{word}_uint64", (UINT, UINT), UINT, _uint_result(call))
        add(name, f"{word}_double", (DOUBLE, DOUBLE), DOUBLE, call)
    add("_/_", "divide_int64", (INT, INT), INT, _int_result(_quotient))
    add("_/_", "divide_uint64", (UINT, UINT), UINT, _uint_result(_quotient))
    add("_/_", "divide_double", (DOUBLE, DOUBLE), DOUBLE, _float_quotient)
    add("_%_", "modulo_int64", (INT, INT), INT, _int_result(_remainder))
    add("_%_", "modulo_uint64", (UINT, UINT), UINT, _uint_result(_remainder))
    add("-_", "negate_int64", (INT,), INT, _int_result(lambda a: -a))
    add("-_", "negate_double", (DOUBLE,), DOUBLE, lambda a: -a)
    add("!_", "logical_not", (BOOL,), BOOL, lambda a: not a)
    add("_+_", "add_string", (STRING, STRING), STRING, lambda a, b: a + b, cost=_joined)
    add("_+_", "add_bytes", (BYTES, BYTES), BYTES, lambda a, b: a + b, cost=_joined)
    add("_+_", "add_list", (_LIST, _LIST), _LIST, _added)
    add("_+_", "add_timestamp_duration", (TIMESTAMP, DURATION), TIMESTAMP, _moved)
    add("_+_", "add_duration_timestamp", (DURATION, TIMESTAMP), TIMESTAMP, lambda a, b: _moved(b, a))
    add(
        "_+_", "add_duration_duration", (DURATION, DURATION), DURATION, lambda a, b: span(a.nanoseconds + b.nanoseconds)
    )
    add("_-_", "subtract_timestamp_timestamp", (TIMESTAMP, TIMESTAMP), DURATION, lambda a, b: span(
        a.nanoseconds - b.nanoseconds))  # fmt: skip
    add("_-_", "subtract_timestamp_duration", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: moment(
        a.nanoseconds - b.nanoseconds))  # fmt: skip
    add("_-_", "subtract_duration_duration", (DURATION, DURATION), DURATION, lambda a, b: span(
        a.nanoseconds - b.nanoseconds))  # fmt: skip


def _declare_order(functions: Functions) -> None:
    numbers = (("int64", INT), ("uint64", UINT), ("double", DOUBLE))
    for name, word, test in (
        ("_<_", "less", lambda order: order < 0),
        ("_<=_", "less_equals", lambda order: order <= 0),
        ("_>_", "greater", lambda order: order > 0),
        ("_>=_", "greater_equals", lambda order: order >= 0),
    ):
        call = _ordered(test)
        functions.add(name, f"{word}_bool", (BOOL, BOOL), BOOL, call)
        for left, left_type in numbers:
            for right, right_type in numbers:
                id = f"{word}_{left}" if left == right else f"{word}_{left}_{right}"
                functions.add(name, id, (left_type, right_type), BOOL, call)
        for kind in (STRING, BYTES):
            functions.add(name, f"{word}_{kind}", (kind, kind), BOOL, call, cost=_shorter)
        for kind in (TIMESTAMP, DURATION):
            functions.add(name, f"{word}_{kind}", (kind, kind), BOOL, call)
    functions.add("_==_", "equals", (A, A), BOOL, equal, cost=_shorter)
    functions.add("_!=_", "not_equals", (A, A), BOOL, lambda a, b: not equal(a, b), cost=_shorter)


def _declare_containers(functions: Functions) -> None:
    add, method = functions.add, functions.method
    for word, kind in (("string", STRING), ("bytes", BYTES), ("list", _LIST), ("map", _MAP)):
        add("size", f"size_{word}", (kind,), INT, len)
        method("size", f"{word}_size", (kind,), INT, len)
    add("@in", "in_list", (A, _LIST), BOOL, _contains, cost=lambda args, _result: size(args[1]))
    add("@in", "in_map", (A, _MAP), BOOL, lambda key, values: find_key(values, key) is not None)
    add("_[_]", "index_list", (_LIST, INT), A, item_at)
    add("_[_]", "index_map", (_MAP, A), B, value_of)


def _declare_conversions(functions: Functions) -> None:
    add = functions.add
    for name, result, sources in (
        ("int", INT, ((INT, None), (DOUBLE, _truncated), (UINT, _int_of), (STRING, _parsed_int),
                      (TIMESTAMP, lambda t: t.nanoseconds // _SECOND), (DURATION, lambda d: d.nanoseconds))),
        ("uint", UINT, ((UINT, None), (DOUBLE, _truncated_unsigned), (INT, _uint_of), (STRING, _parsed_uint))),
        ("double", DOUBLE, ((DOUBLE, None), (INT, float), (UINT, float), (STRING, _parsed_float))),
        ("bool", BOOL, ((BOOL, None), (STRING, _parsed_bool))),
        ("bytes", BYTES, ((BYTES, None),)),
        ("string", STRING, ((STRING, None), (BOOL, lambda b: "true" if b else "false"), (INT, str), (UINT, str),
                            (DOUBLE, shown_float), (TIMESTAMP, str), (DURATION, str))),
        ("timestamp", TIMESTAMP, ((TIMESTAMP, None), (INT, lambda n: moment(n * _SECOND)),
                                  (STRING, _parsed(timestamp, TIMESTAMP)))),
        ("duration", DURATION, ((DURATION, None), (INT, lambda n: span(n)), (STRING, _parsed(duration, DURATION)))),
    ):  # fmt: skip
        for source, call in sources:
            add(name, f"{source}_to_{name}", (source,), result, call or _same)
    add("bytes", "string_to_bytes", (STRING,), BYTES, str.encode, cost=traversal)
    add("string", "bytes_to_string", (BYTES,), STRING, _decoded, cost=traversal)
    add("string", "ip_to_string", (types.IP,), STRING, str)
    add("string", "cidr_to_string", (types.CIDR,), STRING, str)
    add("dyn", "to_dyn", (A,), DYN, _same)
    add("type", "type", (A,), types.type_of(A), type_name)


def _same(value: Any) -> Any:
    return value


def type_name(value: Any) -> Type:
    """The type of a value, as `type()` says it."""
    return KINDS[type(value)]


# Numbers


def checked(value: int) -> int:
    """An int64. Raises EvaluationError."""
    if INT_MIN <= value <= INT_MAX:
        return int(value)
    raise EvaluationError("integer overflow")


def _int_result(call: Callable[..., int]) -> Callable[..., int]:
    return lambda *args: checked(call(*args))


def _uint_result(call: Callable[..., int]) -> Callable[..., UInt]:
    def bounded(*args: int) -> UInt:
        value = call(*map(int, args))
        if not 0 <= value <= UINT_MAX:
            raise EvaluationError("unsigned integer overflow")
        return UInt(value)

    return bounded


def _quotient(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("division by zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _remainder(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("modulus by zero")
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


def _float_quotient(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def _ordered(test: Callable[[int], bool]) -> Callable[[Any, Any], bool]:
    return lambda a, b: test(compare(a, b))


# Time


def span(nanoseconds: int) -> Duration:
    """A duration of 64 bits. Raises EvaluationError."""
    if INT_MIN <= nanoseconds <= INT_MAX:
        return Duration(nanoseconds)
    raise EvaluationError("duration overflow")


def moment(nanoseconds: int) -> Timestamp:
    """A timestamp from the year 1 to 9999. Raises EvaluationError."""
    if _FIRST_MOMENT <= nanoseconds // _SECOND <= _LAST_MOMENT:
        return Timestamp(nanoseconds)
    raise EvaluationError("timestamp overflow")


def _moved(start: Timestamp, by: Duration) -> Timestamp:
    return moment(start.nanoseconds + by.nanoseconds)


# Containers


def _added(a: list[Any], b: list[Any]) -> list[Any]:
    if isinstance(a, SetList):
        return SetList([*a, *(item for item in b if not any(equal(item, other) for other in a))])
    if isinstance(a, KeyedList):
        replaced = {a.identity(item): item for item in b}
        kept = [replaced.pop(a.identity(item), item) for item in a]
        return KeyedList([*kept, *replaced.values()], a.keys)
    return [*a, *b]


def _contains(item: Any, values: list[Any]) -> bool:
    return any(equal(item, other) for other in values)


def find_key(values: dict[Any, Any], key: Any) -> tuple[Any] | None:
    """The entry of a key, numbers by value: 1, 1u and 1.0 are one key; booleans are no numbers."""
    if isinstance(key, str):
        return (values[key],) if key in values else None
    if not isinstance(key, bool | int | float):
        return None
    return next(((value,) for known, value in values.items() if equal(known, key)), None)


def value_of(values: dict[Any, Any], key: Any) -> Any:
    """The value of a key. Raises EvaluationError."""
    found = find_key(values, key)
    if found is None:
        raise EvaluationError(f"no such key: {shown(key)}")
    return found[0]


def item_at(values: list[Any], index: Any) -> Any:
    """The item at a position. Raises EvaluationError."""
    if isinstance(index, float) and index.is_integer():
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool):
        raise no_such_overload()
    if not 0 <= index < len(values):
        raise EvaluationError(f"index out of bounds: {index}")
    return values[index]


# Conversions


def _failed(source: Type, target: Type) -> EvaluationError:
    return EvaluationError(f"type conversion error from '{source.name}' to '{target.name}'")


def _truncated(value: float) -> int:
    if math.isnan(value) or not -(2.0**63) < value < 2.0**63:
        raise EvaluationError("integer overflow")
    return int(value)


def _truncated_unsigned(value: float) -> UInt:
    if math.isnan(value) or not 0 <= value < 2.0**64:
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)


def _int_of(value: int) -> int:
    return checked(int(value))


def _uint_of(value: int) -> UInt:
    if value < 0:
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)


def _parsed_int(text: str) -> int:
    if not _is_decimal(text.removeprefix("-").removeprefix("+")) or not INT_MIN <= int(text) <= INT_MAX:
        raise _failed(STRING, INT)
    return int(text)


def _parsed_uint(text: str) -> UInt:
    if not _is_decimal(text) or int(text) > UINT_MAX:
        raise _failed(STRING, UINT)
    return UInt(text)


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 40


def _parsed_float(text: str) -> float:
    try:
        if text != text.strip() or "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        raise _failed(STRING, DOUBLE) from None


def _parsed_bool(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise _failed(STRING, BOOL)


def _parsed(parse: Callable[[str], Any], target: Type) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, OverflowError):
            raise _failed(STRING, target) from None

    return convert


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


def shown_float(value: float) -> str:
    """Go's %g with as many digits as are needed."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    sign, digits, _ = Decimal(repr(value)).normalize().as_tuple()
    power = Decimal(repr(value)).adjusted()
    if value and not -4 <= power < _LARGEST_PLAIN_POWER:
        fraction = "".join(map(str, digits[1:]))
        return f"{'-' if sign else ''}{digits[0]}{'.' if fraction else ''}{fraction}e{power:+03d}"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def shown(value: Any) -> str:
    """A value in a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return shown_float(value) if isinstance(value, float) else str(value)


# Costs


def _joined(args: Sequence[Any], _result: Any) -> int:
    return math.ceil((size(args[0]) + size(args[1])) * STRING_FACTOR)


def _shorter(args: Sequence[Any], _result: Any) -> int:
    return math.ceil(min(size(args[0]), size(args[1])) * STRING_FACTOR)
