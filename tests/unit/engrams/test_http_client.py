"""Engram http-client: status classes, limits and bodies, against a server on loopback."""

from __future__ import annotations

import email.utils
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from bobrapet.engrams.http_client import Config, Request, Response, http_client
from bobrapet.sdk import Context, EngramError, RateLimitedError, RetryError, Secret, TerminalError


class Server:
    """Answers what the test says; keeps what it was asked."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                outer.seen.append((f"{self.command} {self.path}", dict(self.headers), self.rfile.read(length)))
                answer(self)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(
        status: int = 200, body: bytes = b"ok", answer: Callable[[Any], None] | None = None, **headers: str
    ) -> Server:
        def plain(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name.replace("_", "-"), value)
            request.end_headers()
            request.wfile.write(body)

        servers.append(Server(answer or plain))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def fetch(url: str, config: Config | None = None, secrets: dict[str, Secret] | None = None, **request: Any) -> Response:
    return http_client(Request(url=url, **request), Context(config=config or Config(), secrets=secrets))


def failure(url: str, config: Config | None = None, **request: Any) -> EngramError:
    with pytest.raises(EngramError) as caught:
        fetch(url, config, **request)
    return caught.value


def test_the_answer_is_the_output(serve: Callable[..., Server]) -> None:
    answer = fetch(serve(body="größe".encode(), Content_Type="text/plain; charset=utf-8").url + "/x?y=1")
    assert (answer.status, answer.body) == (200, "größe")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_the_charset_of_the_answer_is_honoured_and_bytes_that_are_no_text_come_as_base64(
    serve: Callable[..., Server],
) -> None:
    assert fetch(serve(body="é".encode("latin-1"), Content_Type="text/plain; charset=iso-8859-1").url).body == "é"
    answer = fetch(serve(body=b"\xff\xfe\x00").url)
    assert (answer.body, answer.body_base64) == (msgspec.UNSET, "//4A")


def test_json_is_parsed_when_it_is_expected(serve: Callable[..., Server]) -> None:
    answer = fetch(serve(body=b'{"a": [1]}').url, expect="json")
    assert (answer.json, answer.body) == ({"a": [1]}, msgspec.UNSET)
    error = failure(serve(body=b"<html>").url, expect="json")
    assert (error.code, error.exit_class) == ("HTTP_BODY_NOT_JSON", "terminal")
    assert "<html>" in str(error)


def test_a_json_body_is_sent_as_json_and_text_as_it_is(serve: Callable[..., Server]) -> None:
    server = serve()
    fetch(server.url, method="post", body={"a": 1})
    fetch(server.url, method="POST", body="a=1", headers={"Content-Type": "application/x-www-form-urlencoded"})
    (_, first, json_body), (_, second, text_body) = server.seen
    assert (first["Content-Type"], json_body) == ("application/json", b'{"a":1}')
    assert (second["Content-Type"], text_body) == ("application/x-www-form-urlencoded", b"a=1")


def test_the_token_of_the_secret_is_sent_and_an_own_header_wins(serve: Callable[..., Server]) -> None:
    server = serve()
    secrets = {"api": Secret("api", {"token": "t"})}
    fetch(server.url, secrets=secrets)
    fetch(server.url, secrets=secrets, headers={"authorization": "Basic x"})
    assert [headers.get("Authorization") or headers["authorization"] for _, headers, _ in server.seen] == [
        "Bearer t",
        "Basic x",
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, TerminalError),
        (404, TerminalError),
        (408, RetryError),
        (425, RetryError),
        (429, RateLimitedError),
        (500, RetryError),
        (501, TerminalError),
        (502, RetryError),
        (503, RetryError),
        (505, TerminalError),
    ],
)
def test_status_classes_decide_about_another_attempt(
    serve: Callable[..., Server], status: int, kind: type[EngramError]
) -> None:
    server = serve(status, b"why it failed")
    error = failure(server.url)
    assert type(error) is kind
    assert error.code == f"HTTP_{status}"
    assert "why it failed" in str(error)
    assert len(server.seen) == 1, "repeating is the engine's decision"


def test_an_accepted_status_is_an_answer(serve: Callable[..., Server]) -> None:
    assert fetch(serve(404).url, accept_status=[404]).status == 404


def test_retry_after_reaches_the_engine(serve: Callable[..., Server]) -> None:
    assert failure(serve(429, Retry_After="17").url).details["retryAfterSeconds"] == 17
    asked = time.time()
    error = failure(serve(503, Retry_After=email.utils.formatdate(asked + 300, usegmt=True)).url)
    assert isinstance(error, RateLimitedError)
    assert 298 - (time.time() - asked) <= error.details["retryAfterSeconds"] <= 300
    assert "retryAfterSeconds" not in failure(serve(429, Retry_After="soon").url).details


@pytest.mark.parametrize("url", ["", "no-scheme", "ftp://x/y", "http://", "http://[::1", "http://h:99999/"])
def test_what_is_no_url_is_terminal(url: str) -> None:
    error = failure(url)
    assert (error.code, error.exit_class) == ("HTTP_BAD_URL", "terminal")


def test_nobody_listening_is_worth_another_attempt() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = failure(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert (error.code, error.exit_class) == ("HTTP_UNREACHABLE", "retry")


def test_a_server_that_does_not_answer_times_out(serve: Callable[..., Server]) -> None:
    release = threading.Event()
    error = failure(serve(answer=lambda _: release.wait(100)).url, Config(timeout="200ms"))
    release.set()
    assert (error.code, error.exit_class) == ("HTTP_TIMEOUT", "retry")


def test_a_body_that_trickles_does_not_outlive_the_timeout(serve: Callable[..., Server]) -> None:
    release = threading.Event()

    def trickle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not release.wait(0.05):
            request.wfile.write(b"x")
            request.wfile.flush()

    error = failure(serve(answer=trickle).url, Config(timeout="300ms"))  # the server never stops by itself
    release.set()
    assert error.code == "HTTP_TIMEOUT"


def test_a_body_over_the_limit_is_not_read_to_its_end(serve: Callable[..., Server]) -> None:
    assert failure(serve(body=b"x" * 3000).url, Config(max_bytes=1000)).code == "HTTP_BODY_TOO_LARGE"
    assert fetch(serve(body=b"x" * 1000).url, Config(max_bytes=1000)).status == 200


def test_redirects_are_followed_but_not_without_end(serve: Callable[..., Server]) -> None:
    target = serve(body=b"there")
    assert fetch(serve(302, Location=target.url).url).body == "there"
    error = failure(serve(302, Location="/again").url, Config(max_redirects=2))
    assert (error.code, error.exit_class) == ("HTTP_TOO_MANY_REDIRECTS", "terminal")


def test_a_redirect_to_another_host_does_not_carry_the_token(serve: Callable[..., Server]) -> None:
    target = serve()
    elsewhere = target.url.replace("127.0.0.1", "localhost")
    fetch(serve(302, Location=elsewhere).url, secrets={"api": Secret("api", {"token": "t"})})
    assert "Authorization" not in target.seen[0][1]


@pytest.mark.parametrize("request_part", [{"headers": {"X": "a\r\nY: b"}}, {"method": "GE T"}])
def test_a_malformed_request_is_terminal(serve: Callable[..., Server], request_part: dict[str, Any]) -> None:
    assert failure(serve().url, **request_part).exit_class == "terminal"


@pytest.mark.parametrize("timeout", ["soon", "0s", "-1s"])
def test_a_malformed_timeout_names_itself(timeout: str) -> None:
    assert "config.timeout" in str(failure("http://127.0.0.1:1/", Config(timeout=timeout)))


def test_a_certificate_that_nobody_vouches_for_is_terminal(serve: Callable[..., Server]) -> None:
    error = failure(serve().url.replace("http:", "https:"))
    assert (error.code, error.exit_class) == ("HTTP_TLS", "terminal")


def test_an_error_page_for_browsers_stays_out_of_the_message(serve: Callable[..., Server]) -> None:
    error = failure(serve(404, b"<html><body>Nothing here</body></html>", Content_Type="text/html").url)
    assert str(error).endswith(": 404 Not Found")
