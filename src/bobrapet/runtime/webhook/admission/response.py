"""Questions and answers of admission, free of HTTP (controller-runtime pkg/webhook/admission)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from bobrapet.runtime.errors import ApiError
from bobrapet.runtime.scheme import GroupVersionKind, GroupVersionResource

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"

PatchOperation = Mapping[str, Any]
"""One operation of a JSON patch."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the API server asks: may this happen, and how should the object look?"""

    uid: str = ""
    kind: GroupVersionKind = field(default_factory=lambda: GroupVersionKind("", "", ""))
    resource: GroupVersionResource = field(default_factory=lambda: GroupVersionResource("", "", ""))
    sub_resource: str = ""
    name: str = ""
    namespace: str = ""
    operation: str = CREATE
    user_info: Mapping[str, Any] = field(default_factory=dict)
    object: bytes = b""
    """The JSON of the object as it shall become; empty on DELETE."""

    old_object: bytes = b""
    """The JSON of the object as it is; empty on CREATE."""

    dry_run: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Response:
    """Yes or no, why, and how to change the object."""

    allowed: bool
    code: int = 200
    reason: str = ""
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    patches: Sequence[PatchOperation] = ()
    uid: str = ""

    def with_warnings(self, *warnings: str) -> Response:
        return replace(self, warnings=(*self.warnings, *warnings))

    def to_review(self) -> dict[str, Any]:
        """The `response` of an AdmissionReview, except for its patch, which travels as bytes."""
        status: dict[str, Any] = {"code": self.code}
        if self.message:
            status["message"] = self.message
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = dict(self.details)
        if not self.allowed:
            status["status"] = "Failure"
        body: dict[str, Any] = {"uid": self.uid, "allowed": self.allowed, "status": status}
        if self.warnings:
            body["warnings"] = [*self.warnings]
        if self.patches:
            body["patchType"] = "JSONPatch"
            body["patch"] = msgspec.json.encode([*self.patches])  # bytes become base64 text
        return body


def allowed(message: str = "") -> Response:
    return Response(allowed=True, message=message)


def denied(message: str) -> Response:
    return Response(allowed=False, code=403, reason="Forbidden", message=message)


def errored(code: int, error: Exception | str) -> Response:
    """The request could not be judged."""
    return Response(allowed=False, code=code, message=str(error))


def patched(message: str, *patches: PatchOperation) -> Response:
    return Response(allowed=True, message=message, patches=patches)


def from_exception(error: Exception) -> Response:
    """A denial: errors of the API pass as they are, others become Forbidden with their text (WH-5)."""
    warnings = tuple(str(warning) for warning in getattr(error, "warnings", None) or ())
    if isinstance(error, ApiError):
        return Response(
            allowed=False,
            code=error.status,
            reason=error.reason,
            message=error.message,
            details=error.details,
            warnings=warnings,
        )
    return denied(str(error)).with_warnings(*warnings)


def json_patch(before: Any, after: Any, path: str = "") -> list[PatchOperation]:
    """The operations that turn one JSON value into another. Lists of different lengths are replaced whole."""
    if before == after and type(before) is type(after):
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        operations: list[PatchOperation] = []
        for key, value in before.items():
            where = f"{path}/{_escape(key)}"
            if key not in after:
                operations.append({"op": "remove", "path": where})
            else:
                operations += json_patch(value, after[key], where)
        operations += [
            {"op": "add", "path": f"{path}/{_escape(key)}", "value": value}
            for key, value in after.items()
            if key not in before
        ]
        return operations
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            operation
            for index, (old, new) in enumerate(zip(before, after, strict=True))
            for operation in json_patch(old, new, f"{path}/{index}")
        ]
    return [{"op": "replace", "path": path, "value": after}]


def patch_response_from_raw(before: bytes, after: bytes) -> Response:
    """Allows, with the patch from one JSON document to another."""
    return patched("", *json_patch(msgspec.json.decode(before), msgspec.json.decode(after)))


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
