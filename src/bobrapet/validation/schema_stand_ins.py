"""A schema that accepts a stand-in wherever it accepts a value, in words that the deciding engine understands.

A payload reference, or a template, may stand for a value of any type. `schema_search` knows that keyword by keyword,
in Python; this says the same as a schema, so that the common yes costs microseconds. Where both could differ (
annotations, anchors, odd references) there is no such schema, and the search decides alone.
"""

from __future__ import annotations

import re
from typing import Any, Final

from bobrapet.api.env import CONFIGMAP_REF, SECRET_REF, STORAGE_REF, STORAGE_REF_KEYS
from bobrapet.validation.schema_form import map_children, nodes

REFERENCES: Final[tuple[dict[str, Any], ...]] = (
    {
        "type": "object",
        "required": [STORAGE_REF],
        "properties": {key: {"type": "string"} for key in sorted(STORAGE_REF_KEYS)},
        "additionalProperties": False,
    },
    {"type": "object", "required": [CONFIGMAP_REF], "maxProperties": 1},
    {"type": "object", "required": [SECRET_REF], "maxProperties": 1},
)
TEMPLATE: Final[dict[str, Any]] = {"type": "string", "pattern": r"^\s*\$?\{\{[\s\S]+\}\}\s*$"}

_DEFINITIONS: Final = ("$defs", "definitions")
_PLAIN_REFERENCE: Final = re.compile(r"#(/(\$defs|definitions)/[^/]+)?")
_ODD: Final = frozenset(
    {
        "$id",
        "id",
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$recursiveAnchor",
        "$recursiveRef",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)


def with_stand_ins(schema: dict[str, Any], stand_ins: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
    """`schema` with every node widened by `stand_ins`; None when that cannot be said exactly."""
    for _, node in nodes(schema):
        if not _ODD.isdisjoint(node):
            return None
        target = node.get("$ref")
        if target is not None and not (isinstance(target, str) and _PLAIN_REFERENCE.fullmatch(target)):
            return None
    # Definitions stay where references look for them; what the root itself says moves into an alternative.
    definitions: dict[str, Any] = {name: schema[name] for name in _DEFINITIONS if name in schema}
    rest = {name: value for name, value in schema.items() if name not in definitions}
    return {**map_children(definitions, lambda node: _widened(node, stand_ins)), **_widened(rest, stand_ins)}


def _widened(node: dict[str, Any], stand_ins: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {"anyOf": [map_children(node, lambda child: _widened(child, stand_ins)), *stand_ins]}
