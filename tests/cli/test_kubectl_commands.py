"""The kubectl commands of the pages on runs do what the pages say to the objects of an API server."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bobrapet.api import StoryRun
from bobrapet.api.crds import crd_manifests
from bobrapet.local.apiserver import ApiServer, Options
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.envtest.crd import install_crds
from bobrapet.runtime.envtest.kubeconfig import write_kubeconfig
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from tests.unit.manifests.rendered import ROOT, tool

Run = Unstructured.of(StoryRun.API_VERSION, StoryRun.KIND)
Namespace = Unstructured.of("v1", "Namespace")


def commands() -> list[str]:
    found = []
    for page in ("install", "stories"):
        blocks = re.findall(r"```console\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL)
        lines = "".join(blocks).replace("\\\n", " ").splitlines()
        found += [line[2:] for line in lines if re.match(r"\$ kubectl .*\bstoryruns?\b ?", line)]
    return [each for each in found if "delete" not in each]


@dataclass
class Shell:
    kubeconfig: Path
    client: ApiClient

    async def __call__(self, command: str) -> str:
        # What kubectl keeps of another server that had this port is no business of this one's.
        program = f"{tool('kubectl')} --kubeconfig={self.kubeconfig} --cache-dir={self.kubeconfig.parent / 'cache'}"
        line = command.replace("kubectl", program, 1)
        done = await asyncio.to_thread(
            subprocess.run, ["bash", "-c", line], capture_output=True, text=True, check=False, timeout=180
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def run(self, name: str) -> dict[str, Any]:
        return (await self.client.get(Run, ObjectKey("default", name))).object


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    server = ApiServer(Options())
    await server.start()
    config = RestConfig(host=server.url, ca_data=server.ca_pem.encode(), token=server.admin_token)
    try:
        await install_crds(config, crd_manifests())
        write_kubeconfig(tmp_path / "kubeconfig", config)
        async with ApiClient(RestClient(config)) as client:
            await client.create(Namespace({"metadata": {"name": "workflows"}}))
            for name, namespace in (("release-1", "default"), ("order-1", "default"), ("greeting-1", "workflows")):
                meta = {"name": name, "namespace": namespace}
                await client.create(Run({"metadata": meta, "spec": {"storyRef": {"name": "s"}}}))
            yield Shell(tmp_path / "kubeconfig", client)
    finally:
        await server.stop()


async def test_a_command_of_the_page_is_taken_by_the_api_server(shell: Shell) -> None:
    listed, decided, again, from_step = commands()
    assert "greeting-1" in await shell(listed)
    assert "patched" in await shell(decided)
    gate = (await shell.run("release-1"))["status"]["gates"]["sign-off"]
    assert gate == {"state": "Approved", "message": "ok", "updatedBy": "ada"}
    for command in (again, from_step):
        assert "annotated" in await shell(command)
    annotations = (await shell.run("order-1"))["metadata"]["annotations"]
    assert annotations["storyrun.bubustack.io/redrive-token"].isdecimal()
    assert re.fullmatch(r"pay:\d+", annotations["storyrun.bubustack.io/redrive-from-step"])
