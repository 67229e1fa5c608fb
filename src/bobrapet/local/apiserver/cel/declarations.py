"""Structural schemas as types of expressions, with what the values may weigh, and values of schemas as CEL values.

A kube-apiserver does the same: `format: date-time` is a timestamp, `byte` is bytes, an int-or-string is dyn, unknown
fields are not seen. Names that are no identifiers are escaped (`a-b` is `a__dash__b`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bobrapet.local.apiserver.cel import types
from bobrapet.local.apiserver.cel.parser import RESERVED
from bobrapet.local.apiserver.cel.types import Type
from bobrapet.local.apiserver.cel.values import KeyedList, SetList, date, duration, timestamp
from bobrapet.local.apiserver.schema import Schema

MAX_REQUEST = 3 * 1024 * 1024
"""Bytes of the largest request; what bounds everything that a schema does not."""
_DURATION_SIZE = 32
_MOMENT_SIZE = 32
_DATE_SIZE = 12

_RESERVED = RESERVED | {"true", "false", "null", "in"}
_ESCAPED = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_NAME = re.compile(r"[a-zA-Z_./-][a-zA-Z0-9_./-]*")


def escape(name: str) -> str | None:
    """A field's name as an identifier; None for one that rules cannot name."""
    if name in _RESERVED:
        return f"__{name}__"
    if not _NAME.fullmatch(name):
        return None
    return re.sub(r"__|[-./]", lambda match: _ESCAPED[match.group()], name)


class Fields(Mapping[str, Type]):
    """The fields of an object by their escaped names."""

    def __init__(self, declarations: Mapping[str, tuple[str, Declaration]]) -> None:
        self._declarations = declarations

    def __getitem__(self, name: str) -> Type:
        return self._find(name)[1].type

    def __iter__(self) -> Iterator[str]:
        return iter(self._declarations)

    def __len__(self) -> int:
        return len(self._declarations)

    def key(self, name: str) -> str:
        """The name that the field has in objects."""
        return self._find(name)[0]

    def _find(self, name: str) -> tuple[str, Declaration]:
        # After a dot a reserved word can only be a field, so it needs no escaping there.
        return self._declarations[f"__{name}__" if name in _RESERVED else name]


@dataclass(slots=True)
class Declaration:
    """What rules know of a node of a schema."""

    type: Type
    least_bytes: int
    """The smallest value, serialized."""
    most: int = 0
    """Entries or characters at most; 0 for what has none."""
    element: Declaration | None = None
    key: Declaration | None = None
    fields: dict[str, tuple[str, Declaration]] = field(default_factory=dict)
    """By escaped name: the real name and the declaration."""


_STRING = Declaration(types.STRING, 2)
_SIMPLE = {
    "boolean": Declaration(types.BOOL, 4),
    "number": Declaration(types.DOUBLE, 1),
    "integer": Declaration(types.INT, 1),
}


def declare(schema: Schema, *, root: bool = False, name: str = "selfType") -> Declaration | None:
    """The declaration of a node; None when rules cannot see it. `root`: it is a whole object."""
    if schema.int_or_string:
        return Declaration(types.DYN, 1, _most_characters(schema, MAX_REQUEST - 2))
    match schema.type:
        case "array":
            return _declare_list(schema, name)
        case "object":
            return _declare_map(schema, name) if schema.additional is not None else _declare_object(schema, root, name)
        case "string":
            return _declare_string(schema)
    return _SIMPLE.get(schema.type)


def _declare_list(schema: Schema, name: str) -> Declaration | None:
    if schema.items is None:
        return None
    element = declare(schema.items, root=schema.items.embedded, name=f"{name}.@idx")
    if element is None:
        return None
    most = schema.checks.get("maxItems")
    if most is None:
        most = (MAX_REQUEST - 2) // (element.least_bytes + 1)
    return Declaration(types.list_of(element.type), 2, max(most, 0), element)


