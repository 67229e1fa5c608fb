"""The two calls of a component over HTTP.

The standard library's connection is enough for them, and halves the start-up cost of a larger HTTP library.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

import msgspec

from bobrapet import __version__
from bobrapet.sdk.credentials import Credentials
from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.step_run_api import Refused, Unreachable

_ANSWER_LIMIT = 16 << 20


class HttpStepRunApi:
    """One connection, kept for both calls and made again when it broke."""

    def __init__(self, credentials: Credentials, step: StepIdentity, *, timeout: float, user_agent: str = "") -> None:
        self._credentials = credentials
        self._path = (
            f"{credentials.prefix}/apis/runs.bubustack.io/v1alpha1/namespaces/{step.namespace}/stepruns/{step.step_run}"
        )
        self._timeout = timeout
        self._user_agent = user_agent or f"bobrapet-sdk-python/{__version__}"
        self._connection: http.client.HTTPConnection | None = None

    def get(self) -> dict[str, Any]:
        answer = msgspec.json.decode(self._request("GET", self._path))
        if not isinstance(answer, dict):
            raise Refused(200, "the StepRun is no JSON object")
        return answer

    def patch_status(self, patch: Mapping[str, Any]) -> None:
        self._request("PATCH", f"{self._path}/status", msgspec.json.encode(patch))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Accept": "application/json", "User-Agent": self._user_agent}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        try:
            token = self._credentials.token()
            if token:
                headers["Authorization"] = f"Bearer {token}"
            connection = self._connection or self._connect()
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read(_ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{method} {path}: {error or type(error).__name__}") from error
        if response.status >= 300:
            raise Refused(
                response.status, _reason(answer, response.reason), _seconds(response.getheader("Retry-After"))
            )
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        where = self._credentials
        if where.tls is None:
            self._connection = http.client.HTTPConnection(where.host, where.port, timeout=self._timeout)
        else:
            self._connection = http.client.HTTPSConnection(
                where.host, where.port, timeout=self._timeout, context=where.tls
            )
        return self._connection


def _reason(answer: bytes, default: str) -> str:
    """The message of a Kubernetes Status object."""
    try:
        status = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        return default
    return str(status.get("message") or default) if isinstance(status, dict) else default


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isdigit() else None
