"""A server that answers as a test tells it, and remembers what it was asked."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

from bobrapet.runtime.rest.config import RestConfig

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class StubServer:
    """Answers come from the queue `answers` first, then from `handler`."""

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    handler: Handler | None = None
    answers: list[web.StreamResponse | Handler] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)

    def answer(self, *answers: web.StreamResponse | Handler) -> None:
        self.answers += answers

    def config(self, **changes: Any) -> RestConfig:
        return RestConfig(host=self.url, **changes)

    async def __aenter__(self) -> Self:
        context = None
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self.client_ca)
        self._runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await self._site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.connections.add(request.transport)
        self.seen.append(
            Seen(
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                await request.content.read(),
            )
        )
        answer: Any = self.answers.pop(0) if self.answers else self.handler
        if answer is None:
            return json({"kind": "Status", "status": "Success"})
        if callable(answer):
            return await answer(request)
        return answer


def json(body: Any, status: int = 200, **headers: str) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def failure(code: int, reason: str, message: str = "no", *, details: Any = None, **headers: str) -> web.Response:
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
    body |= {"code": code, "reason": reason, "message": message}
    if details:
        body["details"] = details
    return json(body, code, **headers)


async def drop(request: web.Request) -> web.StreamResponse:
    """Closes the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
