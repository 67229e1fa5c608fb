"""A started server and a small client for it."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import pytest

from bobrapet.local.apiserver import ApiServer


@dataclass
class Answer:
    """Status code, decoded body, headers."""

    code: int
    body: Any
    headers: Any

    def __getitem__(self, name: str) -> Any:
        return self.body[name]


class Reachable(Protocol):
    """A server to talk to, in this process or another."""

    @property
    def url(self) -> str: ...

    @property
    def ca_pem(self) -> str: ...

    @property
    def admin_token(self) -> str: ...


class Client:
    """Requests with a token; JSON both ways."""

    def __init__(self, server: Reachable, session: aiohttp.ClientSession, token: str = "") -> None:
        self.server = server
        self.session = session
        self.token = token or server.admin_token

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        type: str = "application/json",
        accept: str = "",
        **query: Any,
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": type}
        if accept:
            headers["Accept"] = accept
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = self.server.url + path
        async with self.session.request(method, url, data=data, headers=headers, params=query) as response:
            raw = await response.read()
            try:
                decoded = json.loads(raw)
            except ValueError:
                decoded = raw.decode()
            return Answer(response.status, decoded, response.headers)

    async def watch(self, path: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
        """The events of a watch, one by one."""
        headers = {"Authorization": f"Bearer {self.token}"}
        params = {"watch": "true", **query}
        async with self.session.get(self.server.url + path, headers=headers, params=params) as response:
            assert response.status == 200, await response.text()
            async for line in response.content:
                yield json.loads(line)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """A started server without a data directory."""
    server = ApiServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Client]:
    """The administrator's client."""
    async with client_session(server) as session:
        yield Client(server, session)


def client_session(server: Reachable) -> aiohttp.ClientSession:
    """A session that trusts the server."""
    context = ssl.create_default_context(cadata=server.ca_pem)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))
