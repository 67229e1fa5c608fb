"""The EngramTemplate of a component, written from its code: schemas from the types, words from the docstrings.

A running component never imports this module.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, get_args, get_type_hints

import msgspec

from bobrapet.sdk.codec import UNTYPED
from bobrapet.sdk.engram import Engram

_DEFS = "#/$defs/"
_ORDER = {"type": 0, "description": 1, "enum": 2, "default": 3, "required": 4, "properties": 5}

Schema = dict[str, Any]


class NoSchema(Exception):
    """A type that JSON Schema cannot tell."""


def engram_template(
    component: Engram[..., Any],
    *,
    image: str = "",
    version: str = "",
    name: str = "",
    modes: tuple[str, ...] = ("job",),
) -> dict[str, Any]:
    """The manifest. What is not given here is what `@engram` was told.

    Raises TypeError for a signature that no step can serve, NoSchema for a type without a schema.
    """
    about, signature = component.about, component.signature()
    spec: dict[str, Any] = {"version": version or about.version}
    description = _summary(component.__doc__)
    if description:
        spec["description"] = description
    spec["supportedModes"] = list(modes)
    if image or about.image:
        spec["image"] = image or about.image
    for field, kind in (
        ("inputSchema", signature.input_type),
        ("outputSchema", signature.output_type),
        ("configSchema", signature.config_type),
    ):
        schema = schema_of(kind)
        if schema:
            spec[field] = schema
    if about.secrets:
        spec["secretSchema"] = {secret: _secret(need) for secret, need in about.secrets.items()}
    execution: dict[str, Any] = {}
    if about.timeout:
        execution["timeout"] = about.timeout
    if about.max_retries is not None:
        execution["retry"] = {"recommendedMaxRetries": about.max_retries}
    if about.rights:
        execution["rbac"] = {"rules": [dict(rule) for rule in about.rights]}
    if execution:
        spec["execution"] = execution
    return {
        "apiVersion": "catalog.bubustack.io/v1alpha1",
        "kind": "EngramTemplate",
        "metadata": {"name": name or component.name},
        "spec": spec,
    }


def schema_of(kind: Any) -> Schema:
    """JSON Schema of a declared type; empty for one that says nothing. Raises NoSchema."""
    if kind in UNTYPED:
        return {}
    try:
        if hasattr(kind, "model_json_schema"):
            schema = _pydantic(kind)
            definitions = schema.pop("$defs", {})
        else:
            (schema,), definitions = msgspec.json.schema_components(
                [kind], ref_template=_DEFS + "{name}", schema_hook=_pydantic
            )
    except (TypeError, ValueError, NotImplementedError) as error:
        raise NoSchema(f"{getattr(kind, '__name__', kind)}: {error}") from error
    definitions = dict(definitions)
    for found in _classes(kind):
        _add_descriptions(definitions.get(found.__name__) or (schema if found is kind else {}), found)
    whole: Schema = _inlined(schema, definitions, ())
    kept = {name: _inlined(definitions[name], definitions, (name,)) for name in sorted(_referred(whole, definitions))}
    return whole | ({"$defs": kept} if kept else {})


def _pydantic(kind: Any) -> Schema:
    if not hasattr(kind, "model_json_schema"):
        raise TypeError(f"{getattr(kind, '__name__', kind)} is no type that JSON Schema can tell")
    return dict(kind.model_json_schema(ref_template=_DEFS + "{model}"))


def _secret(need: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"required": need.required}
    if need.description:
        told["description"] = need.description
    told["mountType"] = need.mount
    if need.keys:
        told["expectedKeys"] = list(need.keys)
    return told


def _summary(doc: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    paragraph = inspect.cleandoc(doc or "").split("\n\n")[0]
    return " ".join(paragraph.split()).rstrip(".")


# References: a reader sees the whole shape at its place; only what contains itself stays a reference.


def _inlined(schema: Any, definitions: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    if isinstance(schema, list | tuple):
        return [_inlined(element, definitions, inside) for element in schema]
    if not isinstance(schema, dict):
        return schema
    reference = str(schema.get("$ref", ""))
    name = reference.removeprefix(_DEFS)
    if reference.startswith(_DEFS) and name in definitions and name not in inside and not _recursive(name, definitions):
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _inlined({**definitions[name], **beside}, definitions, (*inside, name))
    return {
        key: {name: _inlined(part, definitions, inside) for name, part in value.items()}
        if key == "properties"
        else _inlined(value, definitions, inside)
        for key, value in sorted(schema.items(), key=lambda item: _ORDER.get(item[0], len(_ORDER)))
        if not _is_noise(key, value)
    }


def _is_noise(key: str, value: Any) -> bool:
    """Titles repeat the name; defaults that are nothing would only fill every input with nothing."""
    if key == "title":
        return isinstance(value, str)
    return (key == "default" and value in (None, {}, [], (), "")) or (key == "required" and value == [])


def _recursive(name: str, definitions: Mapping[str, Any]) -> bool:
    seen: set[str] = set()
    ahead = _direct(definitions[name])
    while ahead:
        found = ahead.pop()
        if found == name:
            return True
        if found not in seen and found in definitions:
            seen.add(found)
            ahead |= _direct(definitions[found])
    return False


def _direct(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(_direct, schema))
    if not isinstance(schema, dict):
        return set()
    own = {str(schema["$ref"]).removeprefix(_DEFS)} if "$ref" in schema else set()
    return own.union(*map(_direct, schema.values()))


def _referred(schema: Any, definitions: Mapping[str, Any]) -> set[str]:
    found, ahead = set[str](), _direct(schema)
    while ahead:
        name = ahead.pop()
        if name in definitions and name not in found:
            found.add(name)
            ahead |= _direct(definitions[name])
    return found


# Descriptions: a string under a field is its documentation.


def _classes(kind: Any) -> list[type]:
    """The classes with fields that a type is made of."""
    found: list[type] = []
    ahead = [kind]
    while ahead:
        one = ahead.pop()
        ahead.extend(get_args(one))
        if isinstance(one, type) and one not in found and _has_fields(one):
            found.append(one)
            ahead.extend(get_type_hints(one).values())
    return found


def _has_fields(kind: type) -> bool:
    markers = ("__struct_fields__", "__dataclass_fields__", "__required_keys__", "model_fields")
    return any(hasattr(kind, marker) for marker in markers)


def _add_descriptions(schema: Schema, kind: type) -> None:
    properties = schema.get("properties", {})
    names = _wire_names(kind)
    for field, text in _documented(kind):
        part = properties.get(names.get(field, field))
        if part is not None and "description" not in part:
            part["description"] = text
    if not _has_own_doc(kind):
        schema.pop("description", None)


def _has_own_doc(kind: type) -> bool:
    """A dataclass without a docstring gets one that only repeats its signature."""
    return bool(kind.__doc__) and not kind.__doc__.startswith(f"{kind.__name__}(")  # type: ignore[union-attr]


def _wire_names(kind: Any) -> dict[str, str]:
    if hasattr(kind, "__struct_fields__"):
        return dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    if hasattr(kind, "model_fields"):
        return {name: field.alias or name for name, field in kind.model_fields.items()}
    return {}


def _documented(kind: type) -> Iterator[tuple[str, str]]:
    """Fields and the strings below them; nothing where the source is not at hand."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return
    body = getattr(tree.body[0], "body", [])
    for field, below in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            yield field.target.id, _summary(below.value.value)
