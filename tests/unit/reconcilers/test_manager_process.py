"""`bobrapet-manager` as a process: it starts, runs a Story's first Job, and ends as it is asked to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from bobrapet.api import KINDS, Engram, StoryRun
from bobrapet.api.crds import crd_manifests
from bobrapet.local.apiserver import ApiServer
from bobrapet.local.apiserver import Options as ServerOptions
from bobrapet.reconcilers.apply import merge_patch
from bobrapet.reconcilers.builtin import Job
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.envtest import PortLease
from bobrapet.runtime.envtest.crd import install_crds
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.scheme import Scheme
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template

ConfigMap = Unstructured.of("v1", "ConfigMap")
Lease = Unstructured.of("coordination.k8s.io/v1", "Lease")
Namespace = Unstructured.of("v1", "Namespace")


PATIENCE = 100
"""Seconds after which a test gives up; nothing is judged by time."""


class Server:
    def __init__(self, client: ApiClient, kubeconfig: Path, token: str) -> None:
        self.client = client
        self.kubeconfig = kubeconfig
        self.token = token


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    api = ApiServer(ServerOptions())
    await api.start()
    config = RestConfig(host=api.url, ca_data=api.ca_pem.encode(), token=api.admin_token)
    await install_crds(config, crd_manifests())
    (tmp_path / "ca.pem").write_text(api.ca_pem)
    kubeconfig = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": api.url, "certificate-authority": str(tmp_path / "ca.pem")}}],
        "users": [{"name": "u", "user": {"token": api.admin_token}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    scheme = Scheme()
    scheme.add_known_types(*KINDS)
    async with ApiClient(RestClient(config), scheme) as client:
        yield Server(client, tmp_path / "kubeconfig", api.admin_token)
    await api.stop()


@pytest.fixture
def ports() -> Iterator[PortLease]:
    with PortLease() as lease:
        yield lease


async def start(*flags: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bobrapet.manager",
        *flags,
        env={**os.environ, "KUBECONFIG": "", "HOME": "/nonexistent", **environ},
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    async with asyncio.timeout(PATIENCE):
        _, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, err.decode()


async def line_with(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while line := await process.stderr.readline():
            if text in line.decode():
                return
    raise AssertionError(f"the manager ended without saying {text!r}")


async def test_it_runs_stories_answers_probes_and_ends_with_zero_on_sigterm(server: Server, ports: PortLease) -> None:
    address = f"127.0.0.1:{ports.take()}"
    process = await start("--kubeconfig", str(server.kubeconfig), f"--health-probe-bind-address={address}")
    await line_with(process, "starting manager")
    await server.client.create(Namespace({"metadata": {"name": NAMESPACE}}))
    for obj in (template(), Engram.model_validate(engram()), story(step("fetch"))):
        obj.metadata.uid = None
        await server.client.create(obj)
    run = StoryRun.model_validate(storyrun())
    run.metadata.uid = None
    async with asyncio.timeout(PATIENCE), server.client.watch(Job, namespace=NAMESPACE) as events:
        await server.client.create(run)
        async for event in events:
            assert event.object.metadata.name == "run1-fetch"
            break
    for path in ("healthz", "readyz"):
        answer = await asyncio.to_thread(urllib.request.urlopen, f"http://{address}/{path}", timeout=60)
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    code, _ = await ended(process)
    assert code == 0


async def test_values_that_must_not_be_used_end_it_with_one_and_name_the_key(server: Server) -> None:
    data = {"controller.reconcile-timeout": "1ms"}
    await server.client.create(Namespace({"metadata": {"name": "ops"}}))
    await server.client.create(ConfigMap({"metadata": {"name": "mine", "namespace": "ops"}, "data": data}))
    code, err = await ended(
        await start(
            f"--kubeconfig={server.kubeconfig}",
            "--config-namespace=ops",
            "--config-name=mine",
            "--health-probe-bind-address=0",
            "--metrics-bind-address=127.0.0.1:0",
            "--leader-elect",
            "--leader-election-namespace=default",
        )
    )
    assert code == 1
    assert "ConfigMap ops/mine: controller.reconcile-timeout" in err
    assert "Unclosed" not in err
    assert "never awaited" not in err


async def test_without_a_cluster_it_ends_with_one_and_says_what_it_looked_for(tmp_path: Path) -> None:
    code, err = await ended(await start(f"--kubeconfig={tmp_path / 'absent'}"))
    assert code == 1
    assert "absent" in err


async def test_a_probe_port_that_is_taken_is_told_before_anything_runs(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, err = await ended(
            await start(f"--kubeconfig={server.kubeconfig}", f"--health-probe-bind-address={address}")
        )
    assert code == 1
    assert "in use" in err


async def test_of_two_managers_one_leads_and_the_other_takes_over(server: Server) -> None:
    flags = (
        f"--kubeconfig={server.kubeconfig}",
        "--leader-elect",
        "--leader-election-namespace=default",
        # No pause of a process loses the lease, and nobody waits for its end: who leaves gives it back.
        "--leader-election-lease-duration=1h",
        "--leader-election-renew-deadline=50m",
        "--health-probe-bind-address=0",
    )
    first = await start(*flags)
    lease = await held(server, lambda holder: bool(holder))
    second = await start(*flags)
    await line_with(second, "starting manager")
    first.send_signal(signal.SIGTERM)
    assert (await ended(first))[0] == 0
    assert await held(server, lambda holder: bool(holder) and holder != lease) != lease
    second.send_signal(signal.SIGTERM)
    assert (await ended(second))[0] == 0


async def test_a_lease_that_another_takes_ends_it_with_a_code_of_its_own(server: Server) -> None:
    process = await start(
        f"--kubeconfig={server.kubeconfig}",
        "--leader-elect",
        "--leader-election-namespace=default",
        "--leader-election-lease-duration=3s",
        "--leader-election-renew-deadline=1s",
        "--leader-election-retry-period=200ms",
        "--health-probe-bind-address=0",
    )
    await held(server, bool)
    taken = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 60}}
    lease = Lease({"metadata": {"name": "d3a8b358.bubustack.io", "namespace": "default"}})
    await server.client.patch(lease, merge_patch(taken))
    code, err = await ended(process)
    assert (code, "another replica may lead" in err) == (3, True), err


async def test_it_looks_after_the_namespaces_that_it_was_given_only(server: Server) -> None:
    for name in (NAMESPACE, "elsewhere"):
        await server.client.create(Namespace({"metadata": {"name": name}}))
    await server.client.create(template())
    for namespace in ("elsewhere", NAMESPACE):
        for obj in (Engram.model_validate(engram()), story(step("fetch")), StoryRun.model_validate(storyrun())):
            obj.metadata.uid = None
            obj.metadata.namespace = namespace
            await server.client.create(obj)
    async with server.client.watch(Job) as events:
        process = await start(
            f"--kubeconfig={server.kubeconfig}", f"--watch-namespaces={NAMESPACE}", "--health-probe-bind-address=0"
        )
        async with asyncio.timeout(PATIENCE):
            async for event in events:
                assert event.object.metadata.namespace == NAMESPACE
                break
    other = await server.client.get(StoryRun, ObjectKey("elsewhere", "run1"))
    assert other.status.phase is None
    process.send_signal(signal.SIGTERM)
    assert (await ended(process))[0] == 0


async def held(server: Server, by: Callable[[str], bool]) -> str:
    """Waits until the lease is held as wanted; returns the holder."""
    async with asyncio.timeout(PATIENCE), server.client.watch(Lease, namespace="default") as events:
        async for event in events:
            holder = event.object.get("spec", "holderIdentity", default="")
            if event.object.metadata.name == "d3a8b358.bubustack.io" and by(holder):
                return str(holder)
    raise AssertionError("the watch ended")


async def test_metrics_are_for_callers_whom_the_api_server_lets_read_them(server: Server, ports: PortLease) -> None:
    address = f"127.0.0.1:{ports.take()}"
    process = await start(
        f"--kubeconfig={server.kubeconfig}", f"--metrics-bind-address={address}", "--health-probe-bind-address=0"
    )
    await line_with(process, "starting manager")
    await line_with(process, "Starting workers")

    def ask(**headers: str) -> tuple[int, str]:
        context = ssl._create_unverified_context()
        request = urllib.request.Request(f"https://{address}/metrics", headers=headers)
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    assert (await asyncio.to_thread(ask))[0] == 401
    code, text = await asyncio.to_thread(ask, Authorization=f"Bearer {server.token}")
    assert code == 200, text
    assert "workqueue_depth" in text
    process.send_signal(signal.SIGTERM)
    code, err = await ended(process)
    assert code == 0
    assert "Unclosed" not in err
