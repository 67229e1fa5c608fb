"""An API server with one StepRun, in memory and over HTTP."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bobrapet.sdk.step_run_api import ApiError, Refused


class FakeStepRun:
    """Answers like an API server; `failures` are raised first, one a call."""

    def __init__(self, status: Mapping[str, Any] | None = None, failures: list[ApiError] | None = None) -> None:
        self.status = dict(status or {"phase": "Running"})
        self.version = 7
        self.failures = failures or []
        self.patches: list[Mapping[str, Any]] = []
        self.on_get: list[Any] = []

    def get(self) -> dict[str, Any]:
        self._fail()
        seen = {"metadata": {"resourceVersion": str(self.version)}, "status": dict(self.status)}
        if self.on_get:
            self.on_get.pop(0)(self)
        return seen

    def patch_status(self, patch: Mapping[str, Any]) -> None:
        self._fail()
        if patch["metadata"]["resourceVersion"] != str(self.version):
            raise Refused(409, "the object has been modified")
        self.patches.append(patch)
        self.write(patch["status"])

    def write(self, status: Mapping[str, Any]) -> None:
        self.version += 1
        self.status.update(status)

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


class ApiServer:
    """Plain HTTP on loopback in front of a FakeStepRun; keeps what it was sent."""

    def __init__(self, step_run: FakeStepRun) -> None:
        self.step_run = step_run
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.refuse_patch: tuple[int, str] | None = None
        self.url = ""


@contextmanager
def serve(step_run: FakeStepRun, *, tls: ssl.SSLContext | None = None) -> Iterator[ApiServer]:
    api = ApiServer(step_run)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._note()
            try:
                self._answer(200, step_run.get())
            except Refused as error:
                self._answer(error.code, {"kind": "Status", "message": error.message})

        def do_PATCH(self) -> None:
            self._note()
            patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if api.refuse_patch and "output" in patch["status"]:
                code, message = api.refuse_patch
                self._answer(code, {"kind": "Status", "message": message})
                return
            try:
                step_run.patch_status(patch)
            except Refused as error:
                self._answer(error.code, {"kind": "Status", "message": error.message})
            else:
                self._answer(200, {})

        def _note(self) -> None:
            api.requests.append((self.command, self.path, dict(self.headers)))

        def _answer(self, code: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    api.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def clocks_begin_when(reached: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no timer of a thread run out before something has been reached, however slow the machine is."""

    class Timer(threading.Timer):
        def run(self) -> None:
            while not reached() and not self.finished.wait(0.01):
                pass
            super().run()

    monkeypatch.setattr(threading, "Timer", Timer)


def kubeconfig(url: str) -> str:
    return json.dumps(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t0ken"}}],
        }
    )


def step_environ(**more: str) -> dict[str, str]:
    return {
        "BUBU_STORY_NAME": "etl",
        "BUBU_STORYRUN_ID": "run1",
        "BUBU_STEP_NAME": "fetch",
        "BUBU_STEPRUN_NAME": "run1-fetch",
        "BUBU_STEPRUN_NAMESPACE": "team-a",
        "BUBU_STEP_TIMEOUT": "30s",
        "BUBU_STARTED_AT": "2026-01-05T10:00:00.123456789Z",
        "BUBU_POD_NAME": "run1-fetch-x1",
        "BUBU_STEP_ATTEMPT": "0",
        **more,
    }
