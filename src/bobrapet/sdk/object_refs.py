"""References to ConfigMaps and Secrets in inputs and configuration (workloads 10.2): the component reads them, with the
rights of its own account, from its own namespace only.

    {"$bubuConfigMapRef": "settings:limits.json"}
    {"$bubuSecretRef": {"name": "keys", "key": "signing", "format": "raw"}}

A map is a reference only when it has no other key. The formats are `json`, `raw` (text), and `auto`: JSON where the
text is JSON, else text.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from bobrapet.api import env
from bobrapet.sdk.errors import InputInvalid, RetryError
from bobrapet.sdk.step_run_api import ApiError, Refused

if TYPE_CHECKING:
    from bobrapet.sdk.link import Link
    from bobrapet.sdk.log import Log

_PLURALS = {env.CONFIGMAP_REF: "configmaps", env.SECRET_REF: "secrets"}
_FORMATS = ("auto", "json", "raw")


def resolve_object_refs(value: Mapping[str, Any], link: Link, log: Log) -> Mapping[str, Any]:
    """`value` with what the references name in their place. Values of Secrets are blanked out in log lines.

    Raises InputInvalid for what is no reference or names nothing, RetryError when the API server does not answer.
    """
    if not _holds_reference(value):
        return value
    return dict(_resolved(value, link, log))


def _resolved(value: Any, link: Link, log: Log) -> Any:
    if isinstance(value, Mapping):
        key = _reference_key(value)
        if key is not None:
            return _read(key, value[key], link, log)
        return {name: _resolved(part, link, log) for name, part in value.items()}
    if isinstance(value, list):
        return [_resolved(part, link, log) for part in value]
    return value


def _read(kind: str, reference: Any, link: Link, log: Log) -> Any:
    namespace, name, key, form = _parsed(kind, reference)
    here = link.step.namespace
    if namespace and namespace != here:
        raise InputInvalid(f"{kind} {namespace}/{name}: only the step's own namespace {here} can be read")
    plural = _PLURALS[kind]
    try:
        with link.api() as api:
            found = api.get_core(plural, name)
    except Refused as error:
        if error.code in (403, 404):
            raise InputInvalid(f"{kind} {name}:{key}: {error.message}") from error
        raise RetryError(f"{kind} {name}:{key}: {error}", code="REFERENCE_UNAVAILABLE") from error
    except ApiError as error:
        raise RetryError(f"{kind} {name}:{key}: {error}", code="REFERENCE_UNAVAILABLE") from error
    text = _text(kind, name, key, found)
    if kind == env.SECRET_REF:
        log.hide(text)
    return _formatted(text, form, f"{kind} {name}:{key}")


def _text(kind: str, name: str, key: str, found: Mapping[str, Any]) -> str:
    data, binary = found.get("data") or {}, found.get("binaryData") or {}
    try:
        if key in data:
            return base64.b64decode(data[key]).decode() if kind == env.SECRET_REF else str(data[key])
        if key in binary:
            return base64.b64decode(binary[key]).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InputInvalid(f"{kind} {name}:{key} holds no text") from error
    known = ", ".join(sorted({*data, *binary})) or "none"
    raise InputInvalid(f"{kind} {name}: there is no key {key!r}; its keys: {known}")


def _formatted(text: str, form: str, what: str) -> Any:
    if form == "raw":
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        if form == "json":
            raise InputInvalid(f"{what} is no JSON: {error}") from error
        return text


def _parsed(kind: str, reference: Any) -> tuple[str, str, str, str]:
    """Namespace (may be empty), name, key, format."""
    if isinstance(reference, str):
        place, separator, key = reference.partition(":")
        namespace, slash, name = place.rpartition("/")
        if separator and key and name and (not slash or namespace):
            return namespace, name, key, "auto"
    elif isinstance(reference, Mapping):
        given = [reference.get(part) or "" for part in ("namespace", "name", "key")]
        form = reference.get("format") or "auto"
        if all(isinstance(part, str) for part in given) and given[1] and given[2] and form in _FORMATS:
            return given[0], given[1], given[2], str(form)
    raise InputInvalid(
        f"{kind}: {reference!r} is no reference; write name:key, namespace/name:key or"
        " {name, key, namespace?, format: auto|json|raw}"
    )


def _reference_key(value: Mapping[str, Any]) -> str | None:
    if len(value) != 1:
        return None
    (key,) = value
    return key if key in _PLURALS else None


def _holds_reference(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _reference_key(value) is not None or any(map(_holds_reference, value.values()))
    return isinstance(value, list) and any(map(_holds_reference, value))
