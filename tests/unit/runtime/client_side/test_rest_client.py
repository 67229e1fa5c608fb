"""The HTTP layer against a stub server: what is retried, what is not, and what failures become."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest
from aiohttp import web

from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    ControllerRuntimeError,
    Expired,
    NotFound,
    RequestTimeout,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
)
from bobrapet.runtime.log.warning_handler import ServerWarning
from bobrapet.runtime.rest.client import MAX_RETRIES, RestClient
from bobrapet.runtime.rest.config import RestConfig
from tests.unit.runtime.client_side.stub import StubServer, drop, failure, json


class Observed:
    def __init__(self) -> None:
        self.responses: list[tuple[str, str]] = []
        self.retries: list[str] = []
        self.retried = asyncio.Event()
        self.limited: list[float] = []
        self.resolved: list[str] = []
        self.wants_dns = False

    def on_response(
        self, *, method: str, host: str, code: str, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        self.responses.append((method, code))

    def on_retry(self, *, method: str, host: str, code: str) -> None:
        self.retries.append(code)
        self.retried.set()

    def on_rate_limited(self, *, method: str, host: str, seconds: float) -> None:
        self.limited.append(seconds)

    def on_dns(self, *, host: str, seconds: float) -> None:
        self.resolved.append(host)


async def test_a_request_carries_who_asks_and_what_it_sends(stub: StubServer) -> None:
    async with RestClient(stub.config(token="secret")) as rest:
        await rest.request(
            "PATCH", "/api/v1/x", {"fieldManager": "me & you"}, b'{"a":1}', "application/merge-patch+json"
        )
    seen = stub.seen[0]
    assert (seen.method, seen.path, seen.query) == ("PATCH", "/api/v1/x", {"fieldManager": "me & you"})
    assert seen.headers["Authorization"] == "Bearer secret"
    assert seen.headers["Content-Type"] == "application/merge-patch+json"
    assert seen.headers["Accept"] == "application/json"
    assert seen.headers["User-Agent"].startswith("bobrapet/")
    assert seen.body == b'{"a":1}'


async def test_connections_are_kept(stub: StubServer) -> None:
    async with RestClient(stub.config()) as rest:
        for _ in range(5):
            await rest.request("GET", "/x")
    assert len(stub.connections) == 1


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (410, "Expired", Expired),
        (418, "Teapot", ApiError),
        (401, "Unauthorized", Unauthorized),
    ],
)
async def test_a_status_becomes_its_exception(
    stub: StubServer, code: int, reason: str, expected: type[ApiError]
) -> None:
    stub.answer(failure(code, reason, "because", details={"name": "a"}))
    async with RestClient(stub.config()) as rest:
        with pytest.raises(expected, match="because") as raised:
            await rest.request("GET", "/x")
    assert (raised.value.status, raised.value.reason, raised.value.details) == (code, reason, {"name": "a"})
    assert len(stub.seen) == 1


async def test_a_page_of_a_proxy_is_quoted_with_the_request(stub: StubServer) -> None:
    stub.answer(web.Response(status=502, text="<html>bad\n gateway</html>"))
    async with RestClient(stub.config()) as rest:
        with pytest.raises(ApiError, match="GET /x: HTTP 502: <html>bad gateway</html>"):
            await rest.request("GET", "/x")


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("code", [429, 500, 503])
async def test_retry_after_is_honoured_for_any_verb(stub: StubServer, clock: FakeClock, method: str, code: int) -> None:
    stub.answer(failure(code, "", Retry_After="7"), json({"ok": True}))
    observed = Observed()
    async with RestClient(stub.config(), clock=clock, observer=observed) as rest:
        task = asyncio.create_task(rest.request(method, "/x", body=None if method == "GET" else b"{}"))
        await observed.retried.wait()
        await clock.advance(6.9)
        assert len(stub.seen) == 1
        await clock.advance(0.1)
        assert await task == b'{"ok":true}'
    assert len(stub.seen) == 2
    assert observed.retries == [str(code)]
    assert observed.responses == [(method, str(code)), (method, "200")]


@pytest.mark.parametrize("header", ["", "soon", "1.5", "-1"])
async def test_without_whole_seconds_in_retry_after_nothing_is_retried(stub: StubServer, header: str) -> None:
    stub.answer(failure(503, "ServiceUnavailable", **({"Retry_After": header} if header else {})))
    async with RestClient(stub.config()) as rest:
        with pytest.raises(ServiceUnavailable):
            await rest.request("GET", "/x")
    assert len(stub.seen) == 1


async def test_retries_end(stub: StubServer) -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        return failure(429, "TooManyRequests", Retry_After="0")

    stub.handler = busy
    async with RestClient(stub.config()) as rest:
        with pytest.raises(TooManyRequests) as raised:
            await rest.request("GET", "/x")
    assert raised.value.retry_after == 0
    assert len(stub.seen) == MAX_RETRIES + 1


async def test_a_dropped_connection_is_tried_again_for_get_only(stub: StubServer) -> None:
    async with RestClient(stub.config()) as rest:
        stub.answer(drop, drop, json({"ok": True}))
        assert await rest.request("GET", "/x") == b'{"ok":true}'
        assert len(stub.seen) == 3
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            stub.seen.clear()
            stub.answers[:] = [drop]
            with pytest.raises(ConnectionFailed):
                await rest.request(method, "/x", body=b"{}")
            assert len(stub.seen) == 1, f"{method} was sent twice"


async def test_a_write_on_a_kept_connection_that_breaks_is_not_sent_again(stub: StubServer) -> None:
    async with RestClient(stub.config()) as rest:
        await rest.request("GET", "/x")
        stub.answer(drop)
        with pytest.raises(ConnectionFailed):
            await rest.request("PUT", "/x", body=b"{}")
    assert [seen.method for seen in stub.seen] == ["GET", "PUT"]


async def test_a_refused_connection_says_so() -> None:
    async with RestClient(RestConfig(host="http://127.0.0.1:1")) as rest:
        with pytest.raises(ConnectionFailed) as raised:
            await rest.request("GET", "/x")
    assert raised.value.refused


async def test_a_request_that_hangs_ends_at_its_time_limit(stub: StubServer) -> None:
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    stub.handler = hang
    async with RestClient(stub.config(timeout=0.05)) as rest:
        with pytest.raises(RequestTimeout):
            await rest.request("GET", "/x")
    released.set()


async def test_a_401_leads_to_one_fresh_look_at_the_credentials(stub: StubServer) -> None:
    calls: list[bool] = []

    async def source(force: bool) -> str:
        calls.append(force)
        return "new" if True in calls else "old"

    stub.answer(failure(401, "Unauthorized"), json({"ok": True}))
    async with RestClient(stub.config(token_source=source)) as rest:
        assert await rest.request("POST", "/x", body=b"{}") == b'{"ok":true}'
    assert [seen.headers["Authorization"] for seen in stub.seen] == ["Bearer old", "Bearer new"]


async def test_a_401_with_credentials_that_do_not_change_is_final(stub: StubServer) -> None:
    stub.answer(failure(401, "Unauthorized"))
    async with RestClient(stub.config(token="same")) as rest:
        with pytest.raises(Unauthorized):
            await rest.request("GET", "/x")
    assert len(stub.seen) == 1


class Fenced(ControllerRuntimeError):
    pass


async def test_a_fence_is_asked_as_late_as_possible_and_keeps_the_request_from_leaving(stub: StubServer) -> None:
    def refuse() -> None:
        raise Fenced("the lease is lost")

    async with RestClient(stub.config()) as rest:
        await rest.request("GET", "/warm")
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            with pytest.raises(Fenced, match="the lease is lost"):
                await rest.request(method, "/x", body=b"{}", before_send=refuse)
        await rest.request("GET", "/after")
    assert [seen.path for seen in stub.seen] == ["/warm", "/after"]


async def test_what_a_fence_raises_arrives_as_it_is(stub: StubServer) -> None:
    def refuse() -> None:
        raise KeyError("any error")

    async with RestClient(stub.config()) as rest:
        with pytest.raises(KeyError, match="any error"):
            await rest.request("POST", "/x", body=b"{}", before_send=refuse)


@pytest.mark.filterwarnings("error:Sending a large body")
async def test_a_large_body_is_sent_whole(stub: StubServer) -> None:
    body = b"x" * 1_500_000
    async with RestClient(stub.config()) as rest:
        stub.answer(failure(429, "TooManyRequests", Retry_After="0"))
        await rest.request("PUT", "/x", body=body)
    assert [seen.body == body for seen in stub.seen] == [True, True]


async def test_a_fence_that_falls_while_the_connection_is_made_still_holds(stub: StubServer) -> None:
    leading = True

    def check() -> None:
        if not leading:
            raise Fenced("the lease is lost")

    async with RestClient(stub.config()) as rest:
        task = asyncio.create_task(rest.request("POST", "/x", body=b"{}", before_send=check))
        await asyncio.sleep(0)
        leading = False
        with pytest.raises(Fenced):
            await task
    assert stub.seen == []


async def test_warnings_of_the_server_are_logged(stub: StubServer, caplog: pytest.LogCaptureFixture) -> None:
    answer = json({})
    answer.headers.add("Warning", '299 - "v1beta1 is old"')
    answer.headers.add("Warning", '299 - "and \\"quoted\\"", 199 other "not shown"')
    stub.answer(answer)
    with caplog.at_level(logging.INFO):
        async with RestClient(stub.config()) as rest:
            await rest.request("GET", "/x")
    assert [record.getMessage() for record in caplog.records if "Warning" in record.name] == [
        "v1beta1 is old",
        'and "quoted"',
    ]


async def test_a_warning_handler_can_be_given(stub: StubServer) -> None:
    answer = json({})
    answer.headers.add("Warning", '299 agent "text"')
    stub.answer(answer)
    told: list[ServerWarning] = []
    async with RestClient(stub.config(), warning_handler=told.append) as rest:
        await rest.request("GET", "/x")
    assert told == [ServerWarning(299, "agent", "text")]


async def test_a_client_side_limit_holds_requests_back(stub: StubServer, clock: FakeClock) -> None:
    observed = Observed()
    async with RestClient(stub.config(qps=10, burst=2), clock=clock, observer=observed) as rest:
        await rest.request("GET", "/1")
        await rest.request("GET", "/2")
        task = asyncio.create_task(rest.request("GET", "/3"))
        await settle()
        assert len(stub.seen) == 2
        await clock.advance(0.1)
        await task
    assert observed.limited == pytest.approx([0, 0, 0.1])


async def test_failures_without_an_answer_are_counted_too() -> None:
    observed = Observed()
    async with RestClient(RestConfig(host="http://127.0.0.1:1"), observer=observed) as rest:
        with pytest.raises(ConnectionFailed):
            await rest.request("GET", "/x")
    assert observed.responses == [("GET", "<error>")]


# Streams


async def lines_of(*chunks: bytes, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
    return response


async def test_a_stream_gives_lines_as_they_come(stub: StubServer) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await lines_of(b'{"a":', b"1}\n{", b'"b":2}\n', b"\n", b"last", request=request)

    stub.handler = answer
    async with RestClient(stub.config()) as rest:
        async with rest.stream("/watch", {"watch": "true"}) as lines:
            assert [line async for line in lines] == [b'{"a":1}', b'{"b":2}', b"last"]
        async with rest.stream("/watch") as lines:
            batches = [batch async for batch in lines.batches()]
    assert [line for batch in batches for line in batch] == [b'{"a":1}', b'{"b":2}', b"last"]


async def test_a_raw_stream_keeps_every_byte(stub: StubServer) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await lines_of(b"one\n\n", b"\r\ntwo", request=request)

    stub.handler = answer
    async with RestClient(stub.config()) as rest, rest.stream_raw("/log", {"follow": "true"}) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"one\n\n\r\ntwo"
    assert stub.seen[0].headers["Accept"] == "*/*"


async def test_a_closed_client_stays_closed(stub: StubServer) -> None:
    rest = RestClient(stub.config())
    await rest.request("GET", "/x")
    await rest.close()
    await rest.close()
    with pytest.raises(ConnectionFailed, match="closed"):
        await rest.request("GET", "/x")


async def test_a_stream_that_is_refused_raises_before_it_begins(stub: StubServer) -> None:
    stub.answer(failure(410, "Expired", "too old"), failure(429, "TooManyRequests", Retry_After="9"))
    async with RestClient(stub.config()) as rest:
        with pytest.raises(Expired):
            async with rest.stream("/watch"):
                pytest.fail("the stream began")
        with pytest.raises(TooManyRequests) as raised:
            async with rest.stream("/watch"):
                pytest.fail("the stream began")
    assert raised.value.retry_after == 9
    assert len(stub.seen) == 2


async def test_a_silent_stream_ends_at_its_idle_limit(stub: StubServer) -> None:
    released = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await lines_of(b"{}\n", request=request)
        await released.wait()
        return response

    async def begun_in_time(idle_timeout: float) -> bool:
        """Whether the first line came before that limit; what comes then is what this is about."""
        with suppress(RequestTimeout):
            async with rest.stream("/watch", idle_timeout=idle_timeout) as lines:
                assert await anext(lines) == b"{}"
                with pytest.raises(RequestTimeout):
                    await anext(lines)
                return True
        return False

    stub.handler = answer
    limit = 0.05
    async with RestClient(stub.config()) as rest:
        while not await begun_in_time(limit):
            limit *= 4
    released.set()


async def test_a_stream_that_gets_no_answer_ends(stub: StubServer) -> None:
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    stub.handler = hang
    async with RestClient(stub.config()) as rest:
        with pytest.raises(RequestTimeout):
            async with rest.stream("/watch", connect_timeout=0.05):
                pytest.fail("the stream began")
    released.set()


async def test_a_stream_that_breaks_off_says_so(stub: StubServer) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{}\n")
        return await drop(request)

    stub.handler = answer
    async with RestClient(stub.config()) as rest, rest.stream("/watch") as lines:
        assert await anext(lines) == b"{}"
        with pytest.raises(ConnectionFailed):
            await anext(lines)


async def test_leaving_a_stream_closes_its_connection(stub: StubServer) -> None:
    closed = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await lines_of(b"{}\n", request=request)
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()
        return response

    stub.handler = answer
    async with RestClient(stub.config()) as rest:
        async with rest.stream("/watch") as lines:
            async for _ in lines:
                break
        async with asyncio.timeout(60):
            await closed.wait()


async def test_cancelling_a_request_aborts_it(stub: StubServer) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return web.Response()

    stub.handler = hang
    async with RestClient(stub.config()) as rest:
        task = asyncio.create_task(rest.request("GET", "/x"))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(60):
            await gone.wait()
