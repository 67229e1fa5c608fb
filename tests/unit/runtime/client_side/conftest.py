"""A stub API server, virtual time, and proof that nothing is left running or open."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.envtest import Environment, Options
from tests.unit.runtime.client_side.stub import StubServer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
async def no_leaks() -> AsyncIterator[None]:
    """Fails a test that leaves a task or a socket behind (spec runtime TS-1)."""
    tasks, sockets = asyncio.all_tasks(), _sockets()
    yield
    await settle()
    left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
    assert not left, f"tasks left running: {left}"
    assert not await _left_open(sockets), f"sockets left open: {_sockets() - sockets}"


@pytest.fixture
async def stub() -> AsyncIterator[StubServer]:
    async with StubServer() as server:
        yield server


@pytest.fixture(scope="session")
def assets() -> str:
    """The folder with the programs of the real control plane."""
    if not os.environ.get("KUBEBUILDER_ASSETS"):
        if os.environ.get("CI") == "true":
            pytest.fail("KUBEBUILDER_ASSETS is not set; hack/envtest prints what belongs there")
        pytest.skip("KUBEBUILDER_ASSETS is not set: no real control plane")
    return os.environ["KUBEBUILDER_ASSETS"]


@pytest.fixture(scope="session")
def environment(assets: str) -> Iterator[Environment]:
    """The real control plane, one for all tests of a run."""
    with Environment(Options(assets=assets, start_timeout=240)) as started:
        yield started


async def _left_open(before: set[str]) -> set[str]:
    """The sockets that do not close. One that closes waits for its peer to answer the TLS goodbye."""
    deadline = time.monotonic() + 60
    while True:
        left = _sockets() - before
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(0.01)


def _sockets() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found
