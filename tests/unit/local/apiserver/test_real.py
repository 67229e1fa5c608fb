"""The same requests to this server and to a real kube-apiserver get the same answers."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from bobrapet.local.apiserver import ApiServer
from bobrapet.runtime.envtest import Environment
from tests.unit.local.apiserver.differential import CALLS, NS, SETUP, WIDGETS, Call, comparable

REAL = [
    pytest.mark.real,
    pytest.mark.skipif("KUBEBUILDER_ASSETS" not in os.environ, reason="needs a real control plane"),
]
pytestmark = REAL


class World:
    """One server to ask."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def __call__(self, call: Call) -> tuple[int, Any]:
        headers = {**self._headers, "Content-Type": call.type}
        body = call.body if isinstance(call.body, bytes) or call.body is None else None
        given: dict[str, Any] = {"data": body} if body is not None else {}
        if call.body is not None and body is None:
            given = {"json": call.body}
        url = self._url + call.path
        async with self._session.request(call.method, url, headers=headers, **given) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def answers(self) -> list[Any]:
        """The comparable answers to all requests, on a server that has seen none of them."""
        for call in SETUP:
            code, body = await self(call)
            assert code == 201, body
        for path in (WIDGETS, f"{NS}/serviceaccounts/default"):
            async with asyncio.timeout(120):
                while (await self(Call("GET", path)))[0] != 200:  # noqa: ASYNC110 - another process: nothing to wait on
                    await asyncio.sleep(0.05)
        return [comparable(*await self(call)) for call in CALLS]


@pytest.fixture
async def real() -> AsyncIterator[World]:
    environment = Environment()
    config = await asyncio.to_thread(environment.start)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            yield World(session, config.host, config.token or "")
    finally:
        await asyncio.to_thread(environment.stop)


@pytest.fixture
async def ours(server: ApiServer) -> AsyncIterator[World]:
    context = ssl.create_default_context(cadata=server.ca_pem)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield World(session, server.url, server.admin_token)


async def test_answers_are_those_of_a_kube_apiserver(real: World, ours: World) -> None:
    expected, found = await asyncio.gather(real.answers(), ours.answers())

    different = [
        f"{call}\n  theirs: {theirs}\n  ours:   {mine}"
        for call, theirs, mine in zip(CALLS, expected, found, strict=True)
        if theirs != mine
    ]
    assert not different, "\n".join(different)
