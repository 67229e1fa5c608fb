"""The five functions that are this engine's own (spec expressions 6.1)."""

from __future__ import annotations

from typing import Any

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.functions.strings import sha256sum
from bobrapet.expressions.storage import is_reference, reference_text
from bobrapet.expressions.text import byte_length
from bobrapet.expressions.values import Absent, Int, kind_name, type_name

CUSTOM = Library()

_KINDS = {
    "string": "string",
    "bool": "bool",
    "map": "object",
    "slice": "array",
    "invalid": "null",
    "float64": "number",
    "int": "number",
    "int64": "number",
    "uint8": "number",
}


def _refuse_reference(name: str, value: Any) -> None:
    if is_reference(value):
        raise FunctionError(f"offloaded data usage detected: {name} needs the data of a storage reference", "offloaded")


@CUSTOM.add("len", "a")
def length(value: Any) -> Int:
    if isinstance(value, str):
        return Int(byte_length(value))
    if isinstance(value, list):
        return Int(len(value))
    if isinstance(value, dict):
        _refuse_reference("len", value)
        return Int(len(value))
    if value is None or value is Absent:
        return Int(0)
    raise FunctionError(f"a value of type {type_name(value)} has no length")


@CUSTOM.add("hash_of", "a")
def hash_of(value: Any) -> str:
    _refuse_reference("hash_of", value)
    if not isinstance(value, str):
        raise FunctionError(f"wants a string, got {type_name(value)}")
    return sha256sum(value)


@CUSTOM.add("type_of", "a")
def type_of(value: Any) -> str:
    if is_reference(value):
        return f"offloaded({reference_text(value)})"
    return _KINDS.get(kind_name(value), type_name(value))


@CUSTOM.add("exists", "a")
def exists(value: Any) -> bool:
    return value is not None and value is not Absent


@CUSTOM.add("sample", "a")
def sample(value: Any) -> Any:
    _refuse_reference("sample", value)
    return value
