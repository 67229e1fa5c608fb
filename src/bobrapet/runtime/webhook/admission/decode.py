"""From the JSON of a request to objects."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from bobrapet.runtime.client.object import from_bytes
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.webhook.admission.response import Request

T = TypeVar("T")


class UndecodableObject(ControllerRuntimeError):
    """The object in the request does not fit its class."""


class Decoder(Generic[T]):
    """Decodes to one class."""

    def __init__(self, cls: type[T]) -> None:
        self.cls = cls

    def decode(self, request: Request) -> T:
        """The object of the request. Raises `UndecodableObject`."""
        return self.decode_raw(request.object)

    def decode_old(self, request: Request) -> T:
        """The object as it was. Raises `UndecodableObject`."""
        return self.decode_raw(request.old_object)

    def decode_raw(self, raw: bytes) -> T:
        if not raw:
            raise UndecodableObject("there is no content to decode")
        try:
            return from_bytes(self.cls, raw)
        except (msgspec.MsgspecError, ValueError) as error:
            raise UndecodableObject(f"cannot decode the object as {self.cls.__name__}: {error}") from error
