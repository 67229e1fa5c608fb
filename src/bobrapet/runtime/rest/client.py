"""HTTP for an API server: bytes in, bytes out, failures as `ApiError` or `TransportError`.

Knows nothing of objects. Reads decode elsewhere, so that a cache can keep what came over the wire as it is.
Rules: spec runtime CLI-16 to CLI-21.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict
from yarl import URL

from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import ConnectionFailed, RequestTimeout, TransportError, error_from_response
from bobrapet.runtime.log.warning_handler import WarningHandler, log_warning, parse_warnings
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.rest.credentials import credentials_for
from bobrapet.runtime.rest.flowcontrol import TokenBucket
from bobrapet.runtime.rest.interface import DEFAULT_TIMEOUT, JSON, Params
from bobrapet.runtime.rest.lines import LineStream
from bobrapet.runtime.rest.metrics import NO_RESPONSE, OBSERVERS, RequestObserver
from bobrapet.runtime.rest.tls import ClientCertificate
from bobrapet.runtime.rest.transport import Connections, Transport, proxy_for

MAX_RETRIES = 10
"""Times that one request is repeated at the server's invitation, or after a dropped connection (CLI-21)."""

CONNECT_TIMEOUT = 10.0
"""Seconds for the TCP and TLS handshakes."""

ANSWER_TIMEOUT = 20.0
"""Seconds until a stream that was asked for begins."""

ANYTHING = "*/*"

log = logging.getLogger(__name__)


class RestClient:
    """Talks to one API server. Opens connections when first used; close it, or use it as `async with`.

    Requests are repeated only where that is known to be harmless: on 429 and 5xx answers that carry `Retry-After` in
    seconds (any verb: the server did nothing), and for GET when the connection was dropped. A 401 leads to one fresh
    look at the source of credentials.
    """

    def __init__(
        self,
        config: RestConfig,
        *,
        observer: RequestObserver = OBSERVERS,
        warning_handler: WarningHandler = log_warning,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self.config = config
        self._observer = observer
        self._warning_handler = warning_handler
        self._clock = clock
        self._credentials = credentials_for(config, clock)
        self._transport = Transport(config, self._credentials, observer)
        self._limiter = TokenBucket(config.qps, config.burst, clock) if config.qps > 0 else None
        self._proxy = proxy_for(config)
        self._host = urlsplit(config.host).netloc
        encoding = "identity" if config.disable_compression else "gzip"
        self._headers = CIMultiDict({"User-Agent": config.user_agent, "Accept-Encoding": encoding})
        self._headers.extend(config.impersonate)

    async def request(
        self,
        method: str,
        path: str,
        params: Params = None,
        body: bytes | None = None,
        content_type: str = JSON,
        *,
        accept: str = JSON,
        timeout: float | None = DEFAULT_TIMEOUT,
        before_send: Callable[[], None] | None = None,
    ) -> bytes:
        """Sends one request and returns the body of its answer.

        `path` is absolute and percent-encoded where needed; `timeout` in seconds counts for each attempt (default: that
        of the configuration). `before_send` is called directly before the bytes of a request with a body leave, and
        may raise to keep them from leaving: the place of a write fence.
        Raises `ApiError`, `ConnectionFailed`, `RequestTimeout`, `CredentialError`.
        """
        url = self._url(path, params)
        seconds = self.config.timeout if timeout is DEFAULT_TIMEOUT else timeout
        call = _Call(
            method=method,
            url=url,
            accept=accept,
            body=body,
            content_type=content_type,
            limits=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_TIMEOUT),
            before_send=before_send,
        )
        renewed = False
        tries = 0
        while True:
            try:
                status, retry_after, answer, used = await self._exchange(call)
            except _Dropped as error:
                if method != "GET" or tries >= MAX_RETRIES:
                    raise
                code, wait = NO_RESPONSE, _reconnect_delay(tries)
                log.debug("%s %s: connection dropped, trying again in %g s: %s", method, path, wait, error)
            else:
                if 200 <= status < 300:
                    return answer
                if status == 401 and not renewed and await self._credentials_renewed(used):
                    renewed = True
                    continue
                if (status != 429 and status < 500) or retry_after is None or tries >= MAX_RETRIES:
                    raise error_from_response(status, answer, retry_after=retry_after, request=f"{method} {url.path}")
                code, wait = str(status), retry_after
                log.debug("%s %s: HTTP %d, trying again in %g s", method, path, status, wait)
            tries += 1
            self._observer.on_retry(method=method, host=self._host, code=code)
            if wait > 0:
                await self._clock.sleep(wait)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        params: Params = None,
        *,
        accept: str = JSON,
        idle_timeout: float | None = None,
        connect_timeout: float = CONNECT_TIMEOUT + ANSWER_TIMEOUT,
    ) -> AsyncIterator[LineStream]:
        """Opens a GET whose answer is read line by line: a watch. Empty lines are left out.

        There is no limit on its whole length. `idle_timeout` is the longest silence in seconds before `RequestTimeout`;
        `connect_timeout` limits the wait for the first byte of the answer. Nothing is retried except a 401 once.
        """
        async with self.stream_raw(
            path, params, accept=accept, idle_timeout=idle_timeout, connect_timeout=connect_timeout
        ) as chunks:
            yield LineStream(chunks)

    @asynccontextmanager
    async def stream_raw(
        self,
        path: str,
        params: Params = None,
        *,
        accept: str = ANYTHING,
        idle_timeout: float | None = None,
        connect_timeout: float = CONNECT_TIMEOUT + ANSWER_TIMEOUT,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """As `stream`, with the bytes as they come: a log."""
        call = _Call(
            method="GET",
            url=self._url(path, params),
            accept=accept,
            limits=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=idle_timeout),
        )
        async with self._transport.connections() as connections:
            response = await self._open(connections, call, connect_timeout)
            try:
                yield _chunks(call, response)
            finally:
                response.close()

    async def close(self) -> None:
        """Closes all connections; requests in flight fail."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _exchange(self, call: _Call) -> tuple[int, float | None, bytes, _Identity]:
        """One attempt: status, Retry-After, body, and the identity it was made with."""
        async with self._transport.connections() as connections:
            response, identity, started = await self._send(connections.requests, call)
            async with response:
                with _translated(call):
                    answer = await response.read()
            self._observe(call, response, started, len(answer))
            return response.status, _retry_after(response), answer, identity

    async def _open(self, connections: Connections, call: _Call, timeout: float) -> aiohttp.ClientResponse:
        """The answer of a stream, once its status is known to be 200."""
        renewed = False
        while True:
            try:
                async with asyncio.timeout(timeout):
                    response, identity, started = await self._send(connections.watches, call)
            except TimeoutError as error:
                if isinstance(error, RequestTimeout):
                    raise
                raise RequestTimeout(f"{call}: no answer within {timeout:g} s") from error
            self._observe(call, response, started, 0)
            if response.status == 200:
                return response
            async with response:
                with _translated(call):
                    answer = await asyncio.wait_for(response.read(), timeout)
            if response.status == 401 and not renewed and await self._credentials_renewed(identity):
                renewed = True
                continue
            raise error_from_response(
                response.status, answer, retry_after=_retry_after(response), request=f"GET {call.url.path}"
            )

    async def _send(
        self, session: aiohttp.ClientSession, call: _Call
    ) -> tuple[aiohttp.ClientResponse, _Identity, float]:
        if self._limiter is not None:
            waited = await self._limiter.wait()
            self._observer.on_rate_limited(method=call.method, host=self._host, seconds=waited)
        headers = self._headers.copy()
        headers["Accept"] = call.accept
        authorization = await self._credentials.authorization()
        if authorization:
            headers["Authorization"] = authorization
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        body = None if call.body is None else _Body(call, call.body)
        started = time.perf_counter()
        try:
            with _translated(call):
                response = await session.request(
                    call.method,
                    call.url,
                    data=body,
                    headers=headers,
                    timeout=call.limits,
                    allow_redirects=False,
                    proxy=self._proxy,
                    proxy_headers=self.config.proxy_headers or None,
                    server_hostname=self.config.tls_server_name,
                )
        except TransportError:
            self._observe(call, None, started, 0)
            if body is not None and body.refusal is not None:
                raise body.refusal from None
            raise
        for warning in parse_warnings(response.headers):
            self._warning_handler(warning)
        return response, (authorization, self._credentials.certificate), started

    async def _credentials_renewed(self, used: _Identity) -> bool:
        """After a 401: asks the source again, and says whether it gave anything new."""
        authorization = await self._credentials.authorization(force=True)
        return (authorization, self._credentials.certificate) != used

    def _observe(self, call: _Call, response: aiohttp.ClientResponse | None, started: float, received: int) -> None:
        self._observer.on_response(
            method=call.method,
            host=self._host,
            code=NO_RESPONSE if response is None else str(response.status),
            seconds=time.perf_counter() - started,
            request_bytes=len(call.body or b""),
            response_bytes=received,
        )

    def _url(self, path: str, params: Params) -> URL:
        query = ""
        if params:
            pairs = params.items() if isinstance(params, Mapping) else params
            query = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in pairs)
        return URL(f"{self.config.host}{path}?{query}" if query else f"{self.config.host}{path}", encoded=True)


_Identity = tuple[str | None, ClientCertificate | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One request as it is sent, any number of times."""

    method: str
    url: URL
    accept: str
    limits: aiohttp.ClientTimeout
    body: bytes | None = None
    content_type: str = JSON
    before_send: Callable[[], None] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


