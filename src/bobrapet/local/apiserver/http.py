"""From an HTTP request to a call of the right operation, and back.

One handler instead of a router: a Kubernetes path is parsed once into its parts, and what the parts mean depends on the
registry of the moment, which CRDs change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from aiohttp import web

from bobrapet.local.apiserver import errors
from bobrapet.local.apiserver.errors import ApiError, NoSuchPath
from bobrapet.local.apiserver.types import Object, User

log = logging.getLogger("bobrapet.local.apiserver")

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes of a request body, as a kube-apiserver."""

JSON = "application/json"
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Query:
    """The query parameters of a request, decoded once."""

    values: dict[str, str]

    def __init__(self, text: str) -> None:
        self.values = dict(parse_qsl(text, keep_blank_values=True)) if text else {}

    def get(self, name: str) -> str:
        """The value, or ""."""
        return self.values.get(name, "")

    def flag(self, name: str) -> bool:
        """A boolean as Go parses them; present without value is true."""
        value = self.values.get(name)
        return value is not None and value not in ("0", "false", "False", "FALSE", "f", "F")

    def integer(self, name: str) -> int | None:
        """An integer; None when absent or empty."""
        value = self.values.get(name)
        if not value:
            return None
        try:
            return int(value)
        except ValueError:
            raise errors.bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None


@dataclass(slots=True, kw_only=True)
class Request:
    """What a handler needs of an HTTP request."""

    method: str
    path: str
    query: Query
    headers: Mapping[str, str]
    user: User
    now: datetime
    read: Callable[[], Awaitable[bytes]]

    @property
    def content_type(self) -> str:
        """The media type of the body, without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip()


@dataclass(slots=True)
class Response:
    """An answer: a whole body, or a stream of chunks."""

    body: bytes | AsyncIterator[bytes]
    code: int = 200
    content_type: str = JSON
    headers: dict[str, str] | None = None
    warnings: Sequence[str] = ()


def json_response(value: Any, code: int = 200) -> Response:
    """An encoded answer."""
    return Response(_encode(value), code)


Handler = Callable[[Request], Awaitable[Response]]
Authenticate = Callable[[Mapping[str, str]], User | None]


class Front:
    """The aiohttp side: reads requests, writes responses, turns failures into Status objects."""

    def __init__(self, handle: Handler, authenticate: Authenticate, now: Callable[[], datetime]) -> None:
        self._handle = handle
        self._authenticate = authenticate
        self._now = now

    async def __call__(self, raw: web.BaseRequest) -> web.StreamResponse:
        """Serves one HTTP request."""
        try:
            response = await self._answer(raw)
        except NoSuchPath as error:
            response = Response(error.message.encode(), error.code, "text/plain; charset=utf-8")
        except ApiError as error:
            response = Response(_encode(error.status()), error.code, headers=error.headers, warnings=error.warnings)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("%s %s", raw.method, raw.path_qs)
            failure = errors.internal(f"{type(error).__name__}: {error}")
            response = Response(_encode(failure.status()), failure.code)
        if isinstance(response.body, bytes):
            answer = web.Response(body=response.body, status=response.code)
            answer.headers["Content-Type"] = response.content_type
            answer.headers.update(response.headers or {})
            for text in response.warnings:
                answer.headers.add("Warning", _warning(text))
            return answer
        return await self._stream(raw, response, response.body)

    async def _answer(self, raw: web.BaseRequest) -> Response:
        user = self._authenticate(raw.headers)
        if user is None:
            raise errors.unauthorized()

        async def read() -> bytes:
            return await _read(raw)

        url = raw.rel_url
        request = Request(
            method=raw.method,
            path=unquote(url.raw_path),
            query=Query(url.raw_query_string),
            headers=raw.headers,
            user=user,
            now=self._now(),
            read=read,
        )
        return await self._handle(request)

    async def _stream(self, raw: web.BaseRequest, response: Response, body: AsyncIterator[bytes]) -> web.StreamResponse:
        """Sends chunks as they come. What is refused before the first chunk still gets its own code."""
        out = web.StreamResponse(status=response.code, headers={"Content-Type": response.content_type})
        out.headers.update(response.headers or {})
        out.enable_chunked_encoding()
        try:
            await out.prepare(raw)
            async for chunk in body:
                await out.write(chunk)
            await out.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        return out


def _warning(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'


async def _read(raw: web.BaseRequest) -> bytes:
    if not raw.body_exists:
        return b""
    if raw.content_length is not None and raw.content_length > BODY_LIMIT:
        raise errors.too_large_body(BODY_LIMIT)
    parts: list[bytes] = []
    size = 0
    async for part in raw.content.iter_any():
        size += len(part)
        if size > BODY_LIMIT:
            raise errors.too_large_body(BODY_LIMIT)
        parts.append(part)
    return b"".join(parts)


def status_success(**details: Any) -> Object:
    """`Status` of a request that worked and has nothing else to show."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        status["details"] = details
    return status
