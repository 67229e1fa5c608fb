"""The control plane for tests (spec runtime ET-1 to ET-3); the second half needs one."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bobrapet.runtime.client.client import ApiClient, new
from bobrapet.runtime.client.config import load_kubeconfig
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.namespaced_client import NamespacedClient
from bobrapet.runtime.client.object import ObjectKey, PartialObjectMetadata, Unstructured
from bobrapet.runtime.client.patch import merge_from, strategic_merge_from
from bobrapet.runtime.clock import settle
from bobrapet.runtime.envtest import (
    Environment,
    EnvironmentFailed,
    LocalServing,
    NeverHappened,
    Options,
    PortLease,
    eventually,
    eventually_gone,
    install_crds,
    install_webhooks,
    read_crds,
    read_webhooks,
    uninstall_crds,
    uninstall_webhooks,
)
from bobrapet.runtime.envtest.crd import DefinitionNotEstablished
from bobrapet.runtime.envtest.process import Check, Program
from bobrapet.runtime.errors import (
    ApiError,
    ConfigError,
    ConnectionFailed,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    RequestTimeout,
    Unauthorized,
)
from tests.unit.runtime.client_side.models import DEFINITION, ConfigMap, Job, Namespace, Pod, config_map
from tests.unit.runtime.client_side.stub import json

KEY = ObjectKey("default", "c")

PATIENCE = 100.0
"""Seconds after which a test gives up; nothing is judged by time."""


# Without a control plane


def test_missing_programs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no etcd and no kube-apiserver in {tmp_path}"):
        Environment(Options(assets=str(tmp_path))).start()


def test_a_program_that_ends_at_once_shows_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "broken"
    script.write_text("#!/bin/sh\necho unknown flag >&2\nexit 3\n")
    script.chmod(0o700)
    program = Program("broken", [str(script)], tmp_path / "log")
    program.start()
    with pytest.raises(EnvironmentFailed, match=r"(?s)exit code 3.*unknown flag"):
        program.wait_ready([_never()], time.monotonic() + PATIENCE)
    program.stop(1)


def test_a_program_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    program = Program("sleeper", ["/bin/sleep", "3600"], tmp_path / "log")
    program.start()
    with pytest.raises(EnvironmentFailed, match=r"not ready in time \(http://127.0.0.1:1/\)"):
        program.wait_ready([_never()], time.monotonic() + 0.1)
    program.stop(5)
    assert not program.running


def test_a_program_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    program = Program(
        "stubborn", ["/bin/sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"], tmp_path / "log"
    )
    program.start()
    deadline = time.monotonic() + PATIENCE
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    program.stop(0.1)
    assert not program.running


def test_an_environment_that_fails_to_start_leaves_nothing(tmp_path: Path) -> None:
    for name in ("etcd", "kube-apiserver"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o700)
    environment = Environment(Options(assets=str(tmp_path), start_timeout=PATIENCE))
    with pytest.raises(EnvironmentFailed, match="etcd ended with exit code 1 before it was ready"):
        environment.start()
    with pytest.raises(EnvironmentFailed, match=r"call start\(\) first"):
        environment.config
    assert environment._folder is None


def test_ports_are_not_taken_twice() -> None:
    with PortLease() as one, PortLease() as two:
        ports = [lease.take() for lease in (one, two) for _ in range(20)]
        assert len(set(ports)) == 40


def test_ports_taken_by_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "from bobrapet.runtime.envtest.ports import PortLease; l = PortLease(); print(l.take()); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        monkeypatch.setattr("bobrapet.runtime.envtest.ports.PORTS", (theirs,))
        with PortLease() as lease, pytest.raises(OSError, match="no free port"):
            lease.take()
        other.communicate("\n")
    with PortLease() as lease:
        assert lease.take() == theirs


def test_definitions_and_webhooks_are_found_in_folders(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/crd.yaml").write_text(
        "kind: CustomResourceDefinition\nmetadata: {name: a}\n---\nkind: ConfigMap\n---\n"
    )
    (tmp_path / "hook.yml").write_text("kind: ValidatingWebhookConfiguration\nmetadata: {name: h}\n")
    (tmp_path / "notes.txt").write_text("kind: CustomResourceDefinition\n")
    assert [raw["metadata"]["name"] for raw in read_crds(tmp_path)] == ["a"]
    assert [raw["metadata"]["name"] for raw in read_webhooks(tmp_path / "hook.yml", tmp_path / "deep")] == ["h"]


async def test_waiting_sees_each_change_and_gives_up_with_the_last_state() -> None:
    client = ClientBuilder().build()

    def at_two(obj: Unstructured) -> None:
        assert obj.object["data"]["step"] == "2"

    there = asyncio.create_task(eventually(client, ConfigMap, KEY, lambda obj: True, timeout=PATIENCE))
    waiting = asyncio.create_task(
        eventually(client, ConfigMap, KEY, lambda obj: obj.object["data"]["step"] == "2", timeout=PATIENCE)
    )
    await settle()
    assert not there.done()
    stored = await client.create(config_map(step="1"))
    assert (await there).object["data"] == {"step": "1"}
    gone = asyncio.create_task(eventually_gone(client, ConfigMap, KEY, timeout=PATIENCE))
    await settle()
    assert not waiting.done()
    stored.object["data"]["step"] = "2"
    stored = await client.update(stored)
    assert (await waiting).object["data"] == {"step": "2"}
    assert not gone.done()
    await client.delete(stored)
    await gone
    with pytest.raises(NeverHappened, match="it does not exist"):
        await eventually(client, ConfigMap, KEY, at_two, timeout=0.05)
    await client.create(config_map(step="1"))
    with pytest.raises(NeverHappened, match="'step': '1'"):
        await eventually(client, ConfigMap, KEY, at_two, timeout=0.05)


def _never() -> Check:
    return Check("http://127.0.0.1:1/")


# With the real control plane

real = pytest.mark.real


@pytest.fixture
async def client(environment: Environment) -> AsyncIterator[NamespacedClient]:
    """A client in a namespace of its own."""
    async with new(environment.config) as connected:
        namespace = await connected.create(Namespace({"metadata": {"generateName": "test-"}}))
        yield NamespacedClient(connected, namespace.metadata.name)
        await connected.delete(namespace)


def bare(name: str = "c", **data: str) -> Unstructured:
    return ConfigMap({"metadata": {"name": name}, "data": data})


@real
async def test_objects_live_a_full_life(client: NamespacedClient) -> None:
    stored = await client.create(bare(a="1"))
    base = stored.deep_copy()
    stored.object["data"]["b"] = "2"
    stored = await client.patch(stored, merge_from(base, optimistic_lock=True))
    base = stored.deep_copy()
    stored.object["data"]["b"] = "3"
    stored = await client.patch(stored, strategic_merge_from(base))
    assert stored.object["data"] == {"a": "1", "b": "3"}
    meta = await client.get(PartialObjectMetadata.of("v1", "ConfigMap"), ObjectKey.of(stored))
    assert (meta.kind, meta.metadata.uid) == ("ConfigMap", stored.metadata.uid)
    metas = await client.list(PartialObjectMetadata.of("v1", "ConfigMap"), namespace=stored.metadata.namespace)
    assert "c" in [item.metadata.name for item in metas]
    await client.delete(stored)
    with pytest.raises(NotFound):
        await client.get(ConfigMap, ObjectKey.of(stored))


@real
async def test_a_list_of_many_pages_is_whole(client: NamespacedClient) -> None:
    await asyncio.gather(*(client.create(bare(f"c{i:04}")) for i in range(620)))
    listed = await client.list(ConfigMap, fields="metadata.name!=kube-root-ca.crt")
    assert [obj.metadata.name for obj in listed] == [f"c{i:04}" for i in range(620)]


@real
async def test_definitions_are_served_when_installed_and_gone_when_removed(environment: Environment) -> None:
    definition = _renamed("gadgets", "Gadget")
    names = await install_crds(environment.config, [definition], timeout=PATIENCE)
    gadget = Unstructured.of("test.example.com/v1", "Gadget")
    async with new(environment.config) as client:
        stored = await client.create(gadget({"metadata": {"name": "g", "namespace": "default"}, "spec": {"size": 1}}))
        stored.set("spec", "size", value=-1)
        with pytest.raises(Invalid, match="greater than or equal to 0"):
            await client.update(stored)
        again = await install_crds(environment.config, [definition], timeout=PATIENCE)
        assert again == names, "installing twice is no error"
    await uninstall_crds(environment.config, names, timeout=PATIENCE)
    async with new(environment.config) as client:
        with pytest.raises(NotFound):
            await _read_while_served(client, "/apis/test.example.com/v1/gadgets")


async def _read_while_served(client: ApiClient, path: str) -> None:
    """The API server itself learns a moment later that a definition is gone."""
    async with asyncio.timeout(PATIENCE):
        while True:
            await client.rest.request("GET", path)
            await asyncio.sleep(0.05)


@real
async def test_a_definition_that_clashes_says_why(environment: Environment) -> None:
    first = await install_crds(environment.config, [_renamed("clashes", "Clash")], timeout=PATIENCE)
    clash = _renamed("others", "Clash")
    refusal = ""
    try:
        async with asyncio.timeout(PATIENCE):
            while "Clash" not in refusal:  # until the API server has looked at it
                with pytest.raises(DefinitionNotEstablished) as raised:
                    await install_crds(environment.config, [clash], timeout=1)
                refusal = str(raised.value)
    finally:
        await uninstall_crds(environment.config, [*first, clash["metadata"]["name"]], timeout=PATIENCE)


@real
async def test_users_have_the_rights_that_rbac_gives_them(environment: Environment) -> None:
    async with new(environment.add_user("nobody")) as nobody:
        with pytest.raises(Forbidden, match="nobody"):
            await nobody.list(ConfigMap)
    async with new(environment.add_user("root", "system:masters")) as root:
        await root.list(ConfigMap)
    async with new(environment.config.copy(token="wrong")) as stranger:
        with pytest.raises(Unauthorized):
            await stranger.list(ConfigMap)


@real
async def test_the_kubeconfig_leads_to_the_same_server(environment: Environment, tmp_path: Path) -> None:
    for config in (environment.config, environment.add_user("root", "system:masters")):
        path = environment.kubeconfig(tmp_path / "config", config)
        assert path.stat().st_mode & 0o777 == 0o600
        async with new(load_kubeconfig(str(path))) as client:
            assert "default" in [obj.metadata.name for obj in await client.list(Namespace)]


@real
async def test_the_controllers_run(client: NamespacedClient) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x"}]}}
    job = await client.create(Job({"metadata": {"name": "j"}, "spec": {"template": template}}))
    await eventually(client, Job, ObjectKey.of(job), lambda obj: obj.get("status", "active") == 1, timeout=PATIENCE)
    pods = await client.list(Pod, namespace=job.metadata.namespace)
    assert [pod.metadata.owner_references[0].uid for pod in pods] == [job.metadata.uid]
    await client.delete(job, propagation_policy="Background")
    await eventually_gone(client, Pod, ObjectKey.of(pods[0]), timeout=PATIENCE)


@real
async def test_a_webhook_in_the_test_process_is_called(environment: Environment, tmp_path: Path) -> None:
    async def deny(request: web.Request) -> web.StreamResponse:
        review = await request.json()
        response = {"uid": review["request"]["uid"], "allowed": False, "status": {"message": "not on a Tuesday"}}
        return json({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response})

    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "envtest"},
        "webhooks": [
            {
                "name": "deny.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"service": {"name": "x", "namespace": "y", "path": "/validate"}},
                "rules": [rule],
            }
        ],
    }
    application = web.Application()
    application.router.add_post("/validate", deny)
    with PortLease() as ports:
        serving = LocalServing.prepare(tmp_path / "certs", ports)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(serving.cert_dir / "tls.crt", serving.cert_dir / "tls.key")
        runner = web.AppRunner(application, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, serving.host, serving.port, ssl_context=context).start()
        installed = await install_webhooks(environment.config, serving, [configuration])
        try:
            async with new(environment.config) as client:
                assert "not on a Tuesday" in await _refusal(client)
        finally:
            await uninstall_webhooks(environment.config, installed)
            await runner.cleanup()


async def _refusal(client: ApiClient) -> str:
    """Webhooks count from a moment after their creation on."""
    secret = Unstructured.of("v1", "Secret")({"metadata": {"generateName": "s-", "namespace": "default"}})
    async with asyncio.timeout(60):
        while True:
            try:
                await client.create(secret, dry_run=True)
            except ApiError as error:
                return str(error)
            await asyncio.sleep(0.05)


@real
async def test_an_environment_of_its_own_survives_what_tests_do_to_it(assets: str) -> None:
    environment = Environment(Options(assets=assets, controllers=False, start_timeout=PATIENCE))
    config = await asyncio.to_thread(environment.start)
    folder = environment._folder
    assert folder is not None
    try:
        async with new(config) as client, new(config.copy(timeout=0.5)) as impatient:
            stored = await client.create(config_map(a="1"))
            for value in ("2", "3"):
                stored.object["data"]["a"] = value
                stored = await client.update(stored)
            first = str(int(stored.metadata.resource_version) - 2)
            environment.pause_api_server()
            with pytest.raises(RequestTimeout):
                await impatient.get(ConfigMap, KEY)
            environment.resume_api_server()
            assert (await client.get(ConfigMap, KEY)).object["data"] == {"a": "3"}
            await asyncio.to_thread(environment.compact)
            await asyncio.to_thread(environment.restart_api_server)
            assert (await client.get(ConfigMap, KEY)).metadata.uid == stored.metadata.uid
            with pytest.raises(Expired):
                async with client.watch(ConfigMap, resource_version=first) as events:
                    await anext(aiter(events))
            async with client.watch(ConfigMap, namespace="default") as events:
                await anext(aiter(events))
                await asyncio.to_thread(environment.stop_api_server)
                with pytest.raises(ConnectionFailed, match="the connection broke"):
                    await _drained(events)
            with pytest.raises(ConnectionFailed) as raised:
                await client.get(ConfigMap, KEY)
            assert raised.value.refused
    finally:
        await asyncio.to_thread(environment.stop)
    assert not folder.exists()
    environment.stop()


async def _drained(events: AsyncIterator[object]) -> None:
    async for _ in events:
        pass


def _renamed(plural: str, kind: str) -> dict[str, Any]:
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    return {
        **DEFINITION,
        "metadata": {"name": f"{plural}.test.example.com"},
        "spec": {**DEFINITION["spec"], "names": names},
    }
