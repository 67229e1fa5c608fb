"""Engram `http-client`: one HTTP request.

It never repeats a request itself: the step's retry policy does, and this component says by the exit class of its error
whether that makes sense.

    answer below 400, or listed in acceptStatus   the step's output
    408, 425, 5xx except 501 and 505; no answer   retry
    429; 503 with Retry-After                     rateLimited, not before Retry-After
    any other 4xx, 501, 505; bad URL; TLS         terminal
"""

from __future__ import annotations

import base64
import time
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
import urllib3
from urllib3.exceptions import (
    HTTPError,
    LocationParseError,
    MaxRetryError,
    NewConnectionError,
    SSLError,
    TimeoutError,
)

from bobrapet.sdk import Context, EngramError, RateLimitedError, RetryError, SecretNeed, TerminalError, engram
from bobrapet.sdk.durations import parse_duration

_CHUNK = 64 << 10
_EXCERPT = 200
_RETRIED = frozenset({408, 425, 429})
_NEVER_RETRIED = frozenset({501, 505})


class Request(msgspec.Struct, rename="camel", kw_only=True):
    url: str
    """http or https."""

    method: str = "GET"
    headers: dict[str, str] = {}
    """Over ours; `Authorization` over that of the secret."""

    body: Any = None
    """Text is sent as it is, any other value as JSON."""

    expect: Literal["text", "json"] = "text"
    """json: the answer is parsed into the output `json`, and what is no JSON fails the step."""

    accept_status: list[int] = []
    """Status codes from 400 that are an answer like any other."""


class Config(msgspec.Struct, rename="camel", kw_only=True):
    timeout: str = "30s"
    """Go duration for the whole request, redirects and body included."""

    max_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 20
    """Bytes of the body that are read; more fails the step."""

    max_redirects: Annotated[int, msgspec.Meta(ge=0)] = 5
    """Redirects that are followed."""


