"""Judging objects (spec runtime WH-5, WH-6)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable
from typing import Any, Protocol, TypeVar

from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.internal.faults import FAULTS
from bobrapet.runtime.webhook.admission.decode import Decoder, UndecodableObject
from bobrapet.runtime.webhook.admission.response import (
    CONNECT,
    CREATE,
    DELETE,
    UPDATE,
    Request,
    Response,
    allowed,
    errored,
    from_exception,
)
from bobrapet.runtime.webhook.admission.webhook import Webhook

T_contra = TypeVar("T_contra", contravariant=True)

Warnings = Iterable[str] | None
"""What to tell the user although the request is allowed."""


class AdmissionDenied(ControllerRuntimeError):
    """A denial with warnings. Any other exception denies too; an `ApiError` keeps its code, reason and causes."""

    def __init__(self, message: str, warnings: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.warnings = [*warnings]


class CustomValidator(Protocol[T_contra]):
    """Says no by raising; may be `async`. What is returned are warnings."""

    def validate_create(self, obj: T_contra) -> Warnings | Awaitable[Warnings]: ...

    def validate_update(self, old: T_contra, new: T_contra) -> Warnings | Awaitable[Warnings]: ...

    def validate_delete(self, obj: T_contra) -> Warnings | Awaitable[Warnings]: ...


class ValidatorForType:
    """The handler around a validator."""

    def __init__(self, cls: type[Any], validator: CustomValidator[Any]) -> None:
        self._decoder: Decoder[Any] = Decoder(cls)
        self._validator = validator

    async def handle(self, request: Request) -> Response:
        if request.operation == CONNECT:
            return allowed()
        if request.operation not in (CREATE, UPDATE, DELETE):
            return errored(400, f"unknown operation {request.operation!r}")
        try:
            new = None if request.operation == DELETE else self._decoder.decode(request)
            old = None if request.operation == CREATE else self._decoder.decode_old(request)
        except UndecodableObject as error:
            return errored(400, error)
        try:
            warnings = self._validate(request.operation, old, new)
            if inspect.isawaitable(warnings):
                warnings = await warnings
        except FAULTS:
            raise
        except Exception as error:
            return from_exception(error)
        return allowed().with_warnings(*(warnings or ()))

    def _validate(self, operation: str, old: Any, new: Any) -> Any:
        if operation == CREATE:
            return self._validator.validate_create(new)
        if operation == UPDATE:
            return self._validator.validate_update(old, new)
        return self._validator.validate_delete(old)


def with_custom_validator(cls: type[Any], validator: CustomValidator[Any], *, recover_panic: bool = True) -> Webhook:
    """A webhook that judges objects of a class."""
    return Webhook(ValidatorForType(cls, validator), recover_panic=recover_panic)
