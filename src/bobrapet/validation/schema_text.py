"""Why a value does not fit a schema, in words, and what may stand for a value of any type."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import jsonschema_rs

from bobrapet.api.env import CONFIGMAP_REF, SECRET_REF, STORAGE_REF, STORAGE_REF_KEYS
from bobrapet.validation.faults import did_you_mean, one_of, quoted

StandIn: TypeAlias = Callable[[Any], bool]
Path: TypeAlias = tuple[str | int, ...]

UNKNOWN_KEY: Final = "unknown_key"
"""Attribute of an error of `additionalProperties`: the key that is not allowed."""

_TEMPLATE: Final = re.compile(r"\s*\$?\{\{[\s\S]+\}\}\s*")

_NAMES: Final = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def is_reference(value: Any) -> bool:
    """Whether `value` is a reference to a payload: a map with the keys of one, and no others."""
    if not isinstance(value, dict):
        return False
    if STORAGE_REF in value:
        return value.keys() <= STORAGE_REF_KEYS and all(isinstance(part, str) for part in value.values())
    return len(value) == 1 and (CONFIGMAP_REF in value or SECRET_REF in value)


def is_template(value: Any) -> bool:
    """Whether `value` is one template from end to end, so that its result may have any type."""
    return isinstance(value, str) and _TEMPLATE.fullmatch(value) is not None


def is_reference_or_template(value: Any) -> bool:
    return is_template(value) or is_reference(value)


def holds(value: Any, stand_in: StandIn) -> bool:
    """Whether a stand-in is anywhere inside `value`."""
    if stand_in(value):
        return True
    if isinstance(value, dict):
        return any(holds(child, stand_in) for child in value.values())
    if isinstance(value, list):
        return any(holds(child, stand_in) for child in value)
    return False


def passes_stand_in(value: Any, path: Path, stand_in: StandIn) -> bool:
    """Whether the way along `path` meets a stand-in, so that a fault found there does not count."""
    if stand_in(value):
        return True
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return False
        if stand_in(value):
            return True
    return False


def joined(path: Path) -> str:
    """A path as messages write it: `body.items[0]`, odd keys in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w$-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{quoted(part)}]"
    return text


def phrase(error: Any) -> str:
    """What an error of `jsonschema` means to the author of the value. Never shows the value, which may be secret."""
    argument, instance = error.validator_value, error.instance
    match error.validator:
        case "type":
            types = argument if isinstance(argument, list) else [argument]
            wanted = " or ".join(_NAMES.get(str(name), str(name)) for name in types)
            return f"must be {wanted}, is {type_of(instance)}"
        case "required":
            missing = [name for name in argument if name not in instance]
            return f"lacks {', '.join(map(quoted, missing))}"
        case "additionalProperties" if hasattr(error, UNKNOWN_KEY):
            known = list(error.schema.get("properties", {}))
            hint = did_you_mean(getattr(error, UNKNOWN_KEY), known) or (
                f"; known are {', '.join(known[:12])}" if known else ""
            )
            return f"unknown key {quoted(getattr(error, UNKNOWN_KEY))}{hint}"
        case "enum":
            words = [str(word) for word in argument]
            hint = did_you_mean(instance, words) if isinstance(instance, str) else ""
            return f"{one_of(words)}{hint}"
        case "const":
            return f"must be {quoted(argument)}"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            bound = {
                "minimum": "at least",
                "exclusiveMinimum": "more than",
                "maximum": "at most",
                "exclusiveMaximum": "less than",
            }[error.validator]
            return f"must be {bound} {argument}"
        case "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties":
            bound = "at least" if error.validator.startswith("min") else "at most"
            unit = {"L": "characters", "I": "entries", "P": "keys"}[error.validator[3]]
            return f"must have {bound} {argument} {unit}, has {len(instance)}"
        case "pattern":
            return f"must match {quoted(argument)}"
        case "multipleOf":
            return f"must be a multiple of {argument}"
        case "uniqueItems":
            return "has equal entries; each may stand once"
        case "format":
            return f"must be a {argument}"
        case "anyOf" | "oneOf" if not error.context:
            return f"fits more than one alternative of {error.validator}"
        case "anyOf" | "oneOf":
            return f"fits none of the {len(argument)} alternatives"
        case None:
            return "is not allowed here"
        case other:
            return f"does not satisfy {other}"


def type_of(value: Any) -> str:
    """The type of a JSON value in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return "a string"
        case int():
            return "an integer"
        case _:
            return "a number"


def of_schema_fault(schema: Any, path: Path, error: jsonschema_rs.ValidationError) -> str:
    """Why a schema is none, with its offending part."""
    text = error.message.partition("\n")[0]
    part: Any = schema
    for step in path:
        try:
            part = part[step]
        except (KeyError, IndexError, TypeError):
            return text[:200]
    if path and path[-1] == "type" and not isinstance(part, dict):
        words = part if isinstance(part, str) else ""
        return f"no type is called {quoted(part)}; {one_of(_NAMES)}{did_you_mean(words, _NAMES)}"
    if path and path[-1] in ("pattern",):
        return f"{quoted(part)} is no regular expression that can be matched in linear time (no look-around)"
    return text[:200]
