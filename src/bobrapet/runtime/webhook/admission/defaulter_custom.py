"""Filling in defaults (spec runtime WH-7 to WH-9)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

import msgspec

from bobrapet.runtime.client.object import to_dict
from bobrapet.runtime.internal.faults import FAULTS
from bobrapet.runtime.webhook.admission.decode import Decoder, UndecodableObject
from bobrapet.runtime.webhook.admission.response import (
    DELETE,
    Request,
    Response,
    allowed,
    errored,
    from_exception,
    json_patch,
    patched,
)
from bobrapet.runtime.webhook.admission.webhook import Webhook

T_contra = TypeVar("T_contra", contravariant=True)


class CustomDefaulter(Protocol[T_contra]):
    """Fills in what a user left open."""

    def default(self, obj: T_contra) -> Awaitable[None] | None:
        """Changes `obj` in place. May be `async`. An exception denies the request."""
        ...


class DefaulterForType:
    """The handler around a defaulter."""

    def __init__(self, cls: type[Any], defaulter: CustomDefaulter[Any]) -> None:
        self._decoder: Decoder[Any] = Decoder(cls)
        self._defaulter = defaulter

    async def handle(self, request: Request) -> Response:
        if request.operation == DELETE:
            return allowed()
        try:
            obj = self._decoder.decode(request)
        except UndecodableObject as error:
            return errored(400, error)
        before = msgspec.json.encode(to_dict(obj))
        try:
            pending = self._defaulter.default(obj)
            if inspect.isawaitable(pending):
                await pending
        except FAULTS:
            raise
        except Exception as error:
            return from_exception(error)
        after = msgspec.json.encode(to_dict(obj))
        if after == before:
            return allowed()
        raw, kept, wanted = (msgspec.json.decode(document) for document in (request.object, before, after))
        # What vanishes just by reading and writing belongs to a newer version of the kind, and stays (WH-8).
        unknown = {operation["path"] for operation in json_patch(raw, kept) if operation["op"] == "remove"}
        operations = [
            operation
            for operation in json_patch(raw, wanted)
            if operation["op"] != "remove" or operation["path"] not in unknown
        ]
        return patched("", *operations)


def with_custom_defaulter(cls: type[Any], defaulter: CustomDefaulter[Any], *, recover_panic: bool = True) -> Webhook:
    """A webhook that fills in defaults of a class."""
    return Webhook(DefaulterForType(cls, defaulter), recover_panic=recover_panic)
