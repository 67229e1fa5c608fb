"""An HTTP server as a runnable."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web

from bobrapet.runtime.internal.httpserver.server import runner, serve, stop
from bobrapet.runtime.log.log import get_logger

DRAIN = 10.0

log = get_logger("server")


class Server:
    """Serves an application on a bound socket until cancelled, then lets requests in flight finish."""

    def __init__(
        self,
        name: str,
        app: web.Application,
        listener: socket.socket,
        *,
        only_serve_when_leader: bool = False,
        shutdown_timeout: float | None = None,
    ) -> None:
        self.name = name
        self.only_serve_when_leader = only_serve_when_leader
        self._app = app
        self._listener = listener
        self._shutdown_timeout = DRAIN if shutdown_timeout is None else shutdown_timeout
        self._serving = asyncio.Event()

    def need_leader_election(self) -> bool:
        return self.only_serve_when_leader

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    async def ready(self) -> None:
        """Waits until requests are answered."""
        await self._serving.wait()

    async def start(self) -> None:
        site = runner(self._app, drain=self._shutdown_timeout)
        try:
            await serve(site, self._listener)
            log.info("starting server", name=self.name, addr=f"{self._listener.getsockname()[0]}:{self.port}")
            self._serving.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await stop(site)

    def close(self) -> None:
        """Gives the port back; what stops before its first turn never comes to the end of `start`."""
        self._listener.close()

    def __str__(self) -> str:
        return f"server {self.name}"
