"""Patches of decoded objects: JSON merge patch (RFC 7386), JSON patch (RFC 6902), strategic merge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonpatch
import msgspec
from jsonpointer import JsonPointerException

from bobrapet.local.apiserver import errors, strategic
from bobrapet.local.apiserver.types import Object, Resource

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

Change = Callable[[Object], Any]
"""Applies a patch to an object, which it may change."""

_MAX_OPERATIONS = 10_000


def types_for(resource: Resource) -> tuple[str, ...]:
    """The patch types that a resource takes; custom resources have no strategic merge."""
    return (JSON_PATCH, MERGE, APPLY) if resource.strategy.custom else (JSON_PATCH, MERGE, STRATEGIC, APPLY)


def parse(content_type: str, body: bytes, resource: Resource) -> Change:
    """The change that a patch body describes; 400 when it describes none. Not for apply patches."""
    if content_type == JSON_PATCH:
        operations = _operations(body)
        return lambda obj: _apply_operations(obj, operations)
    given = _mapping(body)
    if content_type == STRATEGIC and resource.schema is not None:
        schema = resource.schema
        return lambda obj: strategic.merge(obj, given, schema)
    return lambda obj: merge(obj, given)


def merge(target: Any, patch: Any) -> Any:
    """The result of a merge patch; shares what it does not change with its arguments."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _mapping(body: bytes) -> Object:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.ValidationError:
        raise errors.bad_request(
            f"error decoding patch: json: cannot unmarshal {'array' if body.lstrip()[:1] == b'[' else 'a scalar'} "
            "into Go value of type map[string]interface {}"
        ) from None
    except msgspec.DecodeError as error:
        raise errors.bad_request(f"error decoding patch: {error}") from None


def _operations(body: bytes) -> list[Object]:
    try:
        operations = msgspec.json.decode(body, type=list[dict[str, Any]])
    except msgspec.ValidationError:
        raise errors.bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        ) from None
    except msgspec.DecodeError as error:
        raise errors.bad_request(f"error decoding patch: {error}") from None
    if len(operations) > _MAX_OPERATIONS:
        raise errors.ApiError(
            413,
            "RequestEntityTooLarge",
            f"Request entity too large: The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, "
            f"got {len(operations)}",
        )
    return operations


def _apply_operations(target: Object, operations: list[Object]) -> Any:
    try:
        return jsonpatch.JsonPatch(operations).apply(target, in_place=True)
    except (jsonpatch.JsonPatchException, JsonPointerException, KeyError, TypeError):
        raise errors.ApiError(
            422, "Invalid", "the server rejected our request due to an error in our request"
        ) from None
