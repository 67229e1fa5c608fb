"""Informers and leader election against a real kube-apiserver that is killed, compacted and stopped."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bobrapet.runtime import cluster
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.client.patch import merge_from
from bobrapet.runtime.cluster import Cluster
from bobrapet.runtime.envtest import Environment
from bobrapet.runtime.leaderelection.resourcelock.leaselock import Lease
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.interface import Lines
from bobrapet.runtime.scheme import GroupVersionKind
from bobrapet.runtime.toolscache.deltas import DeletedFinalStateUnknown
from bobrapet.runtime.toolscache.listwatch import ListerWatcher, ListWatch
from bobrapet.runtime.toolscache.record import Record
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

ConfigMap = Unstructured.of("v1", "ConfigMap")
OBJECTS = 2000


@pytest.fixture
async def watching(environment: Environment) -> AsyncIterator[Cluster]:
    """A cluster whose cache runs."""
    made = await cluster.new(environment.config, cluster.Options(client_cache_unstructured=True))
    running = asyncio.create_task(made.start())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await made.close()


class Ledger:
    """What a handler was told of each object last."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.changed = asyncio.Event()

    async def on_add(self, obj: Record, is_in_initial_list: bool) -> None:
        self._put(obj.key.name, obj.metadata.resource_version)

    async def on_update(self, old: Record, new: Record) -> None:
        self._put(new.key.name, new.metadata.resource_version)

    async def on_delete(self, obj: Record | DeletedFinalStateUnknown) -> None:
        self.versions.pop(obj.key.name, None)
        self.changed.set()

    def _put(self, name: str, version: str) -> None:
        self.versions[name] = version
        self.changed.set()

    async def equals(self, expected: dict[str, str]) -> None:
        """Waits until everything that is expected was told."""
        async with asyncio.timeout(60):
            while {name: self.versions.get(name) for name in expected} != expected:
                self.changed.clear()
                await self.changed.wait()


async def together(calls: list[Any], at_once: int = 20) -> list[Any]:
    limit = asyncio.Semaphore(at_once)

    async def one(call: Any) -> Any:
        async with limit:
            return await call

    return await asyncio.gather(*(one(call) for call in calls))


def config_map(name: str) -> Unstructured:
    return ConfigMap({"metadata": {"namespace": "default", "name": name}, "data": {"n": "0"}})


