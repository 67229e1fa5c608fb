"""Every failure that the runtime raises, as one tree.

ControllerRuntimeError
├── ApiError                     the API server answered, and said no (spec runtime G-10)
│   ├── BadRequest               400
│   ├── Unauthorized             401
│   ├── Forbidden                403
│   ├── NotFound                 404
│   ├── MethodNotSupported       405
│   ├── NotAcceptable            406
│   ├── AlreadyExists            409, reason AlreadyExists: a create found the name taken
│   ├── Conflict                 409, reason Conflict: stale resourceVersion, or another field owner
│   ├── Gone                     410, reason Gone
│   ├── Expired                  410, reason Expired: resourceVersion or continue token too old
│   ├── RequestEntityTooLarge    413
│   ├── UnsupportedMediaType     415
│   ├── Invalid                  422, `causes` name the fields
│   ├── TooManyRequests          429
│   ├── InternalError            500
│   ├── ServerTimeout            500/504, reason ServerTimeout: try again after `retry_after`
│   ├── ServiceUnavailable       503, 502
│   └── Timeout                  504
├── TransportError               no answer: it is unknown whether the server acted
│   ├── ConnectionFailed         refused, reset, unreachable, TLS
│   └── RequestTimeout           our own limit passed
├── ConfigError                  no usable way to reach an API server
│   └── CredentialError          the credential plugin or token file failed
├── ClientError                  a request that must not be sent
│   ├── NotRegistered            a class that the scheme does not know
│   ├── NoKindMatch              a kind that the API server does not serve (now)
│   ├── MissingResourceVersion   an update without the version it is based on (CLI-4)
│   ├── UndecodableObject        an object that does not fit the class it was read as
│   ├── UnsupportedOperation     e.g. update of a metadata-only object (CLI-5)
│   └── NamespaceMismatch        namespace of object and client differ, or is missing
└── (further branches live with their folder: controllerutil, cache, controller, leaderelection)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec


class ControllerRuntimeError(Exception):
    """Root of everything that the runtime raises."""


class ApiError(ControllerRuntimeError):
    """The API server answered with a failure.

    `status` is the HTTP code, `reason` the machine-readable word of the Status body, `message` its sentence,
    `details` its details object, `retry_after` the seconds after which the server invites another try.
    """

    default_status: ClassVar[int] = 500
    default_reason: ClassVar[str] = ""

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = self.default_status if status is None else status
        self.reason = self.default_reason if reason is None else reason
        self.message = message or self.reason or f"the server answered with HTTP {self.status}"
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after = retry_after
        super().__init__(self.message)

    @property
    def causes(self) -> list[dict[str, Any]]:
        """The single faults: dicts with `reason`, `message` and `field`, each optional."""
        causes = self.details.get("causes")
        return causes if isinstance(causes, list) else []

    def has_cause(self, reason: str) -> bool:
        return any(cause.get("reason") == reason for cause in self.causes if isinstance(cause, dict))

    def to_status(self) -> dict[str, Any]:
        """The metav1.Status object that a server would send for this error."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.status,
        }
        if self.details:
            body["details"] = self.details
        return body


class BadRequest(ApiError):
    default_status, default_reason = 400, "BadRequest"


class Unauthorized(ApiError):
    default_status, default_reason = 401, "Unauthorized"


class Forbidden(ApiError):
    default_status, default_reason = 403, "Forbidden"


class NotFound(ApiError):
    default_status, default_reason = 404, "NotFound"


class MethodNotSupported(ApiError):
    default_status, default_reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    default_status, default_reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    default_status, default_reason = 409, "AlreadyExists"


class Conflict(ApiError):
    default_status, default_reason = 409, "Conflict"

    @property
    def field_managers(self) -> dict[str, list[str]]:
        """For a refused apply: who owns which of the fields. Empty for a stale resourceVersion."""
        managers: dict[str, list[str]] = {}
        for cause in self.causes:
            if cause.get("reason") == "FieldManagerConflict":
                quoted = re.search(r'"((?:[^"\\]|\\.)*)"', str(cause.get("message")))
                managers.setdefault(quoted[1] if quoted else "", []).append(str(cause.get("field") or ""))
        return managers


class Gone(ApiError):
    default_status, default_reason = 410, "Gone"


class Expired(ApiError):
    default_status, default_reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    default_status, default_reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    default_status, default_reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    default_status, default_reason = 422, "Invalid"


