from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from bobrapet.local.node.kubelet import Kubelet
from bobrapet.local.node.logs import ContainerLog
from bobrapet.local.node.logsource import PodLogs
from bobrapet.local.node.volumes import PodFolder

from .pods import pod


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[str]:
    """The address of the logs of a pod with three lines of output."""
    folder = PodFolder(tmp_path, "ns", "p", "uid-p")
    log = ContainerLog(folder.log("engram", 0))
    for line in (b"one", b"two", b"three"):
        log.append(b"stdout", line)
    log.close()
    kubelet = Kubelet(PodLogs(tmp_path, lambda namespace, name: (pod(), None) if name == "p" else None))
    await kubelet.start(0)
    yield f"https://127.0.0.1:{kubelet.port}/containerLogs/ns"
    await kubelet.close()


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, ssl=False) as response:
        return response.status, await response.text()


async def test_an_api_server_gets_the_log_with_its_options(page: str) -> None:
    assert await get(f"{page}/p/engram") == (200, "one\ntwo\nthree\n")
    assert await get(f"{page}/p/engram?tailLines=1&follow=true") == (200, "three\n")
    assert await get(f"{page}/p/engram?limitBytes=5") == (200, "one\nt")
    assert await get(f"{page}/p/engram?sinceTime=2100-01-01T00:00:00Z") == (200, "")


async def test_what_is_not_there_is_said_as_a_kubelet_says_it(page: str) -> None:
    assert (await get(f"{page}/p/other"))[0] == 400
    assert (await get(f"{page}/p/engram?previous=true"))[0] == 400
    assert (await get(f"{page}/q/engram"))[0] == 400
    assert (await get(f"{page}/p/engram?tailLines=x"))[0] == 400
