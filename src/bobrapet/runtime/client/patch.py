"""What a patch request carries (spec runtime CLI-6 to CLI-9)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from bobrapet.runtime.client.object import to_dict
from bobrapet.runtime.errors import MissingResourceVersion
from bobrapet.runtime.rest.interface import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH


class Patch(Protocol):
    """A content type, and the body for an object."""

    @property
    def content_type(self) -> str: ...

    def body(self, obj: Any) -> bytes | None:
        """The bytes to send for the modified object; None when there is nothing to change."""
        ...


@dataclass(frozen=True, slots=True)
class RawPatch:
    """A patch that is complete as it stands."""

    content_type: str
    data: bytes

    def body(self, obj: Any) -> bytes | None:
        return self.data


@dataclass(frozen=True, slots=True)
class MergeFrom:
    """The difference between an object as it was read and as it is now. Made by `merge_from`."""

    base: dict[str, Any]
    optimistic_lock: bool
    content_type: str

    def body(self, obj: Any) -> bytes | None:
        difference = merge_diff(self.base, to_dict(obj))
        if not difference:
            return None
        if self.optimistic_lock:
            metadata = difference.setdefault("metadata", {})
            metadata["resourceVersion"] = self.base["metadata"]["resourceVersion"]
        return msgspec.json.encode(difference)


def merge_from(base: Any, *, optimistic_lock: bool = False) -> Patch:
    """A merge patch with what changed since `base`, of which a copy is taken now.

    Lists are replaced whole, removed keys become null. With `optimistic_lock` the patch only applies to the version
    that `base` has; a base without one raises `MissingResourceVersion`.
    """
    return _snapshot(base, optimistic_lock, MERGE_PATCH)


def strategic_merge_from(base: Any, *, optimistic_lock: bool = False) -> Patch:
    """As `merge_from`, for built-in kinds. A list is sent whole; the server merges it by key, so entries cannot be
    removed by leaving them out. Custom resources refuse this content type, so the client does not send it for them.
    """
    return _snapshot(base, optimistic_lock, STRATEGIC_MERGE_PATCH)


def json_patch(operations: Sequence[Mapping[str, Any]]) -> Patch:
    """An RFC 6902 patch. Without operations nothing is sent."""
    return _JSONPatch(tuple(dict(operation) for operation in operations))


def raw_patch(content_type: str, data: bytes) -> Patch:
    """Bytes of any patch type."""
    return RawPatch(content_type, data)


@dataclass(frozen=True, slots=True)
class _JSONPatch:
    operations: tuple[dict[str, Any], ...]
    content_type: str = JSON_PATCH

    def body(self, obj: Any) -> bytes | None:
        return msgspec.json.encode(self.operations) if self.operations else None


def _snapshot(base: Any, optimistic_lock: bool, content_type: str) -> MergeFrom:
    snapshot = copy.deepcopy(to_dict(base))
    if optimistic_lock and not (snapshot.get("metadata") or {}).get("resourceVersion"):
        raise MissingResourceVersion(
            "a patch with optimistic lock needs a base that was read from the API server; "
            "this one has no resourceVersion"
        )
    return MergeFrom(snapshot, optimistic_lock, content_type)


def merge_diff(base: Mapping[str, Any], modified: Mapping[str, Any]) -> dict[str, Any]:
    """The RFC 7386 patch that turns `base` into `modified`.

    A null value in `modified` cannot be told from a removal in this format; it is sent as null, which removes the key.
    """
    difference: dict[str, Any] = {}
    for key, value in modified.items():
        if key not in base:
            difference[key] = value
            continue
        before = base[key]
        kind = type(value)
        if kind is dict and type(before) is dict:
            inner = merge_diff(before, value)
            if inner:
                difference[key] = inner
        elif kind is type(before) and kind is not list:
            if before != value:
                difference[key] = value
        elif not same_json(before, value):
            difference[key] = value
    for key in base:
        if key not in modified:
            difference[key] = None
    return difference


def merge_apply(target: Any, patch: Any) -> Any:
    """Applies an RFC 7386 patch and returns the result; the arguments stay as they are."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_apply(result.get(key), value)
    return result


def same_json(a: Any, b: Any) -> bool:
    """Equality of JSON values. Python takes True for 1; JSON does not."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


@dataclass(frozen=True, slots=True)
class ApplyConfiguration:
    """What one field owner wants of an object: apiVersion, kind, metadata.name, and the fields it cares for.

    `object` may be a dict, `Unstructured` or a model. With `optimistic_lock` the resourceVersion in it must still hold.
    """

    object: Any
    optimistic_lock: bool = False
    content_type: str = APPLY_PATCH

    def to_dict(self) -> dict[str, Any]:
        """A copy of the wanted fields, without what apply refuses."""
        raw = self.object if isinstance(self.object, dict) else to_dict(self.object)
        raw = copy.deepcopy(raw)
        metadata = raw.get("metadata") or {}
        metadata.pop("managedFields", None)
        if not self.optimistic_lock:
            metadata.pop("resourceVersion", None)
        raw["metadata"] = metadata
        return raw
