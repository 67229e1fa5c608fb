"""The connections of a client: made when first used, made anew when certificates change."""

from __future__ import annotations

import ipaddress
import logging
import os
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp

from bobrapet.runtime.errors import ConfigError, ConnectionFailed
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.rest.credentials import Credentials
from bobrapet.runtime.rest.metrics import OBSERVERS, RequestObserver
from bobrapet.runtime.rest.tls import fingerprint, ssl_context

log = logging.getLogger(__name__)

CONNECTIONS = 100
"""Connections for requests. Watches have their own pool without limit: each holds its connection for minutes."""

READ_BUFFER = 1 << 20
"""Bytes that a watch reads ahead; fewer and larger wake-ups than with the library's 64 KiB."""


@dataclass(slots=True, eq=False)
class Connections:
    """One generation of connections: two pools with one TLS context."""

    requests: aiohttp.ClientSession
    watches: aiohttp.ClientSession
    key: object
    users: int = 0
    retired: bool = False

    async def close(self) -> None:
        await self.requests.close()
        await self.watches.close()


class Transport:
    """Lends out the current connections; those of older certificates are closed when their last user is done."""

    def __init__(self, config: RestConfig, credentials: Credentials, observer: RequestObserver = OBSERVERS) -> None:
        self._config = config
        self._credentials = credentials
        self._observer = observer
        self._current: Connections | None = None
        self._unusable: object = None
        self._retired: set[Connections] = set()
        self.closed = False

    @asynccontextmanager
    async def connections(self) -> AsyncIterator[Connections]:
        if self.closed:
            raise ConnectionFailed("the client is closed")
        current = self._fresh()
        current.users += 1
        try:
            yield current
        finally:
            current.users -= 1
            if current.retired and not current.users:
                self._retired.discard(current)
                await current.close()

    def _fresh(self) -> Connections:
        key = (fingerprint(self._config), self._credentials.certificate)
        current = self._current
        if current is None:
            self._current = self._connect(key)
            return self._current
        if key in (current.key, self._unusable):
            return current
        try:
            made = self._connect(key)
        except ConfigError as error:
            # Files are replaced one after the other; until they fit together the old ones serve.
            log.warning("changed certificates are not used: %s", error)
            self._unusable = key
            return current
        self._current = made
        current.retired = True
        self._retired.add(current)
        return made

    def _connect(self, key: object) -> Connections:
        context = ssl_context(self._config, self._credentials.certificate)
        traces = [_dns_trace(self._observer)] if self._observer.wants_dns else None
        return Connections(
            requests=aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=traces,
            ),
            watches=aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=0, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=traces,
                read_bufsize=READ_BUFFER,
            ),
            key=key,
        )

    async def close(self) -> None:
        self.closed = True
        everything = [*self._retired, *([self._current] if self._current else [])]
        self._current = None
        self._retired.clear()
        for connections in everything:
            await connections.close()


def _dns_trace(observer: RequestObserver) -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    async def begin(_: object, context: SimpleNamespace, __: aiohttp.TraceDnsResolveHostStartParams) -> None:
        context.dns_started = time.perf_counter()

    async def end(_: object, context: SimpleNamespace, found: aiohttp.TraceDnsResolveHostEndParams) -> None:
        observer.on_dns(host=found.host, seconds=time.perf_counter() - context.dns_started)

    trace.on_dns_resolvehost_start.append(begin)
    trace.on_dns_resolvehost_end.append(end)
    return trace


def proxy_for(config: RestConfig) -> str | None:
    """The proxy for a configuration: its own, else that of the environment, never for the local machine."""
    if config.proxy_url:
        return config.proxy_url
    parts = urlsplit(config.host)
    host = parts.hostname or ""
    if _is_local(host):
        return None
    if urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    environment = {key.lower(): value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    return environment.get(f"{parts.scheme}_proxy") or environment.get("all_proxy") or None


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
