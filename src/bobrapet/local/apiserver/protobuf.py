"""The binary encoding of built-in kinds, which some clients send (kubectl create, kube-controller-manager).

Only requests are read; answers are JSON, which every client accepts as second choice. Field numbers come from
`tables/protobuf.json`.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from bobrapet.local.apiserver import errors
from bobrapet.local.apiserver.tables import load
from bobrapet.local.apiserver.types import Object

_MAGIC = b"k8s\x00"
_INTEGERS = {"int32", "int64", "uint32", "uint64"}


class _Broken(Exception):
    pass


def decode(body: bytes) -> Object:
    """The object of an enveloped message; 400 when it is none."""
    if not body.startswith(_MAGIC):
        raise errors.bad_request("the body is no Kubernetes protobuf message: the prefix k8s is missing")
    try:
        envelope = _message("runtime.Unknown", body[len(_MAGIC) :])
        type_meta = envelope.get("typeMeta", {})
        kind, api_version = type_meta.get("kind", ""), type_meta.get("apiVersion", "")
        raw = base64.b64decode(envelope.get("raw", ""))
        if envelope.get("contentType") == "application/json":
            return dict(msgspec.json.decode(raw))
        name = _type_name(api_version, kind)
        if name is None:
            raise errors.bad_request(f"{kind} in {api_version} has no protobuf encoding here")
        obj = _message(name, raw)
    except (_Broken, IndexError, struct.error, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise errors.bad_request(f"the body is no Kubernetes protobuf message: {error}") from None
    obj.setdefault("metadata", {})
    return {"kind": kind, "apiVersion": api_version, **obj}


def _type_name(api_version: str, kind: str) -> str | None:
    group, _, version = api_version.rpartition("/")
    table = load("protobuf.json")
    for candidate in (f"{group.split('.')[0] or 'core'}/{version}.{kind}", f"meta/v1.{kind}"):
        if candidate in table:
            return candidate
    return None


def _message(name: str, data: bytes) -> Object:
    fields = load("protobuf.json").get(name, {})
    obj: Object = {}
    for number, value in _fields(data):
        field = fields.get(str(number))
        if field is None:
            continue
        key, kind = field
        if kind.startswith("[]"):
            obj.setdefault(key, []).append(_value(kind[2:], value))
        elif kind.startswith("{}"):
            entry = dict(_fields(_bytes(value)))
            obj.setdefault(key, {})[_bytes(entry.get(1, b"")).decode()] = _value(kind[2:], entry.get(2, b""))
        else:
            decoded = _value(kind, value)
            if _inlined(name, key):
                obj.update(decoded)
            elif decoded is not None and decoded != "":
                obj[_JSON_NAMES.get(key, key)] = decoded
    return obj


_JSON_NAMES = {
    "ref": "$ref",
    "schema": "$schema",
    "xKubernetesPreserveUnknownFields": "x-kubernetes-preserve-unknown-fields",
    "xKubernetesEmbeddedResource": "x-kubernetes-embedded-resource",
    "xKubernetesIntOrString": "x-kubernetes-int-or-string",
    "xKubernetesListMapKeys": "x-kubernetes-list-map-keys",
    "xKubernetesListType": "x-kubernetes-list-type",
    "xKubernetesMapType": "x-kubernetes-map-type",
    "xKubernetesValidations": "x-kubernetes-validations",
}


def _inlined(name: str, key: str) -> bool:
    """Whether a sub-message has no name in JSON: its fields belong to the message around it."""
    fields = load("types.json").get(name)
    return fields is not None and key not in fields and key not in _JSON_NAMES


def _value(kind: str, value: int | bytes) -> Any:
    if kind == "bool":
        return bool(value)
    if kind in _INTEGERS:
        assert isinstance(value, int)
        return value - 2**64 if value >= 2**63 else value
    if kind == "string":
        return _bytes(value).decode()
    if kind == "bytes":
        return base64.b64encode(_bytes(value)).decode()
    if kind == "double":
        return struct.unpack("<d", _bytes(value))[0]
    return _special(kind, _message(kind, _bytes(value)))


def _special(kind: str, message: Object) -> Any:
    """Messages that JSON writes as scalars or as themselves."""
    match kind:
        case "meta/v1.Time":
            if not message:
                return None
            return datetime.fromtimestamp(message.get("seconds", 0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case "meta/v1.MicroTime":
            if not message:
                return None
            moment = datetime.fromtimestamp(message.get("seconds", 0), UTC)
            return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{message.get('nanos', 0) // 1000:06d}Z"
        case "resource.Quantity":
            return message.get("string", "0")
        case "intstr.IntOrString":
            return message.get("strVal", "") if message.get("type") == 1 else message.get("intVal", 0)
        case "runtime.RawExtension" | "apiextensions/v1.JSON":
            return msgspec.json.decode(base64.b64decode(message.get("raw", "")) or b"null")
        case "meta/v1.FieldsV1":
            return msgspec.json.decode(base64.b64decode(message.get("Raw", "")) or b"{}")
        case "apiextensions/v1.JSONSchemaPropsOrBool":
            return message["$schema"] if "$schema" in message else message.get("allows", False)
        case "apiextensions/v1.JSONSchemaPropsOrArray" | "apiextensions/v1.JSONSchemaPropsOrStringArray":
            return message.get("$schema") or message.get("jSONSchemas") or message.get("property") or []
    return message


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == 2:
            size, position = _varint(data, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _Broken(f"wire type {wire}")
        if position + size > len(data):
            raise _Broken("truncated")
        yield number, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise _Broken("number too long")


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise _Broken("a number where bytes are expected")
    return value