def _declare_map(schema: Schema, name: str) -> Declaration | None:
    assert schema.additional is not None
    element = declare(schema.additional, root=schema.additional.embedded, name=f"{name}.@prop")
    if element is None:
        return None
    most = schema.checks.get("maxProperties")
    if most is None:
        most = (MAX_REQUEST - 2) // (element.least_bytes + 6)
    return Declaration(types.map_of(types.STRING, element.type), 2, max(most, 0), element, _STRING)


_META = Schema("object")
_META.properties = {"name": Schema("string"), "generateName": Schema("string")}
_ALWAYS = {"apiVersion": Schema("string"), "kind": Schema("string"), "metadata": _META}


def _declare_object(schema: Schema, root: bool, name: str) -> Declaration:
    properties = {**schema.properties, **_ALWAYS} if root else schema.properties
    fields = {}
    least = 2
    for key, child in properties.items():
        escaped = escape(key)
        declaration = declare(child, root=child.embedded, name=f"{name}.{escaped}")
        if declaration is None:
            continue
        if escaped is not None:
            fields[escaped] = (key, declaration)
        if key in schema.required and not child.has_default:
            least += len(key) + declaration.least_bytes + 4
    return Declaration(Type(name, fields=Fields(fields)), least, fields=fields)


def _declare_string(schema: Schema) -> Declaration:
    match schema.format:
        case "byte":
            most = schema.checks.get("maxLength")
            return Declaration(types.BYTES, 2, MAX_REQUEST - 2 if most is None else most)
        case "duration":
            return Declaration(types.DURATION, 3, _DURATION_SIZE)
        case "date":
            return Declaration(types.TIMESTAMP, _DATE_SIZE, _DATE_SIZE)
        case "date-time":
            return Declaration(types.TIMESTAMP, 21, _MOMENT_SIZE)
    enum = [len(value.encode()) for value in schema.checks.get("enum", ()) if isinstance(value, str)]
    return Declaration(types.STRING, 2, _most_characters(schema, max(enum) if enum else MAX_REQUEST - 2))


def _most_characters(schema: Schema, otherwise: int) -> int:
    # A character takes up to four bytes, and costs count bytes.
    most = schema.checks.get("maxLength")
    return otherwise if most is None else max(most, 0) * 4


# Values


def value_of(schema: Schema, value: Any) -> Any:
    """A JSON value as the CEL value that its schema makes it; the value itself when that is the same."""
    return _convert(schema, value) if _is_special(schema) else value


def _convert(schema: Schema, value: Any) -> Any:
    match value:
        case str():
            return _convert_string(schema, value)
        case bool():
            return value
        case int() if schema.type == "number" and not schema.int_or_string:
            return float(value)
        case list():
            items = schema.items
            converted = value if items is None else [value_of(items, item) for item in value]
            if schema.list_keys:
                return KeyedList(converted, schema.list_keys)
            return SetList(converted) if schema.list_set else converted
        case dict():
            return {
                name: item if (child := schema.child(name)) is None else value_of(child, item)
                for name, item in value.items()
            }
    return value


def _convert_string(schema: Schema, value: str) -> Any:
    parse = _FORMATS.get(schema.format)
    if parse is None or schema.int_or_string:
        return value
    try:
        return parse(value)
    except (ValueError, binascii.Error):
        return value


_FORMATS = {
    "byte": lambda text: base64.b64decode(text, validate=True),
    "date": date,
    "date-time": timestamp,
    "duration": duration,
}


def _is_special(schema: Schema) -> bool:
    """Whether any value below needs conversion; most schemas need none, and their values are used as they are."""
    if schema.special is None:
        schema.special = False  # what refers to itself is decided by the rest
        schema.special = (
            schema.format in _FORMATS
            or schema.type == "number"
            or bool(schema.list_keys)
            or schema.list_set
            or any(map(_is_special, schema.properties.values()))
            or any(_is_special(child) for child in (schema.items, schema.additional) if child is not None)
        )
    return schema.special
