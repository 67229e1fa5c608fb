"""Servers of the runtime stop for those who are served, not for those who are merely connected."""

from __future__ import annotations

import asyncio
import ssl

from aiohttp import web

from bobrapet.runtime.certwatcher import self_signed
from bobrapet.runtime.clock import settle
from bobrapet.runtime.internal.httpserver.server import listen, runner, serve, stop

DRAIN = 3600.0


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_a_connection_that_arrives_during_the_stop_does_not_hold_it_up() -> None:
    arrived: list[asyncio.StreamWriter] = []

    async def finish_handshake(_: web.Application) -> None:
        await writer.start_tls(client_context(), server_hostname="localhost")
        await settle()  # until the server's side waits for a request
        arrived.append(writer)

    application = web.Application()
    application.on_shutdown.append(finish_handshake)
    server = runner(application, drain=DRAIN)
    listener = listen("127.0.0.1:0")
    await serve(server, listener, self_signed(["localhost"]))
    _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
    async with asyncio.timeout(60):
        await stop(server)
    assert arrived, "it was connected while the server stopped"
    writer.close()


async def test_a_request_in_flight_is_answered_before_the_stop_ends() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        begun.set()
        await go_on.wait()
        return web.Response(text="done")

    application = web.Application()
    application.router.add_get("/", slow)
    server = runner(application, drain=DRAIN)
    listener = listen("127.0.0.1:0")
    await serve(server, listener)
    reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(60):
        await begun.wait()
        stopping = asyncio.create_task(stop(server))
        await settle()  # until it waits for the request
        assert not stopping.done()
        go_on.set()
        assert b"done" in await reader.read()
        await stopping
    writer.close()