class Response(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    status: int
    headers: dict[str, str] = {}
    body: str | msgspec.UnsetType = msgspec.UNSET
    """The answer as text, unless it is parsed as JSON."""

    body_base64: str | msgspec.UnsetType = msgspec.UNSET
    """Instead of `body`, when the bytes are no text."""

    json: Any = msgspec.UNSET
    """The answer as a value, with `expect: json`."""


@engram(
    version="1.0.0",
    image="ghcr.io/bubustack/engram-http:1.0.0",
    secrets={"api": SecretNeed(description="Key token is sent as a bearer token", keys=("token",))},
)
def http_client(input: Request, ctx: Context[Config]) -> Response:
    """One HTTP request; status classes decide about retries."""
    method = input.method.upper()
    what = f"{method} {_checked(input.url)}"
    began = time.monotonic()
    timeout = min(_timeout(ctx.config), ctx.remaining())
    pool = urllib3.PoolManager(
        retries=urllib3.Retry(
            total=None, connect=0, read=0, status=0, other=0, redirect=ctx.config.max_redirects, raise_on_redirect=True
        )
    )
    try:
        answer = pool.request(
            method,
            input.url,
            body=_encoded(input.body),
            headers=_headers(input, ctx),
            timeout=urllib3.Timeout(total=timeout),
            preload_content=False,
        )
        data = _read(answer, limit=ctx.config.max_bytes, deadline=began + timeout, what=what)
    except (HTTPError, OSError, ValueError) as error:
        raise _no_answer(what, error, timeout) from error
    finally:
        pool.clear()
    ctx.log.info("answered", status=answer.status, bytes=len(data), seconds=round(time.monotonic() - began, 3))
    if answer.status >= 400 and answer.status not in input.accept_status:
        raise _refusal(what, answer, data)
    return _response(input, answer, data, what)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TerminalError(f"{url!r} is no URL: {error}", code="HTTP_BAD_URL") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise TerminalError(f"{url!r} is no URL to fetch; write http://host/path or https://...", code="HTTP_BAD_URL")
    return url


def _timeout(config: Config) -> float:
    try:
        seconds = parse_duration(config.timeout)
    except ValueError as error:
        raise TerminalError(f"config.timeout: {error}", code="BAD_CONFIG") from error
    if seconds <= 0:
        raise TerminalError(f"config.timeout: {config.timeout} must be positive", code="BAD_CONFIG")
    return seconds


def _headers(input: Request, ctx: Context[Config]) -> urllib3.HTTPHeaderDict:
    """The step's headers over ours. urllib3 drops Authorization when a redirect leaves the host."""
    headers = urllib3.HTTPHeaderDict({"User-Agent": "bobrapet-http-client", "Accept": "*/*"})
    if input.body is not None and not isinstance(input.body, str):
        headers["Content-Type"] = "application/json"
    token = ctx.secrets["api"].get("token") if "api" in ctx.secrets else None
    if token:
        headers["Authorization"] = f"Bearer {token}"
    for name, value in input.headers.items():
        headers[name] = value
    return headers


def _encoded(body: Any) -> bytes | None:
    if body is None:
        return None
    return body.encode() if isinstance(body, str) else msgspec.json.encode(body)


def _read(answer: urllib3.BaseHTTPResponse, *, limit: int, deadline: float, what: str) -> bytes:
    """The body, as far as size and time permit; reading in small pieces keeps a slow server from holding the step."""
    data = bytearray()
    while chunk := answer.read1(_CHUNK):
        data += chunk
        if len(data) > limit:
            raise TerminalError(
                f"{what}: the body is larger than {limit} bytes; raise maxBytes, or ask for less",
                code="HTTP_BODY_TOO_LARGE",
                details={"limit": limit},
            )
        if time.monotonic() > deadline:
            raise RetryError(f"{what}: the body did not end in time", code="HTTP_TIMEOUT")
    return bytes(data)


def _no_answer(what: str, error: Exception, timeout: float) -> EngramError:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
    if isinstance(cause, SSLError):
        return TerminalError(f"{what}: {cause}", code="HTTP_TLS")
    if isinstance(cause, TimeoutError) and not isinstance(cause, NewConnectionError):  # which is one by inheritance
        return RetryError(f"{what}: no answer within {timeout:.3g}s", code="HTTP_TIMEOUT")
    if isinstance(error, MaxRetryError) and "redirect" in str(cause):
        return TerminalError(f"{what}: {cause}", code="HTTP_TOO_MANY_REDIRECTS")
    if isinstance(cause, LocationParseError | ValueError) and not isinstance(cause, OSError):
        return TerminalError(f"{what}: {cause}", code="HTTP_BAD_REQUEST")
    return RetryError(f"{what}: {cause}", code="HTTP_UNREACHABLE")


def _refusal(what: str, answer: urllib3.BaseHTTPResponse, data: bytes) -> EngramError:
    status = answer.status
    message = f"{what}: {status} {answer.reason or ''}".rstrip()
    if "html" not in answer.headers.get("Content-Type", ""):  # error pages for browsers say nothing in few words
        excerpt = " ".join(data[: 4 * _EXCERPT].decode("utf-8", "replace").split())[:_EXCERPT]
        message += f": {excerpt}" if excerpt else ""
    kind: type[EngramError] = TerminalError
    retry_after = _retry_after(answer.headers.get("Retry-After"))
    if status == 429 or (status == 503 and retry_after is not None):
        kind = RateLimitedError
    elif status in _RETRIED or (status >= 500 and status not in _NEVER_RETRIED):
        kind = RetryError
    return kind(message, code=f"HTTP_{status}", details={"status": status}, retry_after=retry_after)


def _retry_after(header: str | None) -> float | None:
    """Seconds, from a number or a date. What is neither is ignored."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _response(input: Request, answer: urllib3.BaseHTTPResponse, data: bytes, what: str) -> Response:
    response = Response(
        status=answer.status,
        headers={name.lower(): value for name, value in answer.headers.items() if name.lower() != "set-cookie"},
    )
    if input.expect == "json":
        try:
            response.json = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            excerpt = data[:_EXCERPT].decode("utf-8", "replace")
            raise TerminalError(
                f"{what}: the body is no JSON: {error}; it begins {excerpt!r}", code="HTTP_BODY_NOT_JSON"
            ) from error
        return response
    try:
        response.body = data.decode(_charset(answer.headers.get("Content-Type", "")))
    except (LookupError, UnicodeDecodeError):
        response.body_base64 = base64.b64encode(data).decode()
    return response


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"') or "utf-8"
    return "utf-8"


if __name__ == "__main__":
    http_client.main()
