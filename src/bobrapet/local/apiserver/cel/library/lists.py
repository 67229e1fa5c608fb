"""Lists as a kube-apiserver knows them (order, sums, positions) and as sets."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from bobrapet.local.apiserver.cel import types
from bobrapet.local.apiserver.cel.errors import CostExceeded, EvaluationError, no_such_overload
from bobrapet.local.apiserver.cel.functions import STRING_FACTOR, Functions
from bobrapet.local.apiserver.cel.library.operators import checked, span
from bobrapet.local.apiserver.cel.types import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, UINT, A
from bobrapet.local.apiserver.cel.values import Duration, UInt, compare, equal

_LIST = types.list_of(A)
COMPARABLE = (INT, UINT, DOUBLE, BOOL, DURATION, TIMESTAMP, STRING, BYTES)
"""What can be sorted."""
_LONGEST_RANGE = 1_000_000


def declare(functions: Functions) -> None:
    """Adds this family."""
    method = functions.method
    for kind in COMPARABLE:
        of = types.list_of(kind)
        method("isSorted", f"list_{kind}_is_sorted_bool", (of,), BOOL, _is_sorted, _visit)
        method("max", f"list_{kind}_max_{kind}", (of,), kind, _extreme("max", 1), _visit)
        method("min", f"list_{kind}_min_{kind}", (of,), kind, _extreme("min", -1), _visit)
    for kind, zero in ((INT, 0), (UINT, UInt(0)), (DOUBLE, 0.0), (DURATION, Duration(0))):
        method("sum", f"list_{kind}_sum_{kind}", (types.list_of(kind),), kind, _sum(zero), _visit)
    method("indexOf", "list_a_index_of_int", (_LIST, A), INT, _index_of, _visit)
    method("lastIndexOf", "list_a_last_index_of_int", (_LIST, A), INT, _last_index_of, _visit)
    for kind in COMPARABLE:
        of = types.list_of(kind)
        method("sort", f"list_{kind}_sort", (of,), of, _sorted, _square)
    method("slice", "list_slice", (_LIST, INT, INT), _LIST, _slice, _allocated)
    method("flatten", "list_flatten", (types.list_of(_LIST),), _LIST, _flatten, _allocated)
    method("flatten", "list_flatten_int", (types.list_of(DYN), INT), types.list_of(DYN), _flatten, _allocated)
    method("reverse", "list_reverse", (_LIST,), _LIST, lambda values: values[::-1], _allocated)
    method("distinct", "list_distinct", (_LIST,), _LIST, _distinct, _square)
    functions.add("lists.range", "lists_range", (INT,), types.list_of(INT), _range, cost=_allocated)
    for name, call in (("contains", _contains), ("equivalent", _equivalent), ("intersects", _intersects)):
        functions.add(f"sets.{name}", f"list_sets_{name}_list", (_LIST, _LIST), BOOL, call, cost=_product)


def _visit(args: Sequence[Any], _result: Any) -> int:
    return _traversal(args[0])


def _traversal(value: Any) -> int:
    if isinstance(value, str | bytes):
        return int(len(value) * STRING_FACTOR)
    if isinstance(value, list):
        return sum(map(_traversal, value))
    if isinstance(value, dict):
        return sum(_traversal(key) + _traversal(item) for key, item in value.items())
    return 1


def _product(args: Sequence[Any], _result: Any) -> int:
    return len(args[0]) * len(args[1]) + 1


def _is_sorted(values: list[Any]) -> bool:
    return all(compare(before, after) <= 0 for before, after in itertools.pairwise(values))


def _extreme(name: str, sign: int) -> Callable[[list[Any]], Any]:
    def find(values: list[Any]) -> Any:
        if not values:
            raise EvaluationError(f"{name} called on empty list")
        return functools.reduce(lambda best, value: value if compare(value, best) * sign > 0 else best, values)

    return find


def _sum(zero: Any) -> Callable[[list[Any]], Any]:
    def add(values: list[Any]) -> Any:
        if not values:
            return zero
        first = values[0]
        if isinstance(first, Duration):
            return span(sum(value.nanoseconds for value in values))
        if isinstance(first, bool) or not isinstance(first, int | float):
            raise no_such_overload()
        total = sum(values)
        if isinstance(first, float):
            return float(total)
        return UInt(total) if isinstance(first, UInt) else checked(total)

    return add


def _index_of(values: list[Any], item: Any) -> int:
    return next((index for index, value in enumerate(values) if equal(value, item)), -1)


def _last_index_of(values: list[Any], item: Any) -> int:
    return next((index for index in range(len(values) - 1, -1, -1) if equal(values[index], item)), -1)


def _contains(values: list[Any], others: list[Any]) -> bool:
    return all(_index_of(values, item) >= 0 for item in others)


def _equivalent(values: list[Any], others: list[Any]) -> bool:
    return _contains(values, others) and _contains(others, values)


def _intersects(values: list[Any], others: list[Any]) -> bool:
    return any(_index_of(others, item) >= 0 for item in values)


def _allocated(_args: Sequence[Any], result: Any) -> int:
    return len(result) + 11


def _square(args: Sequence[Any], _result: Any) -> int:
    return 2 * len(args[0]) ** 2 + 11


def _sorted(values: list[Any]) -> list[Any]:
    return sorted_by(values, values)


def sorted_by(values: list[Any], keys: list[Any]) -> list[Any]:
    """The values in the order of their keys, which have one type. Raises EvaluationError."""
    if any(type(key) is not type(keys[0]) for key in keys):
        raise EvaluationError("list elements must have the same type")
    by_key = functools.cmp_to_key(compare)
    return [values[index] for index in sorted(range(len(values)), key=lambda index: by_key(keys[index]))]


def _slice(values: list[Any], start: int, end: int) -> list[Any]:
    told = f"cannot slice({start}, {end}), "
    if start < 0 or end < 0:
        raise EvaluationError(told + "negative indexes not supported")
    if start > end:
        raise EvaluationError(told + "start index must be less than or equal to end index")
    if end > len(values):
        raise EvaluationError(told + f"list is length {len(values)}")
    return values[start:end]


def _flatten(values: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    found: list[Any] = []
    for value in values:
        if isinstance(value, list) and depth:
            found += _flatten(value, depth - 1)
        else:
            found.append(value)
    return found


def _distinct(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if _index_of(found, value) < 0:
            found.append(value)
    return found


def _range(end: int) -> list[int]:
    if end > _LONGEST_RANGE:
        raise CostExceeded
    return list(range(end))
