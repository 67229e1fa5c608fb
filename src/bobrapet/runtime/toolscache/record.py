"""What the cache keeps of an object: its JSON as it came over the wire, and the little that is asked all the time.

Decoding on read is the defensive copy: nobody can change what is stored, and ten thousand stored objects are ten
thousand byte strings to the garbage collector, not ten million nodes (spec runtime CACHE-8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from bobrapet.runtime.client.object import ObjectKey, from_bytes, from_dict, is_metadata_only
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.scheme import GroupVersionKind

T = TypeVar("T")

Transform = Callable[[dict[str, Any]], dict[str, Any]]
"""Changes an object before it is stored. May work in place; must be harmless when repeated."""

_MANAGED_FIELDS = b'"managedFields":'
_ABSENT = msgspec.Raw(b"")


class UnexpectedObject(ControllerRuntimeError):
    """The server sent something that is no object of the kind that was asked for."""


class OwnerReference(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One entry of ownerReferences."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class RecordMetadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The part of ObjectMeta that handlers, predicates and selectors look at; attribute names as everywhere."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    finalizers: tuple[str, ...] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class Record(msgspec.Struct, frozen=True, gc=False):
    """One stored object. Never changes; a new state of the object is a new record."""

    key: ObjectKey
    metadata: RecordMetadata
    body: bytes
    """The JSON of the whole object, apiVersion and kind included."""

    def decode(self, cls: type[T]) -> T:
        """The object in the projection of `cls`, made anew on every call."""
        if is_metadata_only(cls):
            envelope = _metadata_decoder.decode(self.body)
            return from_dict(
                cls, {"apiVersion": envelope.apiVersion, "kind": envelope.kind, "metadata": envelope.metadata}
            )
        return from_bytes(cls, self.body)

    @property
    def annotations(self) -> dict[str, str]:
        """Read from the body: they may be large, and few ask for them."""
        return _annotations_decoder.decode(self.body).metadata.annotations or {}


class RecordDecoder:
    """Turns the JSON of single objects into records of one kind."""

    def __init__(self, gvk: GroupVersionKind, transform: Transform | None = None) -> None:
        self.gvk = gvk
        self._transform = transform
        self._strip = transform is transform_strip_managed_fields
        self._frame = msgspec.json.encode({"apiVersion": gvk.api_version, "kind": gvk.kind})[:-1]

    def decode(self, body: bytes) -> Record:
        """Raises `UnexpectedObject`, and whatever the transform raises."""
        try:
            frame = _object_decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise UnexpectedObject(f"not an object of Kubernetes: {error}") from error
        if frame.kind != self.gvk.kind:
            body = self._framed(frame, body)
        if self._strip:
            body = strip_managed_fields(body, frame.metadata.managedFields)
        elif self._transform is not None:
            body = msgspec.json.encode(self._transform(msgspec.json.decode(body)))
            frame = _object_decoder.decode(body)
        metadata = frame.metadata.plain()
        if not metadata.name:
            raise UnexpectedObject(f"an object of kind {frame.kind or self.gvk.kind} without metadata.name")
        return Record(ObjectKey(metadata.namespace, metadata.name), metadata, body)

    def _framed(self, frame: _Object, body: bytes) -> bytes:
        """Items of lists come without apiVersion and kind, metadata-only objects with those of their envelope."""
        if not frame.kind:
            separator = b"," if body[1:].lstrip()[:1] != b"}" else b""
            return self._frame + separator + body[body.index(b"{") + 1 :]
        if frame.kind == "PartialObjectMetadata":
            raw = msgspec.json.decode(body)
            return msgspec.json.encode({**raw, "apiVersion": self.gvk.api_version, "kind": self.gvk.kind})
        raise UnexpectedObject(f"expected {self.gvk.kind}, got {frame.apiVersion} {frame.kind}")


def transform_strip_managed_fields(obj: dict[str, Any]) -> dict[str, Any]:
    """The transform that drops `metadata.managedFields`: a fifth to a third of an object, and nobody here reads it.

    Informers recognise it and cut the bytes instead of decoding the object.
    """
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("managedFields", None)
    return obj


def strip_managed_fields(body: bytes, value: msgspec.Raw = _ABSENT) -> bytes:
    """Cuts `metadata.managedFields`, whose JSON is `value`, out of the JSON of an object."""
    raw = bytes(value)
    if not raw:
        return body
    start = body.find(_MANAGED_FIELDS)
    end = start + len(_MANAGED_FIELDS) + len(raw)
    # Cutting is right only if this is the one place that reads like it; an object may well contain another object.
    if start < 0 or body[start + len(_MANAGED_FIELDS) : end] != raw or body.find(_MANAGED_FIELDS, start + 1) >= 0:
        return msgspec.json.encode(transform_strip_managed_fields(msgspec.json.decode(body)))
    if body[start - 1] == 0x2C:  # the comma before
        start -= 1
    elif body[end] == 0x2C:  # the comma after
        end += 1
    return body[:start] + body[end:]


class _WireMetadata(msgspec.Struct, gc=False, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    finalizers: tuple[str, ...] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    managedFields: msgspec.Raw = _ABSENT

    def plain(self) -> RecordMetadata:
        """Without the reference into the received bytes, which would keep a whole page alive."""
        return RecordMetadata(
            self.name,
            self.namespace,
            self.uid,
            self.resource_version,
            self.generation,
            self.creation_timestamp,
            self.deletion_timestamp,
            self.labels,
            self.finalizers,
            self.owner_references,
        )


class _Object(msgspec.Struct, gc=False):
    metadata: _WireMetadata
    apiVersion: str = ""
    kind: str = ""


class _MetadataEnvelope(msgspec.Struct):
    metadata: dict[str, Any]
    apiVersion: str = ""
    kind: str = ""


class _Annotated(msgspec.Struct):
    annotations: dict[str, str] | None = None


class _AnnotatedObject(msgspec.Struct):
    metadata: _Annotated


_object_decoder = msgspec.json.Decoder(_Object)
_metadata_decoder = msgspec.json.Decoder(_MetadataEnvelope)
_annotations_decoder = msgspec.json.Decoder(_AnnotatedObject)
