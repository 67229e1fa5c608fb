"""Sprig's lists. Nothing changes a list in place: every function returns a new one."""

from __future__ import annotations

from typing import Any

from bobrapet.expressions.compare import deep_equal
from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.functions.defaults import empty
from bobrapet.expressions.functions.numbers import integer_of
from bobrapet.expressions.limits import Run
from bobrapet.expressions.values import Absent, NilList, StringList, kind_name

LISTS = Library()


def _list_of(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise FunctionError(f"wants a list, got {'nil' if value is None or value is Absent else kind_name(value)}")


@LISTS.add("list tuple", "a*", takes_run=True)
def list_(run: Run, *values: Any) -> list[Any]:
    return list(values)


@LISTS.add("first mustFirst", "a")
def first(values: Any) -> Any:
    items = _list_of(values)
    return items[0] if items else None


@LISTS.add("last mustLast", "a")
def last(values: Any) -> Any:
    items = _list_of(values)
    return items[-1] if items else None


@LISTS.add("rest mustRest", "a", takes_run=True)
def rest(run: Run, values: Any) -> list[Any]:
    items = _list_of(values)
    run.reserve_elements(len(items))
    return items[1:] if items else NilList()


@LISTS.add("initial mustInitial", "a", takes_run=True)
def initial(run: Run, values: Any) -> list[Any]:
    items = _list_of(values)
    run.reserve_elements(len(items))
    return items[:-1] if items else NilList()


@LISTS.add("append push mustAppend mustPush", "aa", takes_run=True)
def append(run: Run, values: Any, value: Any) -> list[Any]:
    items = _list_of(values)
    run.reserve_elements(len(items) + 1)
    return [*items, value]


@LISTS.add("prepend mustPrepend", "aa", takes_run=True)
def prepend(run: Run, values: Any, value: Any) -> list[Any]:
    items = _list_of(values)
    run.reserve_elements(len(items) + 1)
    return [value, *items]


@LISTS.add("concat", "a*", takes_run=True)
def concat(run: Run, *lists: Any) -> list[Any]:
    items = [_list_of(values) for values in lists]
    run.reserve_elements(sum(map(len, items)))
    joined = [value for values in items for value in values]
    return joined or NilList()


@LISTS.add("reverse mustReverse", "a", takes_run=True)
def reverse(run: Run, values: Any) -> list[Any]:
    items = _list_of(values)
    run.reserve_elements(len(items))
    return list(reversed(items))


@LISTS.add("compact mustCompact", "a", takes_run=True)
def compact(run: Run, values: Any) -> list[Any]:
    items = _list_of(values)
    run.reserve_elements(len(items))
    return [value for value in run.paced(items) if not empty(value)]


@LISTS.add("uniq mustUniq", "a", takes_run=True)
def uniq(run: Run, values: Any) -> list[Any]:
    kept: list[Any] = []
    for value in _list_of(values):
        if not _contains(run, kept, value):
            kept.append(value)
    run.reserve_elements(len(kept))
    return kept


@LISTS.add("without mustWithout", "aa*", takes_run=True)
def without(run: Run, values: Any, *unwanted: Any) -> list[Any]:
    items = _list_of(values)
    run.reserve_elements(len(items))
    return [value for value in items if not _contains(run, list(unwanted), value)]


@LISTS.add("has mustHas", "aa", takes_run=True)
def has(run: Run, value: Any, values: Any) -> bool:
    if values is None or values is Absent:
        return False
    return _contains(run, _list_of(values), value)


def _contains(run: Run, values: list[Any], wanted: Any) -> bool:
    run.check_time()
    for value in run.paced(values):
        if value is wanted and value == value:
            return True
        if deep_equal(wanted, value, run):
            return True
    return False


@LISTS.add("slice mustSlice", "aa*", takes_run=True)
def slice_(run: Run, values: Any, *indexes: Any) -> Any:
    items = _list_of(values)
    if not items:
        return None
    start = integer_of(indexes[0]) if indexes else 0
    end = integer_of(indexes[1]) if len(indexes) > 1 else len(items)
    if not 0 <= start <= end <= len(items):
        raise FunctionError(f"cannot slice from {start} to {end} a list of {len(items)}")
    run.reserve_elements(end - start)
    part = items[start:end]
    return StringList(part) if isinstance(items, StringList) else part