class TooManyRequests(ApiError):
    default_status, default_reason = 429, "TooManyRequests"


class InternalError(ApiError):
    default_status, default_reason = 500, "InternalError"


class ServerTimeout(ApiError):
    default_status, default_reason = 500, "ServerTimeout"


class ServiceUnavailable(ApiError):
    default_status, default_reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    default_status, default_reason = 504, "Timeout"


class TransportError(ControllerRuntimeError):
    """The request got no answer. The server may have acted on it all the same."""


class ConnectionFailed(TransportError):
    """The connection could not be made, or broke before the answer was complete."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class RequestTimeout(TransportError, TimeoutError):
    """The answer did not arrive within the time limit of the request."""


NO_SERVER = (TransportError, ServiceUnavailable)
"""What says that there is no API server now: nobody answers, or a load balancer does in its place."""


class ConfigError(ControllerRuntimeError):
    """The configuration does not lead to an API server."""


class CredentialError(ConfigError):
    """The source of credentials (exec plugin, token file) did not deliver."""


class ClientError(ControllerRuntimeError):
    """The request is wrong in itself and was not sent."""


class NotRegistered(ClientError):
    """The scheme does not know this class or kind."""


class NoKindMatch(ClientError):
    """The API server does not serve this kind. CRDs may be installed later, so callers may try again."""

    def __init__(self, group: str, kind: str, version: str = "") -> None:
        self.group, self.kind, self.version = group, kind, version
        where = f"{group}/{version}" if group and version else group or version or "the core group"
        super().__init__(
            f"the API server serves no kind {kind!r} in {where}; is its CustomResourceDefinition installed?"
        )


class MissingResourceVersion(ClientError):
    """An update says nothing about the state it is based on, so it could overwrite the work of others."""


class UndecodableObject(ClientError):
    """An object that the server holds does not fit the class it was read as: the class is too strict, or too old."""


class UnsupportedOperation(ClientError):
    """The verb makes no sense for this projection or kind."""


class NamespaceMismatch(ClientError):
    """The object names no namespace where it must, or another one than its client."""


_BY_REASON: dict[str, type[ApiError]] = {
    cls.default_reason: cls
    for cls in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotSupported,
        NotAcceptable,
        AlreadyExists,
        Conflict,
        Gone,
        Expired,
        RequestEntityTooLarge,
        UnsupportedMediaType,
        Invalid,
        TooManyRequests,
        InternalError,
        ServerTimeout,
        ServiceUnavailable,
        Timeout,
    )
}

# AlreadyExists/Conflict, Gone/Expired and InternalError/ServerTimeout share a code; these are the plain readings of it.
_BY_CODE: dict[int, type[ApiError]] = {
    cls.default_status: cls for cls in _BY_REASON.values() if cls not in (AlreadyExists, Expired, ServerTimeout)
}
_BY_CODE[502] = ServiceUnavailable  # what many load balancers say when no server is left behind them


def error_class(reason: str, code: int) -> type[ApiError]:
    """The class for a Status: by reason first, by HTTP code second."""
    return _BY_REASON.get(reason) or _BY_CODE.get(code) or ApiError


def error_from_status(
    status: Mapping[str, Any], *, code: int | None = None, retry_after: float | None = None
) -> ApiError:
    """Turns a metav1.Status (a response body, or the object of an ERROR watch event) into its exception."""
    raw_code = status.get("code")
    http_code = raw_code if isinstance(raw_code, int) and raw_code else (code or 500)
    reason = str(status.get("reason") or "")
    details = status.get("details")
    details = details if isinstance(details, Mapping) else {}
    if retry_after is None and isinstance(details.get("retryAfterSeconds"), int | float):
        retry_after = float(details["retryAfterSeconds"])
    cls = error_class(reason, http_code)
    return cls(
        str(status.get("message") or ""),
        status=http_code,
        reason=reason or None,
        details=details,
        retry_after=retry_after,
    )


def error_from_response(code: int, body: bytes, *, retry_after: float | None = None, request: str = "") -> ApiError:
    """Turns a failed HTTP response into its exception; a body that is no Status (a proxy's page) is quoted."""
    try:
        status = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return error_from_status(status, code=code, retry_after=retry_after)
    text = " ".join(body[:512].decode("utf-8", "replace").split())
    message = f"{request}: HTTP {code}" if request else f"HTTP {code}"
    return error_class("", code)(f"{message}: {text}" if text else message, status=code, retry_after=retry_after)
