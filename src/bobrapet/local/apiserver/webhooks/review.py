"""What a webhook is asked, and what its answer means (`admission.k8s.io` AdmissionReview)."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bobrapet.local.apiserver.errors import ApiError
from bobrapet.local.apiserver.rest import Call
from bobrapet.local.apiserver.types import Object, Resource
from bobrapet.local.apiserver.webhooks.configurations import Hook

_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


class BadAnswer(Exception):
    """An answer that cannot be understood; the text says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request that webhooks are asked about."""

    call: Call
    operation: str
    object: Object | None
    old: Object | None

    def request(self, resource: Resource) -> Object:
        """The `request` of a review, with the objects in the version of `resource`."""
        call = self.call
        user: Object = {"username": call.user.name, "groups": list(call.user.groups)}
        if call.user.uid:
            user["uid"] = call.user.uid
        if call.user.extra:
            user["extra"] = {name: list(values) for name, values in call.user.extra.items()}
        request: Object = {
            "kind": _kind(resource),
            "resource": _resource(resource),
            "requestKind": _kind(call.resource),
            "requestResource": _resource(call.resource),
            "operation": self.operation,
            "userInfo": user,
            "object": _in_version(self.object, resource),
            "oldObject": _in_version(self.old, resource),
            "dryRun": call.dry_run,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": _OPTIONS[self.operation]},
        }
        if call.subresource:
            request["subResource"] = request["requestSubResource"] = call.subresource
        if call.name:
            request["name"] = call.name
        if namespace := self.namespace:
            request["namespace"] = namespace
        return request

    @property
    def namespace(self) -> str:
        """The namespace of the request; a Namespace is its own."""
        return self.call.name if self.call.resource.storage == "namespaces" else self.call.namespace


def _in_version(obj: Object | None, resource: Resource) -> Object | None:
    return None if obj is None else {**obj, "apiVersion": resource.api_version}


def _kind(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook said."""

    allowed: bool
    status: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    patch: Any = None
    """A JSON Patch."""


def review(hook: Hook, request: Object) -> tuple[str, bytes]:
    """The body to send, and the id that the answer must carry."""
    uid = str(uuid.uuid4())
    body = {
        "kind": "AdmissionReview",
        "apiVersion": f"admission.k8s.io/{hook.version}",
        "request": {"uid": uid, **request},
    }
    return uid, json.dumps(body).encode()


def read(body: bytes, uid: str, version: str, *, mutating: bool) -> Answer:
    """The answer to the review with this id. Raises BadAnswer."""
    try:
        given = json.loads(body)
    except ValueError as error:
        raise BadAnswer(f"the answer is not JSON: {error}") from None
    response = given.get("response") if isinstance(given, dict) else None
    if not isinstance(response, dict):
        raise BadAnswer("webhook response was absent")
    if version == "v1":
        if response.get("uid") != uid:
            raise BadAnswer(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        if (given.get("apiVersion"), given.get("kind")) != ("admission.k8s.io/v1", "AdmissionReview"):
            expected = "admission.k8s.io/v1, Kind=AdmissionReview"
            found = f"{given.get('apiVersion', '')}, Kind={given.get('kind', '')}"
            raise BadAnswer(f"expected webhook response of {expected}, got {found}")
    return Answer(
        allowed=response.get("allowed") is True,
        status=response.get("status") or {},
        warnings=tuple(response.get("warnings") or ()),
        patch=_patch(response, mutating=mutating),
    )


def _patch(response: Mapping[str, Any], *, mutating: bool) -> Any:
    encoded, kind = response.get("patch"), response.get("patchType")
    if not mutating:
        if encoded:
            raise BadAnswer("validating webhook may not return response.patch")
        if kind:
            raise BadAnswer("validating webhook may not return response.patchType")
        return None
    if not encoded:
        if kind:
            raise BadAnswer("webhook returned response.patchType but not response.patch")
        return None
    if not kind:
        raise BadAnswer("webhook returned response.patch but not response.patchType")
    if kind != "JSONPatch":
        raise BadAnswer(f'webhook returned invalid response.patchType of "{kind}"')
    try:
        return json.loads(base64.b64decode(encoded))
    except (binascii.Error, ValueError) as error:
        raise BadAnswer(f"received undecodable patch in webhook response: {error}") from None


def denied(hook: Hook, status: Mapping[str, Any]) -> ApiError:
    """The refusal as the client gets it: the webhook's own Status, with its name in the message."""
    by = f'admission webhook "{hook.name}" denied the request'
    reason, message = status.get("reason") or "", status.get("message") or status.get("reason") or ""
    code = status.get("code") or 0
    return ApiError(
        code if code >= 400 else 400,
        reason,
        f"{by}: {message}" if message else f"{by} without explanation",
        details=status.get("details"),
    )
