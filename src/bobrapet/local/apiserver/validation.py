"""The value checks of structural schemas, in the words of a kube-apiserver.

An update ratchets: what it leaves as it was is not checked again, so that a tightened schema does not block writes to
objects from before.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import uuid
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.patterns import pattern
from bobrapet.local.apiserver.schema import Schema, structural
from bobrapet.local.apiserver.types import Object

NOTHING: Any = object()
"""No value before."""
_INVALID = "FieldValueInvalid"


def validate(schema: Schema, value: Any, path: str = "", old: Any = NOTHING) -> list[FieldError]:
    """All faults of a value; of `old`, the value before, only what changed counts."""
    errors: list[FieldError] = []
    _validate(schema, value, old, path, errors)
    return errors


def _validate(schema: Schema, value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
    if old is not NOTHING and value == old:
        return
    kind = _kind(value)
    if kind == "array" and schema.type == "string" and schema.format in _FORMATS:
        return  # a list passes for a time, as in kube-openapi, whose type check leaves formats to the format check
    if not _fits(schema, kind):
        if value is None and schema.nullable:
            return
        wanted = "integer,string" if schema.int_or_string else schema.type
        if value is None and not schema.type and not schema.int_or_string:
            return
        errors.append(_wrong_type(path, wanted, kind))
        return
    if isinstance(value, dict):
        _validate_object(schema, value, old, path, errors)
    elif isinstance(value, list):
        _validate_list(schema, value, old, path, errors)
    if schema.checks or schema.format:
        _check(schema, value, path, errors)


def _validate_object(schema: Schema, value: Object, old: Any, path: str, errors: list[FieldError]) -> None:
    before = old if isinstance(old, dict) else {}
    missing = [name for name in schema.required if name not in value]
    if schema.embedded:
        missing += [name for name in ("apiVersion", "kind") if not value.get(name)]
    errors += [FieldError(_join(path, name), "Required value", "FieldValueRequired") for name in missing]
    for name, item in value.items():
        child = schema.properties.get(name) or schema.additional
        if child is not None:
            _validate(child, item, before.get(name, NOTHING), _join(path, name), errors)


def _validate_list(schema: Schema, value: list[Any], old: Any, path: str, errors: list[FieldError]) -> None:
    items = schema.items
    before = _correlated(schema, old)
    if items is not None:
        for position, item in enumerate(value):
            _validate(items, item, before(position, item), f"{path}[{position}]", errors)
    if schema.list_keys or schema.list_set:
        _check_unique(schema, value, path, errors)


def _correlated(schema: Schema, old: Any) -> Callable[[int, Any], Any]:
    """How to find the former state of a list's item: by key when the list has keys, else by position."""
    if not isinstance(old, list):
        return lambda _position, _item: NOTHING
    if schema.list_keys:
        keys = schema.list_keys
        by_key = {identity(item, keys): item for item in old if isinstance(item, dict)}
        return lambda _position, item: by_key.get(identity(item, keys), NOTHING) if isinstance(item, dict) else NOTHING
    return lambda position, _item: old[position] if position < len(old) else NOTHING


def identity(item: Object, keys: tuple[str, ...]) -> tuple[Any, ...]:
    """What tells the entries of an associative list apart."""
    return tuple(json.dumps(item.get(key), sort_keys=True) for key in keys)


def _check_unique(schema: Schema, value: list[Any], path: str, errors: list[FieldError]) -> None:
    seen: set[Any] = set()
    for position, item in enumerate(value):
        if schema.list_keys:
            if not isinstance(item, dict):
                continue
            key: Any = identity(item, schema.list_keys)
            shown = _show({name: item[name] for name in schema.list_keys if name in item})
        else:
            key, shown = json.dumps(item, sort_keys=True), _show(item)
        if key in seen:
            errors.append(FieldError(f"{path}[{position}]", f"Duplicate value: {shown}", "FieldValueDuplicate"))
        seen.add(key)


def _check(schema: Schema, value: Any, path: str, errors: list[FieldError]) -> None:
    checks = schema.checks
    if "enum" in checks and value not in checks["enum"]:
        supported = ", ".join(_show(item) for item in checks["enum"])
        errors.append(
            FieldError(
                path, f"Unsupported value: {_show(value)}: supported values: {supported}", "FieldValueNotSupported"
            )
        )
    match value:
        case bool() | None:
            pass
        case str():
            _check_string(schema, value, path, errors)
        case int() | float():
            _check_number(schema, value, path, errors)
        case list():
            _check_size(checks, len(value), "Items", path, errors)
        case dict():
            _check_size(checks, len(value), "Properties", path, errors)
    _check_logic(checks, value, path, errors)


def _check_string(schema: Schema, value: str, path: str, errors: list[FieldError]) -> None:
    checks = schema.checks
    if (most := checks.get("maxLength")) is not None and len(value) > most:
        errors.append(FieldError(path, f"Too long: may not be more than {most} bytes", "FieldValueTooLong"))
    if (least := checks.get("minLength")) is not None and len(value) < least:
        errors.append(_refused(path, value, f"should be at least {least} chars long"))
    if "pattern" in checks and not _search(checks["pattern"], value):
        errors.append(_refused(path, value, f"should match '{checks['pattern']}'"))
    if schema.format and (test := _FORMATS.get(schema.format)) is not None and not test(value):
        text = f"Invalid value: {_show(value)}: {path} in body must be of type {schema.format}: {_show(value)}"
        errors.append(FieldError(path, text, "FieldValueTypeInvalid"))


