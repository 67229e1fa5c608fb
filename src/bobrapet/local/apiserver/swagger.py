"""The binary form of the OpenAPI v2 document, of which kubectl takes no other.

It is asked for one thing only when v3 documents exist: whether the PATCH of a kind takes `fieldValidation` and `dryRun`
(also for kinds whose CRD is applied in the same breath). So it lists patches and kinds, not fields.
"""

from __future__ import annotations

from collections.abc import Iterable

from bobrapet.local.apiserver.openapi import schema_component
from bobrapet.local.apiserver.representation import encode
from bobrapet.local.apiserver.types import Resource

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")
_GVK = "x-kubernetes-group-version-kind"


def binary(resources: Iterable[Resource]) -> bytes:
    """The document of the given resources, in the message format of gnostic's OpenAPIv2.proto."""
    paths = b""
    definitions = b""
    for resource in resources:
        if "patch" not in resource.verbs:
            continue
        kind = encode({"group": resource.group, "version": resource.version, "kind": resource.kind})
        # Operation: parameters = 8, vendor_extension = 13. PathItem: patch = 8.
        operation = b"".join(_field(8, _parameter(name)) for name in _PARAMETERS) + _field(13, _extension(kind))
        root = f"/apis/{resource.group}" if resource.group else "/api"
        scope = "namespaces/{namespace}/" if resource.namespaced else ""
        path = f"{root}/{resource.version}/{scope}{resource.plural}/{{name}}"
        paths += _field(2, _named(path, _field(8, operation)))
        # Schema: type = 22, vendor_extension = 31.
        schema = _field(22, _field(1, b"object")) + _field(31, _extension(b"[" + kind + b"]"))
        definitions += _field(1, _named(schema_component(resource), schema))
    info = _field(1, b"Kubernetes") + _field(2, b"unversioned")
    # Document: swagger = 1, info = 2, paths = 8, definitions = 9.
    return _field(1, b"2.0") + _field(2, info) + _field(8, paths) + _field(9, definitions)


def _parameter(name: str) -> bytes:
    # QueryParameterSubSchema: in = 2, name = 4, type = 6; three oneofs around it.
    query = _field(2, b"query") + _field(4, name.encode()) + _field(6, b"string")
    return _field(1, _field(2, _field(3, query)))


def _extension(value: bytes) -> bytes:
    return _named(_GVK, _field(2, value))


def _named(name: str, value: bytes) -> bytes:
    return _field(1, name.encode()) + _field(2, value)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
