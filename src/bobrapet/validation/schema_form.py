"""The form of users' schemas: dialects, Kubernetes extensions, and bounds that keep a hostile schema harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, Final

_MAX_DEPTH: Final = 128
_MAX_EXPANSION: Final = 100_000
"""Nodes of a schema after every local $ref is replaced by its target: checking one value visits at most so many."""

_ONE: Final = frozenset(
    {
        "items",
        "additionalProperties",
        "additionalItems",
        "contains",
        "contentSchema",
        "if",
        "then",
        "else",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
        "not",
    }
)
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_MAPS: Final = frozenset(
    {"properties", "patternProperties", "dependencies", "dependentSchemas", "definitions", "$defs"}
)


class InvalidSchema(ValueError):
    """A schema that cannot be used. `pointer` is the JSON pointer of the fault, empty for the whole schema."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"at {pointer}: {message}" if pointer else message)
        self.pointer = pointer
        self.message = message


class Dialect(StrEnum):
    DRAFT_4 = "http://json-schema.org/draft-04/schema"
    DRAFT_6 = "http://json-schema.org/draft-06/schema"
    DRAFT_7 = "http://json-schema.org/draft-07/schema"
    DRAFT_2019_09 = "https://json-schema.org/draft/2019-09/schema"
    DRAFT_2020_12 = "https://json-schema.org/draft/2020-12/schema"


def dialect_of(schema: dict[str, Any]) -> Dialect:
    """The dialect that `$schema` names, else 2020-12, else draft 7 where the schema uses forms that 2020-12 dropped."""
    named = schema.get("$schema")
    if isinstance(named, str):
        for dialect in Dialect:
            if named.rstrip("#") in (dialect.value, dialect.value.replace("http:", "https:")):
                return dialect
    old = any(
        isinstance(node.get("items"), list) or "additionalItems" in node or "dependencies" in node
        for _, node in nodes(schema)
    )
    return Dialect.DRAFT_7 if old else Dialect.DRAFT_2020_12


def nodes(schema: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside `schema`, itself first, with its JSON pointer. Values that only look like schemas
    (`default`, `enum`, `const`, `examples`) are left out."""
    if not isinstance(schema, dict):
        return
    yield pointer, schema
    for part, child in _children(schema):
        yield from nodes(child, f"{pointer}/{part}")


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, dict):
            for name, child in value.items():
                if isinstance(child, dict):
                    yield f"{keyword}/{name.replace('~', '~0').replace('/', '~1')}", child
        elif keyword in _LISTS and isinstance(value, list):
            for index, child in enumerate(value):
                if isinstance(child, dict):
                    yield f"{keyword}/{index}", child
        elif keyword in _ONE and isinstance(value, dict):
            yield keyword, value


def map_children(schema: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """`schema` with every schema directly inside it changed. Boolean schemas, and what is none, stay."""

    def each(child: Any) -> Any:
        return change(child) if isinstance(child, dict) else child

    result: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, dict):
            result[keyword] = {name: each(child) for name, child in value.items()}
        elif keyword in _LISTS and isinstance(value, list):
            result[keyword] = [each(child) for child in value]
        elif keyword in _ONE:
            result[keyword] = each(value)
        else:
            result[keyword] = value
    return result


def require_bounded(schema: Any) -> None:
    """Refuses a schema that is no object, too deep, refers outside itself, or multiplies itself by references.

    Raises:
        InvalidSchema
    """
    if not isinstance(schema, dict):
        raise InvalidSchema("", "a schema is an object")
    _require_shallow(schema, "", 0)
    ids = {node["$id"].rstrip("#") for _, node in nodes(schema) if isinstance(node.get("$id"), str)}
    for pointer, node in nodes(schema):
        target = node.get("$ref")
        if isinstance(target, str) and not target.startswith("#") and target.partition("#")[0] not in ids:
            raise InvalidSchema(
                f"{pointer}/$ref",
                f'"{target[:96]}" lies outside of this schema, and nothing is ever fetched; '
                f"put the definition below $defs and refer to it as #/$defs/NAME",
            )
    size = _expansion(schema)
    if size > _MAX_EXPANSION:
        raise InvalidSchema("", f"its references multiply to more than {_MAX_EXPANSION:,} schemas")


def _require_shallow(value: Any, pointer: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidSchema("", f"is nested deeper than {_MAX_DEPTH} levels, at {pointer[:96]}...")
    if isinstance(value, dict):
        for key, child in value.items():
            _require_shallow(child, f"{pointer}/{key}", depth + 1)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _require_shallow(child, f"{pointer}/{index}", depth + 1)


def _expansion(root: dict[str, Any]) -> int:
    by_pointer = dict(nodes(root))
    anchors = {
        f"#{node[key]}": node
        for node in by_pointer.values()
        for key in ("$anchor", "$dynamicAnchor")
        if isinstance(node.get(key), str)
    }
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: dict[str, Any], depth: int) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        # A reference back into an open node is recursion over the value, which the engine remembers as it goes.
        if id(node) in open_nodes or depth > 4 * _MAX_DEPTH:
            return 1
        open_nodes.add(id(node))
        total = 1
        for part, child in _children(node):
            if not part.startswith(("definitions/", "$defs/")):
                total += size(child, depth + 1)
        target = node.get("$ref")
        if isinstance(target, str) and target.startswith("#"):
            referred = anchors.get(target) or by_pointer.get(target[1:])
            if referred is not None:
                total += size(referred, depth + 1)
        open_nodes.discard(id(node))
        sizes[id(node)] = min(total, _MAX_EXPANSION + 1)
        return sizes[id(node)]

    return size(root, 0)


def normalise(schema: Any, dialect: Dialect = Dialect.DRAFT_2020_12) -> Any:
    """The schema with forms that authors use but JSON Schema does not have put into its words. The input stays.

    `required: true` on a property moves into the list of its parent; `nullable`, `x-kubernetes-int-or-string` and
    boolean `exclusiveMinimum`/`exclusiveMaximum` (which draft 4 knows) become types and numbers.
    """
    if not isinstance(schema, dict):
        return schema
    result = map_children(schema, lambda child: normalise(child, dialect))
    if isinstance(result.get("required"), bool):
        del result["required"]
    _lift_required(schema, result)
    _kubernetes_types(result)
    if dialect is not Dialect.DRAFT_4:
        _numeric_bounds(result)
    return result


def _lift_required(schema: dict[str, Any], result: dict[str, Any]) -> None:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return
    lifted = [name for name, child in properties.items() if isinstance(child, dict) and child.get("required") is True]
    if lifted:
        listed = result.get("required")
        given = listed if isinstance(listed, list) else []
        result["required"] = given + [name for name in lifted if name not in given]


def _kubernetes_types(node: dict[str, Any]) -> None:
    if node.get("x-kubernetes-int-or-string") is True:
        node.setdefault("type", ["integer", "string"])
    nullable = node.pop("nullable", None)
    if nullable is True and "type" in node:
        types = node["type"] if isinstance(node["type"], list) else [node["type"]]
        node["type"] = [*types, *(["null"] if "null" not in types else [])]
        if isinstance(node.get("enum"), list) and None not in node["enum"]:
            node["enum"] = [*node["enum"], None]
    elif nullable is not None and not isinstance(nullable, bool):
        node["nullable"] = nullable


def _numeric_bounds(node: dict[str, Any]) -> None:
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        flag = node.get(exclusive)
        if isinstance(flag, bool):
            del node[exclusive]
            if flag and bound in node:
                node[exclusive] = node.pop(bound)
