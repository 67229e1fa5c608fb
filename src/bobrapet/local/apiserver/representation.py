"""How stored objects look on the wire: as they are, as metadata only, or as tables.

The common case, an object in its stored version, is the stored bytes themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol

import msgspec

from bobrapet.local.apiserver import errors, printers
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


class Table:
    """meta.k8s.io/v1 Table: rows of cells, each with the object or its metadata."""

    def __init__(self, resource: Resource, include: str, now: datetime) -> None:
        self._resource = resource
        self._include = include or "Metadata"
        self._now = now
        self._object: Representation = Plain(resource) if include == "Object" else MetadataOnly()
        # Ages are relative to the moment of the request, so watchers do not share rows.
        self.key: Any = self
        self._began = False

    def one(self, record: Record) -> bytes:
        """A table of one row. In a watch only the first table says what the columns are."""
        table = self._table([record], {"resourceVersion": str(record.revision)}, columns=not self._began)
        self._began = True
        return table

    def many(self, records: Iterable[Record], metadata: Object) -> bytes:
        """A table of many rows."""
        return self._table(records, metadata, columns=True)

    def bookmark(self, metadata: Object) -> bytes:
        """A table without rows."""
        return self._table((), metadata, columns=False)

    def _table(self, records: Iterable[Record], metadata: Object, *, columns: bool) -> bytes:
        head = encode(
            {
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "columnDefinitions": printers.definitions(self._resource) if columns else None,
            }
        )
        return b'%s,"rows":[%s]}' % (head[:-1], b",".join(map(self._row, records)))

    def _row(self, record: Record) -> bytes:
        obj = record.object()
        row: Object = {"cells": printers.row(self._resource, obj, self._now)}
        if self._include != "None":
            row["object"] = msgspec.Raw(self._object.one(record))
        return encode(row)


def negotiate(accept: str, include: str, resource: Resource, now: datetime) -> Representation:
    """The first representation that `accept` names and the server has; 406 when there is none."""
    if not accept:
        return Plain(resource)
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if media not in ("application/json", "application/*", "*/*"):
            continue
        asked = dict(parameter.partition("=")[::2] for parameter in parameters)
        match asked.get("as", ""):
            case "":
                return Plain(resource)
            case "Table" if asked.get("v") == "v1":
                return Table(resource, include, now)
            case "PartialObjectMetadata" | "PartialObjectMetadataList" if asked.get("v") == "v1":
                return MetadataOnly()
    raise errors.not_acceptable(("application/json", "application/yaml", "application/vnd.kubernetes.protobuf"))
