"""Comparison by Go's rules (spec expressions 5.2), and deep equality."""

from __future__ import annotations

from typing import Any

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.limits import VALUE_DEPTH, Run
from bobrapet.expressions.text import encode
from bobrapet.expressions.values import INTEGERS, Absent, NilList, Opaque, to_float, type_name


def basic_kind(value: Any) -> str:
    """Returns the kind that decides what a value can be compared with; empty for those that cannot be ordered."""
    kind = type(value)
    if kind is str:
        return "string"
    if kind is bool:
        return "bool"
    if isinstance(value, INTEGERS):
        return "int"
    if kind is float or kind is int:
        return "float"
    if isinstance(value, Opaque):
        return "int" if isinstance(value, int) else ""
    name = type_name(value)
    if name == "complex128":
        return "complex"
    return name if name in ("string", "bool") else "float" if name == "float64" else ""


def equal_to_any(first: Any, *others: Any) -> bool:
    """`eq`: whether `first` equals one of the others; stops at the first that it equals."""
    if not others:
        raise FunctionError("needs something to compare with")
    kind = basic_kind(first)
    for other in others:
        if basic_kind(other) != kind:
            if is_nil(first) or is_nil(other):
                continue
            raise _mismatch(first, other)
        if kind:
            if (to_float(first) == to_float(other)) if kind == "float" else first == other:
                return True
        elif _equal_without_kind(first, other):
            return True
    return False


def is_nil(value: Any) -> bool:
    return value is None or value is Absent


def _equal_without_kind(first: Any, other: Any) -> bool:
    """Compares what has no basic kind: nil, lists, objects, opaque values."""
    first_nil = is_nil(first) or isinstance(first, NilList)
    other_nil = is_nil(other) or isinstance(other, NilList)
    if not (is_nil(first) or is_nil(other)) and _container_kind(first) != _container_kind(other):
        raise _mismatch(first, other)
    if first_nil or other_nil:
        return first_nil == other_nil
    if isinstance(other, (list, dict)):
        raise FunctionError(f"cannot compare values of type {type_name(other)}; use deepEqual")
    return bool(first == other)


def _container_kind(value: Any) -> str:
    if isinstance(value, list):
        return "slice"
    if isinstance(value, dict):
        return "map"
    return value.go_kind if isinstance(value, Opaque) else "invalid"


def less(left: Any, right: Any) -> bool:
    """`lt`."""
    kind = basic_kind(left)
    other = basic_kind(right)
    if not kind or not other:
        bad = left if not kind else right
        shown = "nil" if is_nil(bad) else f"a value of type {type_name(bad)}"
        raise FunctionError(f"cannot order {shown}")
    if kind != other:
        raise _mismatch(left, right)
    if kind in ("bool", "complex"):
        raise FunctionError(f"cannot order values of type {type_name(left)}")
    if kind == "string":
        return bool(left < right) if left.isascii() and right.isascii() else encode(left) < encode(right)
    if kind == "float":
        return to_float(left) < to_float(right)
    return bool(left < right)


def _mismatch(first: Any, other: Any) -> FunctionError:
    names = type_name(first), type_name(other)
    hint = ""
    if set(names) in ({"float64", "int"}, {"float64", "int64"}):
        hint = "; numbers of the context are floats: write 3.0, or convert with int"
    return FunctionError(f"cannot compare {names[0]} with {names[1]}{hint}")


def deep_equal(left: Any, right: Any, run: Run, depth: int = 0) -> bool:
    """Go's reflect.DeepEqual: types have to agree too, so the int 3 is not the float 3."""
    if is_nil(left) or is_nil(right):
        return is_nil(left) and is_nil(right)
    if isinstance(left, Opaque) or isinstance(right, Opaque):
        return type(left) is type(right) and bool(left == right)
    if type_name(left) != type_name(right):
        return False
    if isinstance(left, list):
        if len(left) != len(right) or isinstance(left, NilList) != isinstance(right, NilList):
            return False
        _enter(run, depth)
        return all(deep_equal(a, b, run, depth + 1) for a, b in run.paced(zip(left, right, strict=True)))
    if isinstance(left, dict):
        if left.keys() != right.keys():
            return False
        _enter(run, depth)
        return all(deep_equal(value, right[key], run, depth + 1) for key, value in run.paced(left.items()))
    if type_name(left) == "float64":
        return to_float(left) == to_float(right)
    return bool(left == right)


def _enter(run: Run, depth: int) -> None:
    run.check_time()
    if depth > VALUE_DEPTH:
        raise FunctionError(f"value is nested deeper than {VALUE_DEPTH} levels", "depth")
