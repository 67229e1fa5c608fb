"""Why a value does not fit a schema, in words: `jsonschema` searches, within bounds, and these functions phrase it.

Values may be stood for by payload references and templates: every keyword accepts such a stand-in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final, TypeAlias

import jsonschema
import jsonschema_rs
from jsonschema.exceptions import best_match

from bobrapet.api.env import CONFIGMAP_REF, SECRET_REF, STORAGE_REF, STORAGE_REF_KEYS
from bobrapet.validation.faults import did_you_mean, one_of, quoted
from bobrapet.validation.schema_form import Dialect

StandIn: TypeAlias = Callable[[Any], bool]
Path: TypeAlias = tuple[str | int, ...]

_MAX_KEYWORDS: Final = 200_000
"""Keywords evaluated before the search for words is given up."""

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


class Exhausted(Exception):
    """Finding the words would take too long."""


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


def explain(
    schema: dict[str, Any], dialect: Dialect, value: Any, stand_in: StandIn | None, limit: int
) -> list[tuple[Path, str]]:
    """Paths and messages of at most `limit` faults, the outermost first; empty when the value fits after all.

    Raises:
        Exhausted: the search was given up.
    """
    search = _Search(stand_in)
    token = _SEARCH.set(search)
    try:
        found = []
        for error in _engine(dialect)(schema).iter_errors(value):
            nearest = best_match([error]) or error
            found.append((tuple(nearest.absolute_path), _message(nearest)))
            if len(found) == limit:
                break
    except RecursionError:
        raise Exhausted from None
    finally:
        _SEARCH.reset(token)
    return sorted(found, key=lambda fault: (len(fault[0]), [str(part) for part in fault[0]]))


class _Search:
    """Bounds of one search."""

    def __init__(self, stand_in: StandIn | None) -> None:
        self._stand_in = stand_in
        self._left = _MAX_KEYWORDS

    def accepts(self, value: Any) -> bool:
        self._left -= 1
        if self._left < 0:
            raise Exhausted
        return self._stand_in is not None and self._stand_in(value)


_SEARCH: ContextVar[_Search] = ContextVar("search")

_BASES: Final[dict[Dialect, Any]] = {
    Dialect.DRAFT_4: jsonschema.Draft4Validator,
    Dialect.DRAFT_6: jsonschema.Draft6Validator,
    Dialect.DRAFT_7: jsonschema.Draft7Validator,
    Dialect.DRAFT_2019_09: jsonschema.Draft201909Validator,
    Dialect.DRAFT_2020_12: jsonschema.Draft202012Validator,
}


@lru_cache
def _engine(dialect: Dialect) -> Any:
    """The validator of a dialect whose keywords are bounded, accept stand-ins and match patterns in linear time."""
    base = _BASES[dialect]
    keywords = {name: _bounded(check) for name, check in base.VALIDATORS.items()}
    keywords["pattern"] = _bounded(_pattern)
    keywords["patternProperties"] = _bounded(_pattern_properties)
    keywords["additionalProperties"] = _bounded(_additional_properties)
    return jsonschema.validators.extend(base, keywords)  # type: ignore[no-untyped-call]


def _bounded(check: Any) -> Any:
    def keyword(validator: Any, argument: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not _SEARCH.get().accepts(instance):
            yield from check(validator, argument, instance, schema) or ()

    return keyword


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> Any:
    return jsonschema_rs.Draft7Validator({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not _matcher(pattern).is_valid(instance):
        yield jsonschema.ValidationError(f"does not match {pattern}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if _matcher(pattern).is_valid(name):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in schema.get("properties", {}) or any(_matcher(pattern).is_valid(name) for pattern in patterns):
            continue
        if allowed is False:
            error = jsonschema.ValidationError(f"unknown key {quoted(name)}", path=())
            error._unknown = name  # type: ignore[attr-defined]
            yield error
        elif isinstance(allowed, dict):
            yield from validator.descend(value, allowed, path=name)


def _message(error: Any) -> str:
    argument, instance = error.validator_value, error.instance
    match error.validator:
        case "type":
            types = argument if isinstance(argument, list) else [argument]
            wanted = " or ".join(_NAMES.get(str(name), str(name)) for name in types)
            return f"must be {wanted}, is {type_of(instance)}"
        case "required":
            missing = [name for name in argument if name not in instance]
            return f"lacks {', '.join(map(quoted, missing))}"
        case "additionalProperties" if hasattr(error, "_unknown"):
            known = list(error.schema.get("properties", {}))
            hint = did_you_mean(error._unknown, known) or (f"; known are {', '.join(known[:12])}" if known else "")
            return f"unknown key {quoted(error._unknown)}{hint}"
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