class _Dropped(ConnectionFailed):
    """A connection that stood and then broke: reset, or closed by the server without an answer."""


class _Body(aiohttp.Payload):
    """A body that is written once, after asking for leave; the headers of the request leave together with it.

    The library would send PUT and DELETE again when a kept connection turns out to be closed. Whether the server acted
    is not known then, so that is for the caller to decide.
    """

    def __init__(self, call: _Call, body: bytes) -> None:
        super().__init__(body, content_type=call.content_type)
        self._size = len(body)
        self._call = call
        self._written = False
        self.refusal: Exception | None = None
        """Why it was not written. The library would show this as a connection error."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        try:
            self._ask_for_leave()
        except Exception as refusal:
            self.refusal = refusal
            raise
        await writer.write(self._value)

    def _ask_for_leave(self) -> None:
        if self._written:
            raise _Dropped(f"{self._call}: the connection broke after this was sent; the server may have acted on it")
        self._written = True
        if self._call.before_send is not None:
            self._call.before_send()


@contextmanager
def _translated(call: _Call) -> Iterator[None]:
    """Failures of the HTTP library as our own."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        if isinstance(error, TimeoutError):
            raise RequestTimeout(f"{call}: no answer within the time limit") from error
        if isinstance(error, aiohttp.ClientConnectorError):
            refused = isinstance(error.os_error, ConnectionRefusedError)
            raise ConnectionFailed(f"{call}: {error}", refused=refused) from error
        raise _Dropped(f"{call}: the connection broke: {error}") from error


async def _chunks(call: _Call, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with _translated(call):
        async for chunk in response.content.iter_any():
            yield chunk


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _reconnect_delay(tries: int) -> float:
    """At once the first time: a kept connection that the server closed meanwhile is the usual cause."""
    return 0.0 if tries == 0 else min(1.0, 0.05 * 2**tries)
