"""The metrics endpoint (controller-runtime pkg/metrics/server)."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.internal.httpserver.server import listen, runner, serve, stop
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.metrics.registry import REGISTRY

DRAIN = 60.0
CACHE_TEXT = 1.0
"""Seconds for which a rendered page is reused: rendering thousands of series takes hundreds of milliseconds."""

HttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Filter = Callable[[HttpHandler], HttpHandler]
"""Wraps a handler, for example with authentication."""

log = get_logger("metrics")


class MetricsServerError(ControllerRuntimeError):
    """The metrics server cannot be set up in this way."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How metrics are served."""

    bind_address: str = ":8080"
    """`host:port`. "0": not at all."""

    secure_serving: bool = False
    """TLS, with the files below if both exist, else with a certificate for localhost that is made on the spot."""

    cert_dir: str = ""
    """None: `<tmp>/k8s-metrics-server/serving-certs`."""

    cert_name: str = "tls.crt"
    key_name: str = "tls.key"
    client_ca_file: str = ""
    """Require client certificates of these authorities."""

    filter_provider: Filter | None = None
    """Wraps every page, for example `filters.with_authentication_and_authorization(...)`."""

    extra_handlers: Mapping[str, HttpHandler] = field(default_factory=dict)
    registry: CollectorRegistry = REGISTRY


class Server:
    """A runnable; runs on every replica."""

    only_serve_when_leader = False

    def __init__(self, options: Options, *, clock: Clock = REAL_CLOCK) -> None:
        self._options = options
        self._clock = clock
        self._handlers: dict[str, HttpHandler] = {}
        for path, handler in options.extra_handlers.items():
            self.add_extra_handler(path, handler)
        self._listener = listen(options.bind_address)
        self._serving = asyncio.Event()
        self._rendered: tuple[float, bytes] | None = None

    def need_leader_election(self) -> bool:
        return False

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def add_extra_handler(self, path: str, handler: HttpHandler) -> None:
        """Adds a page. Raises `MetricsServerError` for a path that is taken."""
        if path == "/metrics":
            raise MetricsServerError("the path /metrics is taken by the metrics themselves")
        if path in self._handlers:
            raise MetricsServerError(f"the path {path} has a handler already")
        self._handlers[path] = handler

    async def ready(self) -> None:
        await self._serving.wait()

    async def start(self) -> None:
        wrap = self._options.filter_provider or (lambda handler: handler)
        app = web.Application()
        app.router.add_get("/metrics", wrap(self._metrics))
        for path, handler in self._handlers.items():
            app.router.add_route("*", path, wrap(handler))
        site = runner(app, drain=DRAIN)
        context, watcher = self._tls()
        watching = asyncio.create_task(watcher.start(), name="metrics certificate") if watcher is not None else None
        try:
            await serve(site, self._listener, context)
            log.info("Serving metrics server", bindAddress=self._options.bind_address, secure=context is not None)
            self._serving.set()
            await asyncio.get_running_loop().create_future()
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait([watching])
            await stop(site)

    def close(self) -> None:
        """Gives the port back; what stops before its first turn never comes to the end of `start`."""
        self._listener.close()

    async def _metrics(self, request: web.Request) -> web.Response:
        now = self._clock.monotonic()
        if self._rendered is None or now - self._rendered[0] > CACHE_TEXT:
            text = await asyncio.to_thread(generate_latest, self._options.registry)
            self._rendered = now, text
        return web.Response(body=self._rendered[1], headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _tls(self) -> tuple[ssl.SSLContext | None, Any]:
        options = self._options
        if not options.secure_serving:
            return None, None
        from bobrapet.runtime.certwatcher import CertWatcher, self_signed

        folder = Path(options.cert_dir or Path(tempfile.gettempdir(), "k8s-metrics-server", "serving-certs"))
        cert, key = folder / options.cert_name, folder / options.key_name
        if cert.exists() and key.exists():
            watcher = CertWatcher(cert, key, clock=self._clock)
            context = watcher.context
        else:
            log.info("Serving with a certificate that nobody signed", reason=f"{cert} and {key} do not both exist")
            watcher, context = None, self_signed(["localhost", "127.0.0.1"])
        if options.client_ca_file:
            context.load_verify_locations(options.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context, watcher

    def __str__(self) -> str:
        return "metrics server"
