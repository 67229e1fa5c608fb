"""How stored objects look on the wire: as they are, as metadata only, or as tables.

The common case, an object in its stored version, is the stored bytes themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from bobrapet.local.apiserver.types import Object, Resource
from bobrapet.local.store import Record

encode = msgspec.json.Encoder().encode


class Representation(Protocol):
    """One way to show objects. `key` tells equal ones apart from different ones, so that watchers share bytes."""

    @property
    def key(self) -> object: ...

    def one(self, record: Record) -> bytes: ...

    def many(self, records: Iterable[Record], metadata: Object) -> bytes: ...

    def bookmark(self, metadata: Object) -> bytes: ...


class Plain:
    """The object itself."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self.key = resource.api_version

    def one(self, record: Record) -> bytes:
        """One object."""
        resource = self._resource
        if not resource.stored_as:
            return record.raw
        return encode(resource.strategy.from_storage(record.object(), resource))

    def many(self, records: Iterable[Record], metadata: Object) -> bytes:
        """A list."""
        resource = self._resource
        kind = resource.list_kind or f"{resource.kind}List"
        head = encode({"kind": kind, "apiVersion": resource.api_version, "metadata": metadata})
        return b'%s,"items":[%s]}' % (head[:-1], b",".join(map(self.one, records)))

    def bookmark(self, metadata: Object) -> bytes:
        """The object of a bookmark event."""
        return encode({"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata})


class _Metadata(msgspec.Struct):
    metadata: msgspec.Raw


_decode_metadata = msgspec.json.Decoder(_Metadata).decode


class MetadataOnly:
    """PartialObjectMetadata."""

    key: Any = "PartialObjectMetadata"

    def one(self, record: Record) -> bytes:
        """One object's metadata."""
        metadata = bytes(_decode_metadata(record.raw).metadata)
        return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":%s}' % metadata

    def many(self, records: Iterable[Record], metadata: Object) -> bytes:
        """A list of metadata."""
        head = encode({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
        return b'%s,"items":[%s]}' % (head[:-1], b",".join(map(self.one, records)))

    def bookmark(self, metadata: Object) -> bytes:
        """The object of a bookmark event."""
        return encode({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
