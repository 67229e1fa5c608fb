"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902) over decoded objects."""

from __future__ import annotations

from typing import Any

import jsonpatch
import msgspec
from jsonpointer import JsonPointerException

from bobrapet.local.apiserver import errors
from bobrapet.local.apiserver.types import Object

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

_MAX_OPERATIONS = 10_000


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


def parse_json_patch(body: bytes) -> list[Object]:
    """The operations of a JSON patch; 400 when it is none."""
    try:
        operations = msgspec.json.decode(body, type=list[dict[str, Any]])
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


def apply_json_patch(target: Object, operations: list[Object]) -> Any:
    """The result of a JSON patch; 422 when an operation does not fit the object."""
    try:
        return jsonpatch.JsonPatch(operations).apply(target, in_place=True)
    except (jsonpatch.JsonPatchException, JsonPointerException, KeyError, TypeError) as error:
        raise errors.ApiError(
            422, "Invalid", f"the server rejected our request due to an error in our request: {error}"
        ) from None
