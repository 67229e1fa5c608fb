"""One place for the limits of all HTTP servers of the runtime (controller-runtime pkg/internal/httpserver)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from aiohttp import web

MAX_HEADER_BYTES = 1 << 20
KEEP_ALIVE = 90.0
HEADER_TIMEOUT = 32.0
FAREWELL = 0.05
"""Seconds between two looks for idle connections of a server that stops."""


def listen(address: str) -> socket.socket:
    """A bound socket for `host:port`, `:port` or `[::1]:port`. Port 0 takes any. Raises `OSError` when it is taken."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server((host, int(port)), family=family)


def runner(app: web.Application, *, drain: float) -> web.AppRunner:
    """A runner with our limits; `drain` is the time in seconds that requests in flight are given at the end."""
    options: dict[str, Any] = {
        "max_line_size": MAX_HEADER_BYTES,
        "max_field_size": MAX_HEADER_BYTES,
        "lingering_time": 5.0,
    }
    return web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE, shutdown_timeout=drain, **options)


async def serve(app_runner: web.AppRunner, sock: socket.socket, context: ssl.SSLContext | None = None) -> None:
    """Begins to answer on a bound socket."""
    await app_runner.setup()
    await web.SockSite(app_runner, sock, ssl_context=context).start()


async def stop(app_runner: web.AppRunner) -> None:
    """Takes no more connections, answers the requests in flight as long as the runner's drain allows, closes all.

    aiohttp sends idle connections away once. One whose TLS handshake ends after that is idle too, and would be waited
    for until the drain is over; so they are sent away until none is left.
    """
    cleanup = asyncio.ensure_future(app_runner.cleanup())
    try:
        while not cleanup.done():
            if app_runner.server is not None:
                app_runner.server.pre_shutdown()
            await asyncio.wait([cleanup], timeout=FAREWELL)
    finally:
        cleanup.cancel()
    cleanup.result()
