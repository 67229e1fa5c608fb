"""The manager's process where there is no API server."""

from __future__ import annotations

import asyncio
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bobrapet.api.crds import crd_manifests
from bobrapet.local.apiserver import ApiServer, Options
from bobrapet.runtime.envtest import PortLease
from bobrapet.runtime.envtest.crd import install_crds
from bobrapet.runtime.envtest.kubeconfig import write_kubeconfig
from bobrapet.runtime.rest.config import RestConfig

PATIENCE = 180


class Manager:
    """A manager that is told of an API server which is not there yet."""

    def __init__(self, process: asyncio.subprocess.Process, probes: int) -> None:
        self.process = process
        self._probes = probes

    async def says(self, text: str) -> str:
        """The next line of its log with a text in it."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            async for line in self.process.stderr:
                if text in line.decode():
                    return line.decode()
        raise AssertionError(f"it ended and did not say {text!r}")

    async def answers(self, path: str) -> int:
        """The status of a probe."""

        def ask() -> int:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._probes}{path}") as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        return await asyncio.to_thread(ask)

    async def becomes_ready(self) -> None:
        """Returns when both probes are content: what was starved of CPU says so for half a minute."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if (await self.answers("/healthz"), await self.answers("/readyz")) == (200, 200):
                    return
                await asyncio.sleep(0.1)

    async def ends(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@pytest.fixture
async def absent(tmp_path: Path) -> AsyncIterator[tuple[Manager, Options]]:
    """The manager, and how to start the API server that it waits for, which knows our kinds."""
    with PortLease() as ports:
        options = Options(data_dir=tmp_path / "server", port=ports.take())
        server = ApiServer(options)
        await server.start()
        config = RestConfig(host=server.url, ca_data=server.ca_pem.encode(), token=server.admin_token)
        await install_crds(config, crd_manifests())
        await server.stop()
        write_kubeconfig(tmp_path / "kubeconfig", config)
        probes = ports.take()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bobrapet.cli", "manager", f"--kubeconfig={tmp_path / 'kubeconfig'}"),
            f"--health-probe-bind-address=127.0.0.1:{probes}",
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield Manager(process, probes), options
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def test_the_manager_waits_for_an_api_server_that_is_away_and_starts_when_it_is_there(
    absent: tuple[Manager, Options],
) -> None:
    manager, options = absent
    told = await manager.says("cannot be reached")
    assert f"https://127.0.0.1:{options.port}" in told
    assert (await manager.answers("/healthz"), await manager.answers("/readyz")) == (200, 500)
    server = ApiServer(options)
    await server.start()
    try:
        await manager.says("starting manager")
        await manager.says("Starting workers")
        await manager.becomes_ready()
        assert await manager.ends() == 0
    finally:
        await server.stop()


async def test_a_manager_that_waits_for_an_api_server_can_be_stopped(absent: tuple[Manager, Options]) -> None:
    manager, _ = absent
    await manager.says("cannot be reached")
    assert await manager.ends() == 0
