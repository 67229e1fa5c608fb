"""The TLS server that the API server calls (controller-runtime pkg/webhook, spec runtime WHS-1 to WHS-6)."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from bobrapet.runtime.certwatcher import CertWatcher
from bobrapet.runtime.clock import REAL_CLOCK, Clock, cancel_after
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.internal.httpserver.server import listen, runner, serve, stop
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.webhook.admission.http import MAX_BODY
from bobrapet.runtime.webhook.admission.http import serve as serve_review
from bobrapet.runtime.webhook.admission.webhook import Webhook
from bobrapet.runtime.webhook.internal.metrics import IN_FLIGHT, LATENCY, REQUESTS

DEFAULT_PORT = 9443
DISABLED = -1
DRAIN = 60.0
DIAL_TIMEOUT = 10.0
LOOPBACK = "127.0.0.1"  # by number: an image without /etc/hosts knows no localhost

log = get_logger("webhook")


class WebhookServerError(ControllerRuntimeError):
    """The webhook server cannot be used in this way."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How webhooks are served."""

    host: str = ""
    """Address to listen on. Empty: all."""

    port: int = DEFAULT_PORT
    """-1: no server; registrations still succeed. 0: any free port."""

    cert_dir: str = ""
    """Empty: `<tmp>/k8s-webhook-server/serving-certs`."""

    cert_name: str = "tls.crt"
    key_name: str = "tls.key"
    context: ssl.SSLContext | None = None
    """Serve with the certificate that somebody else keeps current in here; `cert_dir` is not looked at then."""

    client_ca_file: str = ""
    """Require client certificates of these authorities. Relative to `cert_dir`."""


class Server:
    """A runnable; runs on every replica, because the Service balances over all pods."""

    def __init__(self, options: Options | None = None, *, clock: Clock = REAL_CLOCK) -> None:
        self.options = options or Options()
        self.port = self.options.port
        """The real port, once it serves."""

        self._clock = clock
        self._webhooks: dict[str, Webhook] = {}
        self._serving = asyncio.Event()

    def need_leader_election(self) -> bool:
        return False

    def register(self, path: str, webhook: Webhook) -> None:
        """Serves a webhook at a path, from now on also while running. Raises `WebhookServerError` for a taken path."""
        if path in self._webhooks:
            raise WebhookServerError(f"the path {path} has a webhook already")
        self._webhooks[path] = webhook
        for code in ("200", "500"):
            REQUESTS.labels(path, code)
        IN_FLIGHT.labels(path)

    def is_registered(self, path: str) -> bool:
        return path in self._webhooks

    async def ready(self) -> None:
        """Waits until requests are answered."""
        await self._serving.wait()

    async def start(self) -> None:
        options = self.options
        if options.port == DISABLED:
            self._serving.set()
            await asyncio.get_running_loop().create_future()
        folder = Path(options.cert_dir or Path(tempfile.gettempdir(), "k8s-webhook-server", "serving-certs"))
        watching: asyncio.Task[None] | None = None
        context = options.context
        if context is None:
            watcher = CertWatcher(folder / options.cert_name, folder / options.key_name, clock=self._clock)
            context = watcher.context
        if options.client_ca_file:
            context.load_verify_locations(folder / options.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        app = web.Application(client_max_size=MAX_BODY + 1)
        app.router.add_route("*", "/{path:.*}", self._answer)
        site = runner(app, drain=DRAIN)
        listener = listen(f"{options.host}:{options.port}")
        self.port = listener.getsockname()[1]
        if options.context is None:
            watching = asyncio.create_task(watcher.start(), name="webhook certificate")
        try:
            await serve(site, listener, context)
            log.info("Serving webhook server", host=options.host, port=self.port)
            self._serving.set()
            await asyncio.get_running_loop().create_future()
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait([watching])
            await stop(site)

    async def started_check(self) -> None:
        """A readiness check: the server can be called, by TLS."""
        if self.options.port == DISABLED:
            return
        if not self._serving.is_set():
            raise WebhookServerError("webhook server has not been started yet")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with cancel_after(self._clock, DIAL_TIMEOUT):
            _, writer = await asyncio.open_connection(self.options.host or LOOPBACK, self.port, ssl=context)
            writer.close()
            return
        raise WebhookServerError(f"webhook server did not answer within {DIAL_TIMEOUT:g} s")

    async def _answer(self, request: web.Request) -> web.Response:
        webhook = self._webhooks.get(request.path)
        if webhook is None:
            return web.Response(status=404, text="404 page not found\n")
        started = time.perf_counter()
        code = 200
        in_flight = IN_FLIGHT.labels(request.path)
        in_flight.inc()
        try:
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                body = bytes(MAX_BODY + 1)  # whatever it was, it is judged by its size alone
            content_type, timeout = request.headers.get("Content-Type", ""), request.query.get("timeout", "")
            answer = await serve_review(webhook, body, content_type, timeout)
            return web.Response(body=answer, content_type="application/json")
        except Exception:
            code = 500
            raise
        finally:
            in_flight.dec()
            REQUESTS.labels(request.path, str(code)).inc()
            LATENCY.labels(request.path).observe(time.perf_counter() - started)

    def __str__(self) -> str:
        return "webhook server"
