"""Request bodies become objects of the resource they are sent to, or a 400 that says why not."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from bobrapet.local.apiserver import errors, protobuf
from bobrapet.local.apiserver.types import Object, Resource

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
BODIES = (JSON, YAML, PROTOBUF)
_SHOWN = 30
_WHOLE = 1e21


def decode(body: bytes, content_type: str) -> Object:
    """The object of a body whose kind does not matter; 400 when it is none, 415 for other formats."""
    match content_type:
        case "application/json" | "":
            return _mapping(_json(body))
        case "application/yaml":
            return _mapping(_yaml(body))
        case "application/vnd.kubernetes.protobuf":
            return protobuf.decode(body)
    raise errors.unsupported_media_type(BODIES)


def decode_for(resource: Resource, body: bytes, content_type: str) -> Object:
    """The object of a body sent to `resource`; checks apiVersion and kind."""
    try:
        obj = decode(body, content_type)
    except _Unreadable as error:
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): "
            f"couldn't get version/kind; json parse error: {error} ({_shown(body)})"
        ) from None
    kind, api_version = obj.get("kind"), obj.get("apiVersion")
    if resource.strategy.custom:
        _check_custom(resource, obj, body)
    elif not kind or not api_version:
        obj["kind"], obj["apiVersion"] = kind or resource.kind, api_version or resource.api_version
    if not resource.strategy.custom and (obj["apiVersion"], obj["kind"]) != (resource.api_version, resource.kind):
        raise errors.bad_request(
            f'{obj["kind"]} in version "{obj["apiVersion"].rpartition("/")[2]}" cannot be handled as a '
            f"{resource.kind}: converting ({obj['apiVersion']}.{obj['kind']}) to "
            f"({resource.group or 'core'}.{resource.kind}): unknown conversion"
        )
    return obj


def unfit(resource: Resource, why: str) -> errors.ApiError:
    """400 for a body that is an object, but not one of this kind."""
    return errors.bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}'
    )


def _number(text: str) -> int | float:
    """Go writes a whole float without a point, so it comes back as an integer."""
    value = float(text)
    if value.is_integer() and abs(value) < _WHOLE:
        return int(value)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"number out of range: {text}")
    return value


_decode = msgspec.json.Decoder(float_hook=_number).decode


class _Unreadable(Exception):
    pass


def _json(body: bytes) -> Any:
    if not body.strip():
        raise _Unreadable("unexpected end of JSON input")
    try:
        return _decode(body)
    except msgspec.DecodeError as error:
        if "truncated" in str(error):
            raise _Unreadable("unexpected end of JSON input") from None
        raise _Unreadable(str(error)) from None
    except ValueError as error:
        raise _Unreadable(str(error)) from None


def _yaml(body: bytes) -> Any:
    try:
        return yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise _Unreadable(str(error)) from None


def _mapping(value: Any) -> Object:
    if not isinstance(value, dict):
        raise _Unreadable("json: cannot unmarshal a value that is no object")
    if value.get("metadata") is None:
        value["metadata"] = {}
    if not isinstance(value["metadata"], dict):
        raise errors.bad_request(
            "json: cannot unmarshal metadata that is no object into Go value of type v1.ObjectMeta"
        )
    return value


def _check_custom(resource: Resource, obj: Object, body: bytes) -> None:
    for name, word in (("kind", "Kind"), ("apiVersion", "apiVersion")):
        if not obj.get(name):
            raise errors.bad_request(
                f"the object provided is unrecognized (must be of type {resource.kind}): "
                f"Object '{word}' is missing in '{body.decode(errors='replace')}' ({_shown(body)})"
            )
    if obj["apiVersion"] != resource.api_version:
        raise errors.bad_request(
            f"the API version in the data ({obj['apiVersion']}) does not match the expected API version "
            f"({resource.api_version})"
        )


def _shown(body: bytes) -> str:
    """A body as messages show it: its beginning, in hex unless it looks like JSON."""
    if not body:
        return "<empty>"
    if not body.lstrip().startswith(b"{"):
        text = body[:_SHOWN].hex()
    else:
        text = body[:_SHOWN].decode(errors="replace")
    return f"{text} ..." if len(body) > _SHOWN else text
