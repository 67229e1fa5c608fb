"""The operator that docs/runtime.md shows runs as it stands there, in both worlds."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from bobrapet.runtime.client.client import new
from bobrapet.runtime.client.config import load_kubeconfig
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.client.patch import merge_from
from bobrapet.runtime.envtest.crd import install_crds
from tests.behaviour.worlds import World

PAGE = Path(__file__).resolve().parents[2] / "docs/runtime.md"
Greeting = Unstructured.of("example.org/v1", "Greeting")


def block(language: str) -> str:
    """The code block of the page in one language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


async def greet(kubeconfig: Path, namespace: str, name: str, old: str | None = None) -> None:
    """Creates the Greeting, or changes its name."""
    async with new(load_kubeconfig(str(kubeconfig))) as client:
        wanted = Greeting({"metadata": {"namespace": namespace, "name": "g"}, "spec": {"name": name}})
        if old is None:
            await client.create(wanted)
        else:
            await client.patch(wanted, merge_from(Greeting({**wanted.object, "spec": {"name": old}})))


def test_the_operator_of_the_page_keeps_its_promise(world: World, namespace: str, tmp_path: Path) -> None:
    kubeconfig = world.cluster.kubeconfig
    definition: dict[str, Any] = yaml.safe_load(block("yaml"))
    asyncio.run(install_crds(load_kubeconfig(str(kubeconfig)), [definition]))
    program = tmp_path / "greeting.py"
    program.write_text(block("python"))
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 42

    def text_is(text: str) -> Any:
        return world.cluster.wait("ConfigMap", namespace, "g", lambda obj: obj.get("data", {}).get("text") == text)

    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, str(program)], env={**os.environ, "KUBECONFIG": str(kubeconfig)}, stderr=log
        )
        try:
            asyncio.run(greet(kubeconfig, namespace, "Ada"))
            made = text_is("Hello, Ada!")
            assert made["metadata"]["ownerReferences"][0]["kind"] == "Greeting"
            asyncio.run(greet(kubeconfig, namespace, "Grace", old="Ada"))
            text_is("Hello, Grace!")
            world.cluster.delete("ConfigMap", namespace, "g")
            assert text_is("Hello, Grace!")["metadata"]["uid"] != made["metadata"]["uid"]
        finally:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(90)
            finally:
                child.kill()
