"""The types of the built-in kinds, and how a request body becomes an object of one of them.

A kube-apiserver decodes into Go structs: what is unknown falls away (and is reported), a value of another type is a
400, nulls and empty collections disappear.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from bobrapet.local.apiserver.schema import Schema
from bobrapet.local.apiserver.tables import load
from bobrapet.local.apiserver.types import Object

_SCALARS = {
    "string": ("string", ""),
    "bytes": ("string", "byte"),
    "time": ("string", "date-time"),
    "microtime": ("string", "date-time"),
    "bool": ("boolean", ""),
    "int32": ("integer", "int32"),
    "int64": ("integer", "int64"),
    "number": ("number", "double"),
    "any": ("", ""),
}
_LIMITS = {"int32": 2**31, "int64": 2**63}


class TypeMismatch(Exception):
    """A value that does not fit its field; the text is what a Go JSON decoder says."""


@cache
def type_schema(name: str) -> Schema:
    """The schema of a built-in type, for example `core/v1.Pod`."""
    schema = Schema("object", name=name)
    _building[name] = schema
    for field, text in load("types.json")[name].items():
        if not field:
            schema.atomic = text == "atomic"
            continue
        schema.properties[field] = _field(text, schema, field)
    return schema


# Types refer to themselves (JSONSchemaProps), and `cache` knows a node only once it is complete.
_building: dict[str, Schema] = {}


def _field(text: str, owner: Schema, field: str) -> Schema:
    kind, *words = text.split(" ")
    schema = _of_kind(kind)
    if words and schema.name:
        # Words belong to this use of the type, not to the type: a node of its own with the same fields.
        schema = _variant(schema)
    for word in words:
        key, _, value = word.partition("=")
        match key:
            case "required":
                owner.required = (*owner.required, field)
            case "atomic":
                schema.atomic = True
            case "set":
                schema.list_set = True
            case "map":
                schema.list_keys = tuple(value.split(","))
            case "merge":
                schema.merge = True
                schema.merge_key = value
            case "omitzero":
                schema.omit_zero = True
            case "retainKeys":
                schema.retain_keys = True
            case "default":
                schema.default = json.loads(value)
    return schema


def _of_kind(kind: str) -> Schema:
    if kind.startswith("[]"):
        schema = Schema("array")
        schema.items = _of_kind(kind[2:])
        schema.atomic = False
        return schema
    if kind.startswith("{}"):
        schema = Schema("object")
        schema.additional = _of_kind(kind[2:])
        return schema
    if kind in _SCALARS:
        type, format = _SCALARS[kind]
        schema = Schema(type, format=format)
        schema.preserve = not type
        return schema
    if kind in ("quantity", "intOrString"):
        schema = Schema("", format=kind)
        schema.int_or_string = True
        return schema
    if kind not in load("types.json"):
        # A struct without fields, as a place for later ones.
        schema = Schema("object", name=kind)
        schema.preserve = True
        return schema
    return _building.get(kind) or type_schema(kind)


def _variant(schema: Schema) -> Schema:
    twin = Schema(schema.type, name=schema.name)
    twin.properties, twin.additional = schema.properties, schema.additional
    twin.atomic = schema.atomic
    twin.required = schema.required
    return twin


def convert(schema: Schema, value: Object, unknown: list[str], path: str = "") -> None:
    """Makes `value` an object of a built-in type, in place; raises `TypeMismatch`."""
    _object(schema, value, path, unknown)


def _object(schema: Schema, value: Object, path: str, unknown: list[str]) -> None:
    dropped: list[str] = []
    for name, item in value.items():
        child = schema.properties.get(name)
        where = f"{path}.{name}" if path else name
        if child is None:
            if not schema.preserve:
                unknown.append(where)
                dropped.append(name)
        elif item is None:
            if not child.preserve:
                dropped.append(name)
        elif isinstance(item, dict):
            if child.type == "object":
                if child.additional is not None:
                    _values(schema, child.additional, item, where, unknown)
                    if not item and name not in schema.required:
                        dropped.append(name)
                else:
                    _object(child, item, where, unknown)
            elif child.type or child.int_or_string:
                raise _mismatch(schema, path, name, child, "object")
        elif isinstance(item, list):
            if child.type == "array":
                _array(schema, path, name, child, item, unknown)
                if not item and name not in schema.required:
                    dropped.append(name)
            elif child.type or child.int_or_string:
                raise _mismatch(schema, path, name, child, "array")
        elif (fault := _scalar(child, item)) is not None:
            raise _mismatch(schema, path, name, child, fault)
        elif child.omit_zero and not item:
            dropped.append(name)
    for name in dropped:
        del value[name]


def _values(owner: Schema, schema: Schema, value: Object, path: str, unknown: list[str]) -> None:
    """The values of a map; messages name the struct that holds it, not the key."""
    for name, item in value.items():
        if isinstance(item, dict):
            if schema.type == "object" and schema.additional is None:
                _object(schema, item, f"{path}.{name}", unknown)
            elif schema.type or schema.int_or_string:
                raise _mismatch(owner, path, "", schema, "object")
        elif isinstance(item, list):
            if schema.type == "array":
                _array(owner, path, name, schema, item, unknown)
            elif schema.type or schema.int_or_string:
                raise _mismatch(owner, path, "", schema, "array")
        elif item is None:
            value[name] = "" if schema.type == "string" else {}
        elif (fault := _scalar(schema, item)) is not None:
            raise _mismatch(owner, path, "", schema, fault)


def _array(owner: Schema, path: str, name: str, schema: Schema, value: list[Any], unknown: list[str]) -> None:
    items = schema.items
    assert items is not None
    for position, item in enumerate(value):
        where = f"{path}.{name}[{position}]" if path else f"{name}[{position}]"
        if isinstance(item, dict) and items.type == "object":
            _object(items, item, where, unknown)
        elif isinstance(item, dict | list):
            if items.type:
                raise _mismatch(owner, path, name, items, "object" if isinstance(item, dict) else "array")
        elif item is None:
            value[position] = {} if items.type == "object" else ""
        elif (fault := _scalar(items, item)) is not None:
            raise _mismatch(owner, path, name, items, fault)


def _scalar(schema: Schema, value: Any) -> str | None:
    """What Go calls a scalar that does not fit; None when it does."""
    match schema.type:
        case "string":
            return None if isinstance(value, str) else _go_kind(value)
        case "boolean":
            return None if isinstance(value, bool) else _go_kind(value)
        case "integer":
            if isinstance(value, bool) or not isinstance(value, int):
                whole = isinstance(value, float)
                return f"number {json.dumps(value)}" if whole else _go_kind(value)
            return None if -_LIMITS[schema.format] <= value < _LIMITS[schema.format] else f"number {value}"
        case "number":
            return _go_kind(value) if isinstance(value, bool) or not isinstance(value, int | float) else None
        case "":
            return "bool" if schema.int_or_string and isinstance(value, bool) else None
    return _go_kind(value)


def _go_kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
    return "number"


def _mismatch(owner: Schema, path: str, name: str, schema: Schema, found: str) -> TypeMismatch:
    """The words of Go's JSON decoder; list positions do not appear in them."""
    type = owner.name.rpartition(".")[2] or "map"
    steps = [step.partition("[")[0] for step in path.split(".")] if path else []
    where = ".".join([type, *steps, *([name] if name else [])])
    return TypeMismatch(f"json: cannot unmarshal {found} into Go struct field {where} of type {_go_type(schema)}")


def _go_type(schema: Schema) -> str:
    if schema.type == "array":
        assert schema.items is not None
        return f"[]{_go_type(schema.items)}"
    if schema.type == "object":
        if schema.additional is not None:
            return f"map[string]{_go_type(schema.additional)}"
        group, _, name = schema.name.rpartition(".")
        return f"{group.rpartition('/')[2]}.{name}"
    return {"boolean": "bool", "number": "float64", "integer": schema.format}.get(schema.type, "string")
