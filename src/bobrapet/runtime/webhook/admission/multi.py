"""Several handlers behind one path (spec runtime WH-10)."""

from __future__ import annotations

from dataclasses import replace

from bobrapet.runtime.webhook.admission.response import PatchOperation, Request, Response, errored
from bobrapet.runtime.webhook.admission.webhook import Handler


class MultiMutating:
    """Asks all in order, until one denies; their patches are concatenated, so they must not touch the same fields."""

    def __init__(self, *handlers: Handler) -> None:
        self._handlers = handlers

    async def handle(self, request: Request) -> Response:
        patches: list[PatchOperation] = []
        warnings: list[str] = []
        for handler in self._handlers:
            response = await handler.handle(request)
            warnings += response.warnings
            if not response.allowed:
                return replace(response, warnings=warnings)
            patches += response.patches
        return Response(allowed=True, patches=patches, warnings=warnings)


class MultiValidating:
    """Asks all in order, until one denies."""

    def __init__(self, *handlers: Handler) -> None:
        self._handlers = handlers

    async def handle(self, request: Request) -> Response:
        warnings: list[str] = []
        for handler in self._handlers:
            response = await handler.handle(request)
            if response.patches:
                return errored(500, "a validating handler returned a patch")
            warnings += response.warnings
            if not response.allowed:
                return replace(response, warnings=warnings)
        return Response(allowed=True, warnings=warnings)
