"""A proxy before a real API server that does to answers what bad networks do."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web

from bobrapet.runtime.envtest.certificates import Authority
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.rest.tls import ssl_context


class TroubledProxy:
    """Speaks TLS to both sides. `config` leads through it; the attributes say what it does to watches from now on."""

    def __init__(self, upstream: RestConfig, folder: Path) -> None:
        self.piece = 1 << 20
        """Most bytes that are passed on at once; lines are cut anywhere."""
        self.garbage: list[bytes] = []
        """Lines to slip in between two events, one at a time."""
        self.silent = asyncio.Event()
        """When set, nothing more is passed on over the watches that are open, and they are not closed either."""
        self.watches = 0
        self.lists = 0

        self._upstream = upstream
        self._authority = Authority("troubled")
        pair = self._authority.serving("127.0.0.1")
        (folder / "tls.crt").write_bytes(pair.certificate)
        (folder / "tls.key").write_bytes(pair.key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        application = web.Application()
        application.router.add_route("GET", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=ssl_context(self._upstream), limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._context)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.config = RestConfig(
            host=f"https://{host}:{port}", ca_data=self._authority.certificate, token=self._upstream.token
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        is_watch = request.query.get("watch") in ("1", "true")
        self.watches += is_watch
        self.lists += not is_watch
        headers = {name: request.headers[name] for name in ("Accept", "Authorization")}
        async with self._session.get(f"{self._upstream.host}{request.path_qs}", headers=headers) as answer:
            response = web.StreamResponse(
                status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
            )
            await response.prepare(request)
            if is_watch:
                await self._stream(answer.content, response)
            else:
                await response.write(await answer.read())
            return response

    async def _stream(self, lines: aiohttp.StreamReader, response: web.StreamResponse) -> None:
        silent = self.silent
        async for line in lines:
            if silent.is_set():
                await asyncio.Event().wait()
            garbage = self.garbage.pop(0) if self.garbage else b""
            data = garbage + line
            for start in range(0, len(data), self.piece):
                await response.write(data[start : start + self.piece])
                await asyncio.sleep(0)
