"""kubectl against this server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bobrapet.local.apiserver import ApiServer
from tests.unit.local.apiserver.builders import PODS, configmap, crd, pod, widget
from tests.unit.local.apiserver.conftest import Client

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None and os.environ.get("CI") != "true", reason="no kubectl on this machine")

SCHEMA = {
    "type": "object",
    "required": ["size"],
    "properties": {"size": {"type": "integer", "description": "How large."}, "color": {"type": "string"}},
}
COLUMNS = [
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


class Kubectl:
    """Runs kubectl with a kubeconfig of its own."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.config = folder / "kubeconfig"
        self.folder = folder
        server.write_kubeconfig(self.config)

    async def start(self, *arguments: str, given: Any = None) -> asyncio.subprocess.Process:
        assert KUBECTL is not None, "CI needs kubectl"
        return await asyncio.create_subprocess_exec(
            KUBECTL,
            f"--kubeconfig={self.config}",
            f"--cache-dir={self.folder / 'cache'}",
            *arguments,
            stdin=asyncio.subprocess.PIPE if given is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def fails(self, *arguments: str, given: Any = None) -> str:
        """What it writes to stderr when it fails."""
        code, _, errors = await self.run(*arguments, given=given)
        assert code != 0, arguments
        return errors

    async def __call__(self, *arguments: str, given: Any = None) -> str:
        """What it writes to stdout when it works."""
        code, output, errors = await self.run(*arguments, given=given)
        assert code == 0, (arguments, errors)
        return output

    async def run(self, *arguments: str, given: Any = None) -> tuple[int | None, str, str]:
        """Its exit code and what it writes. It gives this process, where the server is, ten seconds for a handshake."""
        while True:
            process = await self.start(*arguments, given=given)
            output, errors = await process.communicate(_manifest(given))
            if b"TLS handshake timeout" not in errors:
                return process.returncode, output.decode(), errors.decode()


def _manifest(given: Any) -> bytes | None:
    return None if given is None else yaml.safe_dump_all(given if isinstance(given, list) else [given]).encode()


@pytest.fixture
async def kubectl(server: ApiServer, tmp_path: Path) -> Kubectl:
    kubectl = Kubectl(server, tmp_path)
    await kubectl("apply", "-f", "-", given=crd(SCHEMA, additionalPrinterColumns=COLUMNS))
    return kubectl


async def test_apply_creates_then_configures_then_leaves_alone(kubectl: Kubectl) -> None:
    assert await kubectl("apply", "-f", "-", given=widget(size=1)) == "widget.example.com/w created\n"
    assert await kubectl("apply", "-f", "-", given=widget(size=2)) == "widget.example.com/w configured\n"
    assert await kubectl("apply", "-f", "-", given=widget(size=2)) == "widget.example.com/w unchanged\n"


async def test_get_shows_columns_names_yaml_and_paths(kubectl: Kubectl) -> None:
    await kubectl(
        "apply", "-f", "-", given=[widget("a", size=1, color="red"), widget("b", {"labels": {"l": "v"}}, size=2)]
    )
    assert (await kubectl("get", "wd")).splitlines()[0].split() == ["NAME", "SIZE", "AGE"]
    assert (await kubectl("get", "widgets", "-o", "wide")).splitlines()[1].split()[:3] == ["a", "1", "red"]
    assert await kubectl("get", "widget", "-o", "name") == "widget.example.com/a\nwidget.example.com/b\n"
    assert await kubectl("get", "wd", "-o", "jsonpath={.items[*].spec.size}") == "1 2"
    assert await kubectl("get", "wd", "-l", "l=v", "-o", "name") == "widget.example.com/b\n"
    assert yaml.safe_load(await kubectl("get", "wd", "a", "-o", "yaml"))["spec"] == {"size": 1, "color": "red"}
    assert (await kubectl("get", "wd", "-A")).splitlines()[1].split()[:2] == ["default", "a"]


async def test_a_watching_get_prints_changes_as_they_come(kubectl: Kubectl, api: Client) -> None:
    await kubectl("apply", "-f", "-", given=widget(size=1))
    process = await kubectl.start("get", "wd", "-w")
    assert process.stdout is not None
    assert (await process.stdout.readline()).split()[:2] == [b"NAME", b"SIZE"]
    assert (await process.stdout.readline()).split()[:2] == [b"w", b"1"]
    await kubectl("patch", "wd", "w", "--type=merge", "-p", '{"spec":{"size":5}}')
    assert (await process.stdout.readline()).split()[:2] == [b"w", b"5"]
    process.terminate()
    await process.wait()


async def test_create_sends_protobuf_and_is_understood(kubectl: Kubectl) -> None:
    await kubectl("create", "configmap", "c", "--from-literal=x=1")
    await kubectl("create", "secret", "generic", "s", "--from-literal=p=q")
    await kubectl("create", "deployment", "d", "--image=nginx:1", "--replicas=2", "--port=80")
    await kubectl("create", "job", "j", "--image=busybox:1", "--", "echo", "hi")
    await kubectl("create", "role", "r", "--verb=get,list", "--resource=pods,widgets.example.com")
    await kubectl("create", "serviceaccount", "bot")
    assert json.loads(await kubectl("get", "cm", "c", "-o", "json"))["data"] == {"x": "1"}
    assert json.loads(await kubectl("get", "secret", "s", "-o", "json"))["data"] == {"p": "cQ=="}
    deployment = json.loads(await kubectl("get", "deploy", "d", "-o", "json"))
    assert deployment["spec"]["replicas"] == 2
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["ports"]) == ("nginx:1", [{"containerPort": 80, "protocol": "TCP"}])
    job = json.loads(await kubectl("get", "job", "j", "-o", "json"))
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["echo", "hi"]
    assert (await kubectl("create", "token", "bot")).count(".") == 2


