"""The shape of objects: one tree for the types of built-in kinds and for the structural schemas of CRDs.

What is here is what the server does with a shape on every write: drop and report what is unknown, fill defaults. The
value checks of CRDs are in `validation`, merging by list keys in `strategic` and `apply`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bobrapet.local.apiserver.types import Object

_UNSET: Any = object()


class Schema:
    """One node. Built once, read-only afterwards; nodes of built-in types may form cycles."""

    __slots__ = (
        "additional",
        "atomic",
        "checks",
        "default",
        "description",
        "embedded",
        "format",
        "int_or_string",
        "items",
        "list_keys",
        "list_set",
        "merge",
        "merge_key",
        "name",
        "nullable",
        "omit_zero",
        "preserve",
        "properties",
        "required",
        "retain_keys",
        "rules",
        "special",
        "type",
    )

    def __init__(self, type: str = "", *, format: str = "", name: str = "") -> None:
        self.type = type
        """object, array, string, integer, number, boolean; "" is anything."""
        self.format = format
        self.name = name
        """The name of a built-in type, for example core/v1.PodSpec; "" for a CRD's node."""
        self.description = ""
        self.properties: dict[str, Schema] = {}
        self.additional: Schema | None = None
        self.items: Schema | None = None
        self.required: tuple[str, ...] = ()
        self.default: Any = _UNSET
        self.nullable = False
        self.omit_zero = False
        """"", 0 and false are the same as missing."""
        self.preserve = False
        """Unknown fields are kept."""
        self.embedded = False
        """A whole Kubernetes object with apiVersion, kind and metadata."""
        self.int_or_string = False
        self.list_keys: tuple[str, ...] = ()
        """An associative list: entries are identified by these fields."""
        self.list_set = False
        self.atomic = False
        """A list, map or struct with one owner, replaced as a whole."""
        self.merge = False
        """Strategic merge patch merges the entries of this list."""
        self.merge_key = ""
        self.retain_keys = False
        self.checks: Object = {}
        """The value validations of a CRD's node, as written there."""
        self.rules: Sequence[Object] = ()
        """The `x-kubernetes-validations` of a CRD's node."""
        self.special: bool | None = None
        """Whether values here look otherwise to rules than they do in JSON; None until somebody asked."""

    @property
    def has_default(self) -> bool:
        """Whether a missing value is filled."""
        return self.default is not _UNSET

    def child(self, name: str) -> Schema | None:
        """The schema of a field of an object; None when nothing is said of it."""
        return self.properties.get(name) or self.additional


def structural(given: Mapping[str, Any]) -> Schema:
    """The tree of an `openAPIV3Schema` (or a part of it)."""
    schema = Schema(given.get("type", ""), format=given.get("format", ""))
    schema.description = given.get("description", "")
    schema.nullable = bool(given.get("nullable"))
    schema.preserve = bool(given.get("x-kubernetes-preserve-unknown-fields"))
    schema.embedded = bool(given.get("x-kubernetes-embedded-resource"))
    schema.int_or_string = bool(given.get("x-kubernetes-int-or-string"))
    schema.required = tuple(given.get("required") or ())
    if "default" in given:
        schema.default = given["default"]
    schema.properties = {name: structural(value) for name, value in (given.get("properties") or {}).items()}
    additional = given.get("additionalProperties")
    if isinstance(additional, dict):
        schema.additional = structural(additional)
    elif additional is True:
        schema.additional = Schema()
        schema.additional.preserve = True
    if isinstance(given.get("items"), dict):
        schema.items = structural(given["items"])
    list_type = given.get("x-kubernetes-list-type", "atomic")
    schema.list_set = list_type == "set"
    if list_type == "map":
        schema.list_keys = tuple(given.get("x-kubernetes-list-map-keys") or ())
    schema.atomic = (list_type == "atomic" and schema.type == "array") or given.get("x-kubernetes-map-type") == "atomic"
    schema.checks = {name: given[name] for name in _CHECKS if name in given}
    schema.rules = tuple(given.get("x-kubernetes-validations") or ())
    return schema


_CHECKS = (
    "allOf",
    "anyOf",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
)


def prune(schema: Schema, value: Any, path: str, unknown: list[str]) -> None:
    """Drops in place what a structural schema does not name, and nulls that it does not allow.

    `unknown` receives the paths of what was dropped, except nulls.
    """
    if isinstance(value, dict):
        _prune_object(schema, value, path, unknown)
    elif isinstance(value, list) and schema.items is not None:
        for position, item in enumerate(value):
            if isinstance(item, dict | list):
                prune(schema.items, item, f"{path}[{position}]", unknown)


def _prune_object(schema: Schema, value: Object, path: str, unknown: list[str]) -> None:
    dropped: list[str] | None = None
    for name, item in value.items():
        child = schema.properties.get(name) or schema.additional
        if child is None:
            if schema.preserve or (schema.embedded and name in ("apiVersion", "kind", "metadata")):
                continue
            unknown.append(f"{path}.{name}" if path else name)
        elif item is None:
            if child.nullable or not child.type:
                continue
        else:
            if isinstance(item, dict | list):
                prune(child, item, f"{path}.{name}" if path else name, unknown)
            continue
        dropped = [*(dropped or ()), name]
    for name in dropped or ():
        del value[name]


def fill_defaults(schema: Schema, value: Any) -> None:
    """Fills in place the defaults of missing fields, at any depth that exists."""
    if isinstance(value, dict):
        for name, child in schema.properties.items():
            if name not in value:
                if child.default is _UNSET:
                    continue
                value[name] = copy(child.default)
            item = value[name]
            if isinstance(item, dict | list):
                fill_defaults(child, item)
        if schema.additional is not None:
            for name, item in value.items():
                if name not in schema.properties and isinstance(item, dict | list):
                    fill_defaults(schema.additional, item)
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            if isinstance(item, dict | list):
                fill_defaults(schema.items, item)


def copy(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {name: copy(item) for name, item in value.items()}
    if isinstance(value, list):
        return [copy(item) for item in value]
    return value
