"""An S3 server that does what a test tells it: enough of the protocol for whole objects, and every fault."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FaultyS3:
    """Answers the next requests with `script`, one entry each, then as it should.

    Entries: an HTTP status, `"truncate"` (half of the body, then the connection closes; waits for the next request
    that reads an object), `"hang"` (no answer until the test ends).
    """

    url: str = ""
    script: list[int | str] = field(default_factory=list)
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def faulty_s3(*script: int | str) -> Iterator[FaultyS3]:
    state = FaultyS3(script=list(script))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self._fault():
                return
            found = state.objects.get(self.path)
            if found is None:
                self._error(404, "NoSuchKey")
                return
            self._send(200, found[0], found[1])

        do_HEAD = do_GET

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self._fault():
                return
            metadata = {k.lower(): v for k, v in self.headers.items() if k.lower().startswith("x-amz-meta-")}
            state.objects[self.path] = body, metadata
            self._send(200, b"", {})

        def _fault(self) -> bool:
            state.requests.append(f"{self.command} {self.path}")
            state.authorizations.append(self.headers.get("Authorization", ""))
            state.hosts.append(self.headers.get("Host", ""))
            fault = state.script[0] if state.script else ""
            if fault == "truncate" and (self.command != "GET" or self.path not in state.objects):
                return False
            del state.script[:1]
            if isinstance(fault, int):
                self._error(fault, "AccessDenied" if fault == 403 else "InternalError")
            elif fault == "truncate":
                body, metadata = state.objects[self.path]
                self._send(200, body[: len(body) // 2], metadata, length=len(body))
                self.close_connection = True
            elif fault == "hang":
                state.released.wait(20)
                self.close_connection = True
            return bool(fault)

        def _error(self, status: int, code: str) -> None:
            self._send(status, f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode(), {})

        def _send(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Mon, 05 Jan 2026 10:00:00 GMT")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
