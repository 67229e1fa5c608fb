"""The one page of a kubelet's own API that an API server needs: the logs of a container, for `kubectl logs`.

Listens on loopback with a certificate made on the spot, which an API server without `--kubelet-certificate-authority`
accepts. It asks nobody who they are, as the API server shows no credentials either; so it is opened only on demand.
"""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime, timedelta

from aiohttp import web

from bobrapet.local.apiserver import pki

from .logsource import LogUnavailable, PodLogs

HOST = "127.0.0.1"
SHUTDOWN = 1.0  # seconds that a follower gets to notice the end


class Kubelet:
    """Serves the logs of a node over HTTPS."""

    def __init__(self, logs: PodLogs, host: str = HOST) -> None:
        """`host`: the address to listen on, which the Node object names."""
        self._logs = logs
        self._host = host
        self._runner: web.AppRunner | None = None
        self.port = 0
        """Where it listens, once started."""

    async def start(self, port: int) -> None:
        """Listens on the port; 0 takes a free one. Raises OSError."""
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._container_logs)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, port, ssl_context=_context(self._host))
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Ends all answers and listens no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _container_logs(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        try:
            since = _since(query.get("sinceSeconds"), query.get("sinceTime"))
            tail = query.get("tailLines", "all")
            chunks = await self._logs.open(
                request.match_info["namespace"],
                request.match_info["pod"],
                request.match_info["container"],
                follow=_flag(query.get("follow")),
                previous=_flag(query.get("previous")),
                timestamps=_flag(query.get("timestamps")),
                tail_lines=None if tail == "all" else int(tail),
                since=since,
                limit_bytes=int(query["limitBytes"]) if "limitBytes" in query else None,
            )
        except LogUnavailable as error:
            return web.Response(status=error.code, text=error.message)
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        async for chunk in chunks:
            await response.write(chunk)
        return response


def _context(host: str) -> ssl.SSLContext:
    made = pki.create(host, datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as file:  # OpenSSL reads files only; nobody else may read this one
        file.write(made.key + made.certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _flag(text: str | None) -> bool:
    return text in ("true", "1")


def _since(seconds: str | None, moment: str | None) -> datetime | None:
    if seconds is not None:
        return datetime.now(UTC) - timedelta(seconds=int(seconds))
    return datetime.fromisoformat(moment.replace("Z", "+00:00")) if moment else None
