"""One webhook: a handler, kept from taking the process down (controller-runtime pkg/webhook/admission)."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import replace
from typing import Protocol

from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.log.log import get_logger, with_fields
from bobrapet.runtime.webhook.admission.response import Request, Response, errored
from bobrapet.runtime.webhook.internal.metrics import PANICS

TIMEOUT_SHARE = 0.9
"""Part of the time that the API server waits after which an answer is given in any case."""

_current: ContextVar[Request] = ContextVar("admission_request")

log = get_logger("admission")


class Handler(Protocol):
    """Judges requests. Must not write to the API: the request may be a dry run, or be asked twice."""

    async def handle(self, request: Request) -> Response: ...


class NoAdmissionRequest(ControllerRuntimeError):
    """This code does not run for an admission request."""


def request_from_context() -> Request:
    """The request that is being judged: user, operation, dry run. Raises `NoAdmissionRequest` outside of webhooks."""
    try:
        return _current.get()
    except LookupError:
        raise NoAdmissionRequest("there is no admission request in this context") from None


class Webhook:
    """Calls a handler; whatever happens, the answer carries the uid of the question."""

    def __init__(self, handler: Handler, *, recover_panic: bool = True) -> None:
        self._handler = handler
        self._recover_panic = recover_panic

    async def handle(self, request: Request, *, timeout: float | None = None) -> Response:
        """`timeout`: seconds that the asker waits. Raises what the handler raises only where recovery is off."""
        token = _current.set(request)
        try:
            with with_fields(**_log_fields(request)):
                try:
                    async with asyncio.timeout(None if timeout is None else timeout * TIMEOUT_SHARE) as limit:
                        response = await self._handler.handle(request)
                except TimeoutError as error:
                    if not limit.expired():
                        response = self._panicked(error)
                    else:
                        response = errored(500, f"the webhook did not decide within {timeout:g} s")
                except Exception as error:
                    response = self._panicked(error)
        finally:
            _current.reset(token)
        return replace(response, uid=request.uid)

    def _panicked(self, error: Exception) -> Response:
        if not self._recover_panic:
            raise error
        PANICS.inc()
        log.error("Observed a panic", error=error)
        return errored(500, f"panic: {error} [recovered]")


def _log_fields(request: Request) -> dict[str, object]:
    return {
        "webhookGroup": request.kind.group,
        "webhookKind": request.kind.kind,
        request.kind.kind or "object": {"name": request.name, "namespace": request.namespace},
        "namespace": request.namespace,
        "name": request.name,
        "resource": request.resource.resource,
        "user": request.user_info.get("username", ""),
        "requestID": request.uid,
    }