def _check_number(schema: Schema, value: float, path: str, errors: list[FieldError]) -> None:
    checks = schema.checks
    if factor := checks.get("multipleOf"):
        quotient = value / factor
        if abs(quotient - round(quotient)) > 1e-9:
            errors.append(_refused(path, value, f"should be a multiple of {_show(factor)}"))
    if (most := checks.get("maximum")) is not None:
        if checks.get("exclusiveMaximum") and value >= most:
            errors.append(_refused(path, value, f"should be less than {_show(most)}"))
        elif value > most:
            errors.append(_refused(path, value, f"should be less than or equal to {_show(most)}"))
    if (least := checks.get("minimum")) is not None:
        if checks.get("exclusiveMinimum") and value <= least:
            errors.append(_refused(path, value, f"should be greater than {_show(least)}"))
        elif value < least:
            errors.append(_refused(path, value, f"should be greater than or equal to {_show(least)}"))
    bits = {"int32": 31, "int64": 63}.get(schema.format)
    if bits and isinstance(value, int) and not -(2**bits) <= value < 2**bits:
        errors.append(_refused(path, value, f"must be of type {schema.format}"))


def _check_size(checks: Object, size: int, what: str, path: str, errors: list[FieldError]) -> None:
    if (most := checks.get(f"max{what}")) is not None and size > most:
        text = f"Too many: {size}: must have at most {most} item{'' if most == 1 else 's'}"
        errors.append(FieldError(path, text, "FieldValueTooMany"))
    if (least := checks.get(f"min{what}")) is not None and size < least:
        word = "items" if what == "Items" else "properties"
        errors.append(_refused(path, size, f"should have at least {least} {word}"))


def _check_logic(checks: Object, value: Any, path: str, errors: list[FieldError]) -> None:
    for part in checks.get("allOf", ()):
        errors += validate(_compiled(part), value, path)
    if "anyOf" in checks:
        faults = [validate(_compiled(part), value, path) for part in checks["anyOf"]]
        if all(faults):
            errors.append(_nameless(f'"{path}" must validate at least one schema (anyOf)'))
            errors += faults[0]
    if "oneOf" in checks:
        faults = [validate(_compiled(part), value, path) for part in checks["oneOf"]]
        valid = sum(not found for found in faults)
        if valid != 1:
            found = "none valid" if not valid else f"{valid} valid alternatives"
            errors.append(_nameless(f'"{path}" must validate one and only one schema (oneOf). Found {found}'))
            errors += faults[0] if not valid else []
    if "not" in checks and not validate(_compiled(checks["not"]), value, path):
        errors.append(_nameless(f'"{path}" must not validate the schema (not)'))


def _compiled(part: Object) -> Schema:
    # The parts of one schema are few and live as long as it; a part may hold unhashable values, so its text is the key.
    return _compile(json.dumps(part, sort_keys=True))


@lru_cache(maxsize=4096)
def _compile(text: str) -> Schema:
    return structural(json.loads(text))


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case dict():
            return "object"
    return "array"


def _fits(schema: Schema, kind: str) -> bool:
    if schema.int_or_string:
        return kind in ("integer", "string")
    return not schema.type or schema.type == kind or (schema.type == "number" and kind == "integer")


def _wrong_type(path: str, wanted: str, kind: str) -> FieldError:
    where = path or ""
    text = f'Invalid value: "{kind}": {where} in body must be of type {wanted}: "{kind}"'
    return FieldError(path, text, "FieldValueTypeInvalid")


def _refused(path: str, value: Any, why: str) -> FieldError:
    return FieldError(path, f"Invalid value: {_show(value)}: {path} in body {why}", _INVALID)


def _nameless(text: str) -> FieldError:
    return FieldError("<nil>", f'Invalid value: "": {text}', _INVALID)


def _show(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _search(text: str, value: str) -> bool:
    return pattern(text).search(value) is not None


def _date_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return (bool(re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", value)) and value[-1:] not in "0123456789") or bool(
        re.search(r"[+-]\d\d:\d\d$", value)
    )


def _date(value: str) -> bool:
    try:
        datetime.strptime(value, "%Y-%m-%d")
    except ValueError:
        return False
    return True


def _ip(version: int) -> Callable[[str], bool]:
    def test(value: str) -> bool:
        try:
            return ipaddress.ip_address(value).version == version
        except ValueError:
            return False

    return test


def _cidr(value: str) -> bool:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return "/" in value


def _byte(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error:
        return False
    return True


def _uuid(version: int) -> Callable[[str], bool]:
    def test(value: str) -> bool:
        try:
            found = uuid.UUID(value)
        except ValueError:
            return False
        return not version or found.version == version

    return test


def _uri(value: str) -> bool:
    try:
        return bool(urlsplit(value).scheme)
    except ValueError:
        return False


def _hostname(value: str) -> bool:
    return len(value) <= 253 and all(
        re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?", part) for part in value.rstrip(".").split(".")
    )


_DURATION = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)(((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*)|0"
)
_LOOSE_DURATION = re.compile(
    r"\d+\s*(ns|us|µs|ms|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hrs|hour|hours|d|day|days|w|week|weeks)"
)

# The formats that a kube-apiserver checks; any other is documentation.
_FORMATS: dict[str, Callable[[str], bool]] = {
    "byte": _byte,
    "cidr": _cidr,
    "date": _date,
    "date-time": _date_time,
    "duration": lambda value: bool(_DURATION.fullmatch(value) or _LOOSE_DURATION.fullmatch(value)),
    "email": lambda value: bool(re.fullmatch(r"[^@\s]+@[^@\s]+", value)),
    "hostname": _hostname,
    "ipv4": _ip(4),
    "ipv6": _ip(6),
    "mac": lambda value: bool(re.fullmatch(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}", value)),
    "uri": _uri,
    "uuid": _uuid(0),
    "uuid3": _uuid(3),
    "uuid4": _uuid(4),
    "uuid5": _uuid(5),
}