async def test_no_event_is_lost_and_nothing_listed_again_when_the_api_server_is_killed(
    environment: Environment, writer: ApiClient, watching: Cluster
) -> None:
    made = await together([writer.create(config_map(f"kill-{number}")) for number in range(OBJECTS)])
    informer: Any = await watching.cache.get_informer(ConfigMap)
    ledger = Ledger()
    informer.add_event_handler(ledger)
    await ledger.equals({obj.metadata.name: obj.metadata.resource_version for obj in made})

    async def change(obj: Unstructured, value: str) -> Unstructured:
        changed = obj.deep_copy()
        changed.set("data", "n", value=value)
        return await writer.patch(changed, merge_from(obj))

    half = await together([change(obj, "1") for obj in made[: OBJECTS // 2]])
    await anyio.to_thread.run_sync(environment.restart_api_server)
    rest = await together([change(obj, "2") for obj in made[OBJECTS // 2 :]])
    await ledger.equals({obj.metadata.name: obj.metadata.resource_version for obj in (*half, *rest)})
    assert informer.reflector.metrics.relists == {"initial": 1}
    stored = {record.key.name: record.metadata.resource_version for record in informer.store.list("default")}
    live = {
        obj.metadata.name: obj.metadata.resource_version for obj in await writer.list(ConfigMap, namespace="default")
    }
    assert stored == live


class Gate:
    """A `ListerWatcher` whose watches wait until they may be opened."""

    def __init__(self, inner: ListerWatcher) -> None:
        self.list = inner.list
        self.open = asyncio.Event()
        self.open.set()
        self._inner = inner

    @asynccontextmanager
    async def watch(self, params: Mapping[str, str]) -> AsyncIterator[Lines]:
        await self.open.wait()
        async with self._inner.watch(params) as lines:
            yield lines


async def test_a_compaction_while_nobody_watched_leads_to_a_new_list(
    environment: Environment, writer: ApiClient
) -> None:
    first = await writer.create(config_map("compacted"))
    doomed = await writer.create(config_map("doomed"))
    async with RestClient(environment.config) as rest:
        gate = Gate(ListWatch(rest, "/api/v1/namespaces/default/configmaps"))
        informer = SharedIndexInformer(gate, GroupVersionKind("", "v1", "ConfigMap"))
        ledger = Ledger()
        informer.add_event_handler(ledger)
        running = asyncio.create_task(informer.run())
        await ledger.equals({obj.metadata.name: obj.metadata.resource_version for obj in (first, doomed)})

        gate.open.clear()
        await anyio.to_thread.run_sync(environment.restart_api_server)
        changed = first.deep_copy()
        changed.set("data", "n", value="9")
        changed = await writer.patch(changed, merge_from(first))
        await writer.delete(doomed)
        await anyio.to_thread.run_sync(environment.compact)
        # The memory of the API server would still know what etcd has forgotten.
        await anyio.to_thread.run_sync(environment.restart_api_server)
        gate.open.set()

        await ledger.equals({"compacted": changed.metadata.resource_version})
        assert "doomed" not in ledger.versions
        assert informer.reflector is not None
        assert informer.reflector.metrics.relists == {"initial": 1, "expired": 1}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


CANDIDATE = """
import asyncio, json, sys, time
from bobrapet.runtime import cluster, manager
from bobrapet.runtime.client.config import load_kubeconfig
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.leaderelection import LeadershipLost
from bobrapet.runtime.metrics.server import Options as MetricsOptions

ConfigMap = Unstructured.of("v1", "ConfigMap")
kubeconfig, name = sys.argv[1:]

async def main():
    mgr = await manager.new(load_kubeconfig(kubeconfig), manager.Options(
        metrics=MetricsOptions(bind_address="0"),
        leader_election=True, leader_election_id="race", leader_election_namespace="default",
        lease_duration=4, renew_deadline=3, retry_period=0.5, graceful_shutdown_timeout=1,
    ))

    async def write():
        print("leading", flush=True)
        number = 0
        while True:
            number += 1
            config_map = ConfigMap({"metadata": {"namespace": "default", "generateName": "by-" + name + "-"}})
            try:
                await mgr.get_client().create(config_map)
            except LeadershipLost:
                print("fenced", flush=True)
                raise
            await asyncio.sleep(0.05)

    mgr.add(manager.runnable_func(write))
    try:
        await mgr.start()
    except (manager.LeaderElectionLost, LeadershipLost) as error:
        print("lost", type(error).__name__, flush=True)
        sys.exit(3)

asyncio.run(main())
"""


class Candidates:
    """Processes that compete for one lease."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.lines: asyncio.Queue[tuple[str, str, float]] = asyncio.Queue()
        self._readers: list[asyncio.Task[None]] = []

    async def start(self, name: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CANDIDATE, str(self._kubeconfig), name, stdout=asyncio.subprocess.PIPE
        )
        self.processes[name] = process
        self._readers.append(asyncio.create_task(self._read(name, process)))

    async def _read(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for raw in process.stdout:
            self.lines.put_nowait((name, raw.decode().strip(), time.monotonic()))

    async def next(self, what: str) -> tuple[str, float]:
        """Who says this next, and when."""
        async with asyncio.timeout(60):
            while True:
                name, said, when = await self.lines.get()
                if said.startswith(what):
                    return name, when

    async def stop(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()
        await asyncio.gather(*self._readers)


async def test_another_process_takes_over_and_a_stopped_leader_writes_nothing_more(
    environment: Environment, writer: ApiClient, tmp_path: Path
) -> None:
    candidates = Candidates(environment.kubeconfig(tmp_path / "kubeconfig"))
    try:
        for name in ("a", "b", "c"):
            await candidates.start(name)
        leader, _ = await candidates.next("leading")

        killed_at = time.monotonic()
        candidates.processes[leader].send_signal(signal.SIGKILL)
        second, when = await candidates.next("leading")
        assert second != leader
        assert when - killed_at < 4 + 2

        stopped_at = time.monotonic()
        candidates.processes[second].send_signal(signal.SIGSTOP)
        third, when = await candidates.next("leading")
        assert third not in (leader, second)
        assert when - stopped_at < 4 + 2
        before = await writes_of(writer, second)
        candidates.processes[second].send_signal(signal.SIGCONT)
        lost, _ = await candidates.next("lost")
        assert lost == second
        assert await candidates.processes[second].wait() == 3
        assert await writes_of(writer, second) == before
        lease = await writer.get(Lease, ObjectKey("default", "race"))
        assert lease.get("spec", "leaseTransitions") == 2
    finally:
        await candidates.stop()


async def writes_of(client: ApiClient, name: str) -> int:
    found = await client.list(ConfigMap, namespace="default")
    return sum(obj.metadata.name.startswith(f"by-{name}-") for obj in found)
