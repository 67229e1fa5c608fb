"""The calls of a component over HTTP.

The standard library's connection is enough for them, and halves the start-up cost of a larger HTTP library.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from bobrapet import __version__
from bobrapet.sdk.credentials import Credentials
from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.step_run_api import Refused, Unreachable

_ANSWER_LIMIT = 16 << 20
_PAGE = 10  # runs in one answer: each may have 1.5 MiB, which is what etcd holds, and the answer has its limit
_MERGE_PATCH = "application/merge-patch+json"
_JSON = "application/json"


class HttpComponentApi:
    """One connection, kept for all calls and made again when it broke. For one thread at a time."""

    def __init__(self, credentials: Credentials, step: StepIdentity, *, timeout: float, user_agent: str = "") -> None:
        self._credentials = credentials
        self._step = step
        self._namespace = f"{credentials.prefix}/apis/runs.bubustack.io/v1alpha1/namespaces/{quote(step.namespace)}"
        self._step_run = f"{self._namespace}/stepruns/{quote(step.step_run)}"
        self._timeout = timeout
        self._user_agent = user_agent or f"bobrapet-sdk-python/{__version__}"
        self._connection: http.client.HTTPConnection | None = None

    def get(self) -> dict[str, Any]:
        return self._object("GET", self._step_run)

    def patch_status(self, patch: Mapping[str, Any]) -> None:
        self._request("PATCH", f"{self._step_run}/status", patch, _MERGE_PATCH)

    def get_claim(self, name: str) -> dict[str, Any]:
        return self._object("GET", f"{self._namespace}/effectclaims/{quote(name)}")

    def create_claim(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        return self._object("POST", f"{self._namespace}/effectclaims", claim)

    def update_claim(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        return self._object("PUT", f"{self._namespace}/effectclaims/{quote(claim['metadata']['name'])}", claim)

    def create_story_run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        return self._object("POST", f"{self._namespace}/storyruns", run)

    def get_story_run(self, name: str) -> dict[str, Any]:
        return self._object("GET", f"{self._namespace}/storyruns/{quote(name)}")

    def list_story_runs(self, selector: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        query = {"labelSelector": selector, "limit": str(_PAGE)}
        while True:
            try:
                page = self._object("GET", f"{self._namespace}/storyruns?{urlencode(query)}")
            except Refused as error:
                if error.code != 410 or "continue" not in query:
                    raise
                found.clear()  # the place in the list is too old: from the beginning
                del query["continue"]
                continue
            found += page.get("items") or ()
            query["continue"] = (page.get("metadata") or {}).get("continue") or ""
            if not query["continue"]:
                return found

    def patch_story_run(self, name: str, patch: Mapping[str, Any]) -> None:
        self._request("PATCH", f"{self._namespace}/storyruns/{quote(name)}", patch, _MERGE_PATCH)

    def get_core(self, plural: str, name: str) -> dict[str, Any]:
        core = f"{self._credentials.prefix}/api/v1/namespaces/{quote(self._step.namespace)}"
        return self._object("GET", f"{core}/{plural}/{quote(name)}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _object(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = msgspec.json.decode(self._request(method, path, body))
        if not isinstance(answer, dict):
            raise Refused(200, f"the answer to {method} {path} is no JSON object")
        return answer

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, content_type: str = _JSON
    ) -> bytes:
        headers = {"Accept": _JSON, "User-Agent": self._user_agent}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = msgspec.json.encode(body)
        try:
            token = self._credentials.token()
            if token:
                headers["Authorization"] = f"Bearer {token}"
            connection = self._connection or self._connect()
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            answer = response.read(_ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{method} {path}: {error or type(error).__name__}") from error
        except BaseException:
            self.close()  # interrupted between question and answer: the next answer would be the wrong one
            raise
        if len(answer) == _ANSWER_LIMIT:
            self.close()
            raise Refused(413, f"the answer to {method} {path} is larger than {_ANSWER_LIMIT >> 20} MiB")
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
