"""AdmissionReview over HTTP (spec runtime WH-1 to WH-4)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from bobrapet.runtime.scheme import GroupVersionKind, GroupVersionResource
from bobrapet.runtime.webhook.admission.response import Request, Response, errored
from bobrapet.runtime.webhook.admission.webhook import Webhook

MAX_BODY = 7 << 20
"""Two objects of three MiB, and one for the rest."""

V1 = "admission.k8s.io/v1"
VERSIONS = (V1, "admission.k8s.io/v1beta1")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


async def serve(webhook: Webhook, body: bytes, content_type: str, timeout: str = "") -> bytes:
    """Answers one review with another. Faults of the question are told in the answer, which has HTTP status 200.

    `timeout` is the query parameter of that name, a Go duration.
    """
    version, uid = V1, ""
    try:
        version, request = _read(body, content_type)
    except _Refused as refused:
        version, uid, response = refused.version, refused.uid, errored(refused.code, str(refused))
    else:
        uid = request.uid
        response = await webhook.handle(request, timeout=_seconds(timeout))
    return _write(version, uid, response)


class _Refused(Exception):
    def __init__(self, code: int, message: str, version: str = V1, uid: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.version = version
        self.uid = uid


class _Name(msgspec.Struct):
    group: str = ""
    version: str = ""
    kind: str = ""
    resource: str = ""


class _Request(msgspec.Struct, rename="camel"):
    uid: str = ""
    kind: _Name = msgspec.field(default_factory=_Name)
    resource: _Name = msgspec.field(default_factory=_Name)
    sub_resource: str = ""
    name: str = ""
    namespace: str = ""
    operation: str = ""
    user_info: dict[str, Any] = msgspec.field(default_factory=dict)
    object: msgspec.Raw = msgspec.Raw(b"")
    old_object: msgspec.Raw = msgspec.Raw(b"")
    dry_run: bool | None = None
    options: dict[str, Any] | None = None


class _Review(msgspec.Struct):
    apiVersion: str = V1
    kind: str = ""
    request: _Request | None = None


_decoder = msgspec.json.Decoder(_Review)


def _read(body: bytes, content_type: str) -> tuple[str, Request]:
    if not body:
        raise _Refused(400, "request body is empty")
    if content_type.strip().lower() != "application/json":
        raise _Refused(400, f"contentType={content_type}, expected application/json")
    if len(body) > MAX_BODY:
        raise _Refused(413, f"request entity is too large; limit is {MAX_BODY} bytes")
    try:
        review = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise _Refused(400, f"the body is no AdmissionReview: {error}") from error
    uid = review.request.uid if review.request is not None else ""
    if review.kind != "AdmissionReview" or review.apiVersion not in VERSIONS:
        raise _Refused(
            400, f"expected AdmissionReview of {' or '.join(VERSIONS)}, got {review.apiVersion} {review.kind}"
        )
    if review.request is None:
        raise _Refused(400, "the AdmissionReview has no request", review.apiVersion, uid)
    return review.apiVersion, _request(review.request)


def _request(raw: _Request) -> Request:
    kind, resource = raw.kind, raw.resource
    return Request(
        uid=raw.uid,
        kind=GroupVersionKind(kind.group, kind.version, kind.kind),
        resource=GroupVersionResource(resource.group, resource.version, resource.resource),
        sub_resource=raw.sub_resource,
        name=raw.name,
        namespace=raw.namespace,
        operation=raw.operation,
        user_info=raw.user_info,
        object=_raw(raw.object),
        old_object=_raw(raw.old_object),
        dry_run=bool(raw.dry_run),
        options=raw.options or {},
    )


def _raw(value: msgspec.Raw) -> bytes:
    content = bytes(value)
    return b"" if content == b"null" else content


def _write(version: str, uid: str, response: Response) -> bytes:
    answer = response.to_review()
    answer["uid"] = uid
    return msgspec.json.encode({"apiVersion": version, "kind": "AdmissionReview", "response": answer})


def _seconds(duration: str) -> float | None:
    parts = _DURATION.findall(duration)
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else None