async def test_faults_are_shown_as_on_a_cluster(kubectl: Kubectl) -> None:
    assert 'strict decoding error: unknown field "spec.siez"' in await kubectl.fails(
        "apply", "-f", "-", given=widget(size=1, siez=2)
    )
    assert 'The Widget "w" is invalid: spec.size: Required value' in await kubectl.fails(
        "apply", "-f", "-", given=widget(color="x")
    )
    assert 'Error from server (NotFound): widgets.example.com "nope" not found' in await kubectl.fails(
        "get", "wd", "nope"
    )
    assert 'the server doesn\'t have a resource type "gadgets"' in await kubectl.fails("get", "gadgets")


async def test_patch_label_annotate_scale_and_replace(kubectl: Kubectl) -> None:
    await kubectl("create", "deployment", "d", "--image=nginx:1")
    strategic = {"spec": {"template": {"spec": {"containers": [{"name": "nginx", "image": "nginx:2"}]}}}}
    await kubectl("patch", "deploy", "d", "-p", json.dumps(strategic))
    await kubectl("scale", "deploy", "d", "--replicas=3")
    await kubectl("label", "deploy", "d", "l=v")
    await kubectl("annotate", "deploy", "d", "note=x")
    found = json.loads(await kubectl("get", "deploy", "d", "-o", "json"))
    assert found["spec"]["replicas"] == 3
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"
    assert (found["metadata"]["labels"]["l"], found["metadata"]["annotations"]["note"]) == ("v", "x")
    await kubectl("replace", "-f", "-", given={**found, "spec": {**found["spec"], "replicas": 1}})
    assert await kubectl("get", "deploy", "d", "-o", "jsonpath={.spec.replicas}") == "1"


async def test_server_side_apply_and_its_conflicts(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", given=widget(size=1))
    # What kubectl applied on its side before is its own on the server side.
    await kubectl("apply", "--server-side", "-f", "-", given=widget(size=2))
    refused = await kubectl.fails("apply", "--server-side", "--field-manager=ci", "-f", "-", given=widget(size=3))
    assert 'conflict with "kubectl": .spec.size' in refused
    await kubectl("apply", "--server-side", "--field-manager=ci", "--force-conflicts", "-f", "-", given=widget(size=3))
    assert await kubectl("get", "wd", "w", "-o", "jsonpath={.spec.size}") == "3"


async def test_wait_and_delete(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", given=widget(size=1))
    await kubectl("wait", "--for=jsonpath={.spec.size}=1", "wd/w", "--timeout=60s")
    waiting = await kubectl.start("wait", "--for=delete", "wd/w", "--timeout=60s")
    assert await kubectl("delete", "wd", "w") == 'widget.example.com "w" deleted\n'
    await waiting.communicate()
    assert waiting.returncode == 0
    await kubectl("create", "namespace", "n")
    await kubectl("delete", "namespace", "n")


async def test_describe_explain_and_api_resources(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", given=widget(size=1))
    assert "Size:  1" in await kubectl("describe", "wd", "w")
    assert "How large." in await kubectl("explain", "wd.spec.size")
    assert "containerPort" in await kubectl("explain", "pod.spec.containers.ports")
    resources = await kubectl("api-resources", "--no-headers")
    assert ["widgets", "wd", "example.com/v1", "true", "Widget"] in [line.split() for line in resources.splitlines()]
    assert "example.com/v1" in await kubectl("api-versions")
    assert "v1.35" in await kubectl("version")


async def test_events_are_listed_for_an_object(kubectl: Kubectl, api: Client) -> None:
    await kubectl("apply", "-f", "-", given=widget(size=1))
    uid = await kubectl("get", "wd", "w", "-o", "jsonpath={.metadata.uid}")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "name": "w",
            "namespace": "default",
            "uid": uid,
        },
        "reason": "Grown",
        "message": "it grew",
        "type": "Normal",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    await api("POST", "/api/v1/namespaces/default/events", event)
    assert "it grew" in await kubectl("get", "events")
    assert "it grew" in await kubectl("events", "--for=widget/w")
    assert "Grown" in await kubectl("describe", "wd", "w")


async def test_logs_are_followed(kubectl: Kubectl, api: Client, server: ApiServer) -> None:
    more = asyncio.Event()

    class Logs:
        async def open(self, namespace: str, pod: str, container: str, **options: Any) -> AsyncIterator[bytes]:
            async def chunks() -> AsyncIterator[bytes]:
                yield b"one\n"
                if options["follow"]:
                    await more.wait()
                    yield b"two\n"

            return chunks()

    server.serve_logs(Logs())
    await api("POST", PODS, pod())
    await api("PATCH", f"{PODS}/p/status", {"status": {"phase": "Running"}}, type="application/merge-patch+json")
    assert await kubectl("logs", "p") == "one\n"
    process = await kubectl.start("logs", "-f", "p")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"one\n"
    more.set()
    assert await process.stdout.read() == b"two\n"
    await process.wait()


async def test_auth_can_i_and_whoami(kubectl: Kubectl) -> None:
    assert await kubectl("auth", "can-i", "get", "pods") == "yes\n"
    assert "admin" in await kubectl("auth", "whoami")


async def test_client_and_server_dry_runs_and_diff(kubectl: Kubectl) -> None:
    assert "(server dry run)" in await kubectl("apply", "--dry-run=server", "-f", "-", given=configmap("dry"))
    assert "not found" in await kubectl.fails("get", "cm", "dry")
    await kubectl("apply", "-f", "-", given=widget(size=1))
    code, output, _ = await kubectl.run("diff", "-f", "-", given=widget(size=2))
    assert (code, "+  size: 2" in output) == (1, True)
