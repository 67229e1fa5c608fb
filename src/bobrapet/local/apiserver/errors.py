"""Failures as the Kubernetes API tells them: an HTTP code and a `Status` object.

The constructors below name the reasons of the API; a request handler raises one and the HTTP layer sends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bobrapet.local.apiserver.types import Object, Resource


class ServerError(Exception):
    """Root of what keeps the server from starting."""


class AddressUnusable(ServerError):
    """Nobody can listen there on this machine."""


class PortTaken(AddressUnusable):
    """The port of the data directory (or the asked one) belongs to someone else now."""


class IdentityDamaged(ServerError):
    """The file that makes a restarted server the same one to its clients cannot be read."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault of one field. `reason` is a cause type of the API, for example FieldValueInvalid."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"

    def cause(self) -> Object:
        """The entry of `status.details.causes`."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


class Tolerated(FieldError):
    """A fault that the object had before: the client hears of it, the write is accepted."""


class ApiError(Exception):
    """A refused request."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Object | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details
        self.headers = headers or {}
        self.warnings: Sequence[str] = ()
        """What the client should hear besides."""

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])

    def status(self) -> Object:
        """The body of the answer."""
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        status["code"] = self.code
        return status


def _details(resource: Resource, name: str, **more: Any) -> Object:
    details: Object = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    details.update(more)
    return details


def not_found(resource: Resource, name: str) -> ApiError:
    """404 for an object."""
    message = f'{resource.qualified} "{name}" not found'
    return ApiError(404, "NotFound", message, details=_details(resource, name))


def no_such_resource() -> ApiError:
    """404 for a path below a known group that names nothing."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


class NoSuchPath(ApiError):
    """404 in plain text, for a path that is no API at all."""

    def __init__(self) -> None:
        super().__init__(404, "NotFound", "404 page not found\n")


def no_such_path() -> ApiError:
    """404 for a path outside every group."""
    return NoSuchPath()


def already_exists(resource: Resource, name: str) -> ApiError:
    """409 for a create of a name that is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=_details(resource, name))


def generated_name_taken(resource: Resource, name: str) -> ApiError:
    """409 for a create whose generated names are all taken."""
    message = (
        f'{resource.qualified} "{name}" already exists, '
        "the server was not able to generate a unique name for the object"
    )
    return ApiError(409, "AlreadyExists", message, details=_details(resource, name, retryAfterSeconds=1))


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    """409 for a write on top of something the writer has not seen."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_details(resource, name))


def precondition_failed(resource: Resource, name: str, what: str, given: str, found: str) -> ApiError:
    """409 for a delete of another object than the one that was meant."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    why = f"the {what} in the precondition ({given}) does not match the {what} in record ({found})"
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {kind} "{name}": {why}. '
        "The object might have been deleted and then recreated",
        details=_details(resource, name) | {"kind": resource.kind},
    )


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(resource: Resource, name: str, errors: Sequence[FieldError], *, kind: str = "") -> ApiError:
    """422 with every fault at once. `kind`: how the message calls the resource, when not by its kind."""
    shown = kind or resource.kind
    qualified = f"{shown}.{resource.group}" if resource.group else shown
    texts = list(dict.fromkeys(str(error) for error in errors))
    told = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: Object = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details |= {"kind": shown, "causes": [error.cause() for error in errors]}
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {told}', details=details)


def unpatchable(fault: FieldError) -> ApiError:
    """422 for a patch whose result cannot be an object."""
    return ApiError(422, "Invalid", f' "" is invalid: {fault}', details={"causes": [fault.cause()]})


def undeclared(resource: Resource, name: str, unknown: Sequence[str]) -> ApiError:
    """500, as a kube-apiserver answers an apply configuration with fields that its schema does not have."""
    problems = "\n".join(f".{path}: field not declared in schema" for path in unknown)
    listed = problems if len(unknown) == 1 else f"errors:\n{problems}"
    return ApiError(
        500,
        "",
        f"failed to create typed patch object (/{name}; {resource.api_version}, Kind={resource.kind}): {listed}",
    )


def invalid_options(
    field: str, message: str, *, kind: str = "ListOptions", reason: str = "FieldValueNotSupported"
) -> ApiError:
    """422 for query parameters that do not go together."""
    fault = FieldError(field, message, reason)
    details = {"group": "meta.k8s.io", "kind": kind, "causes": [fault.cause()]}
    return ApiError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {fault}', details=details)


def invalid_token_request(message: str) -> ApiError:
    """422 for a token that cannot be issued as asked."""
    fault = FieldError("spec.expirationSeconds", message)
    details = {"group": "authentication.k8s.io", "kind": "TokenRequest", "causes": [fault.cause()]}
    return ApiError(422, "Invalid", f'TokenRequest.authentication.k8s.io "" is invalid: {fault}', details=details)


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def name_mismatch(given: str, path: str) -> ApiError:
    """400 for an object that is not the one of the URL."""
    return bad_request(f"the name of the object ({given}) does not match the name on the URL ({path})")


def forbidden(resource: Resource, name: str, why: str, *, causes: Iterable[Object] = ()) -> ApiError:
    """403 for an object: authenticated, understood, not allowed."""
    target = f'{resource.qualified} "{name}"' if name else resource.qualified
    details = _details(resource, name)
    if listed := list(causes):
        details["causes"] = listed
    return ApiError(403, "Forbidden", f"{target} is forbidden: {why}", details=details)


def unauthorized() -> ApiError:
    """401."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    """405."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def expired(message: str) -> ApiError:
    """410: the asked moment is older than what the server remembers."""
    return ApiError(410, "Expired", message)


def too_large_revision(asked: int, current: int) -> ApiError:
    """504 for a revision that does not exist yet."""
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiError(
        504,
        "Timeout",
        message,
        details={"causes": [cause], "retryAfterSeconds": 1},
        headers={"Retry-After": "1"},
    )


def unsupported_media_type(accepted: Iterable[str]) -> ApiError:
    """415."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", message)


def not_acceptable(accepted: Iterable[str]) -> ApiError:
    """406."""
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return ApiError(406, "NotAcceptable", message)


def too_large_body(limit: int) -> ApiError:
    """413."""
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def too_large_object(limit: int) -> ApiError:
    """The object would not fit into the store, although the request was small enough."""
    return ApiError(413, "RequestEntityTooLarge", f"the object is too large to store: limit is {limit} bytes")


def internal(message: str) -> ApiError:
    """500."""
    return ApiError(
        500, "InternalError", f"Internal error occurred: {message}", details={"causes": [{"message": message}]}
    )


def insufficient_storage(message: str) -> ApiError:
    """507: the disk under the data directory is full. Nothing was written."""
    return ApiError(507, "InsufficientStorage", message)
