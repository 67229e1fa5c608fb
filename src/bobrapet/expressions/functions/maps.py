"""Sprig's objects. Nothing changes an object in place."""

from __future__ import annotations

from typing import Any

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.limits import Run
from bobrapet.expressions.printing import format_value
from bobrapet.expressions.values import Absent, StringList, StringMap, type_name

MAPS = Library()


@MAPS.add("dict", "a*", takes_run=True)
def dict_(run: Run, *values: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for position in range(0, len(values), 2):
        key = values[position]
        name = key if isinstance(key, str) else format_value(key, run)
        result[name] = values[position + 1] if position + 1 < len(values) else ""
    return result


@MAPS.add("get", "ms")
def get(mapping: dict[str, Any], key: str) -> Any:
    return mapping.get(key, "")


@MAPS.add("hasKey", "ms")
def has_key(mapping: dict[str, Any], key: str) -> bool:
    return key in mapping


@MAPS.add("keys", "m*", takes_run=True)
def keys(run: Run, *mappings: dict[str, Any]) -> StringList:
    run.reserve_elements(sum(map(len, mappings)))
    return StringList([key for mapping in mappings for key in run.sorted(mapping)])


@MAPS.add("values", "m", takes_run=True)
def values(run: Run, mapping: dict[str, Any]) -> list[Any]:
    run.reserve_elements(len(mapping))
    return [mapping[key] for key in run.sorted(mapping)]


@MAPS.add("pick", "ms*", takes_run=True)
def pick(run: Run, mapping: dict[str, Any], *wanted: str) -> dict[str, Any]:
    return {key: mapping[key] for key in wanted if key in mapping}


@MAPS.add("omit", "ms*", takes_run=True)
def omit(run: Run, mapping: dict[str, Any], *unwanted: str) -> dict[str, Any]:
    run.reserve_elements(len(mapping))
    dropped = set(unwanted)
    return {key: value for key, value in mapping.items() if key not in dropped}


@MAPS.add("pluck", "sm*", takes_run=True)
def pluck(run: Run, key: str, *mappings: dict[str, Any]) -> list[Any]:
    return [mapping[key] for mapping in mappings if key in mapping]


@MAPS.add("dig", "a*")
def dig(*arguments: Any) -> Any:
    """`dig "a" "b" default mapping`: the value at a.b, or the default where a key is missing."""
    if len(arguments) < 3:
        raise FunctionError("takes at least 3 arguments: keys, a default and an object")
    *path, default, value = arguments
    for key in path:
        if not isinstance(key, str):
            raise FunctionError(f"keys are strings, not {type_name(key)}")
    if not isinstance(value, dict) or isinstance(value, StringMap):
        if value is Absent:
            return default
        raise FunctionError(f"wants an object as last argument, got {type_name(value)}")
    for key in path:
        if value is Absent:
            return default
        if not isinstance(value, dict) or isinstance(value, StringMap):
            raise FunctionError(f"wants an object to look up “{key}” in, got {type_name(value)}")
        if key not in value:
            return default
        value = value[key]
    return value
