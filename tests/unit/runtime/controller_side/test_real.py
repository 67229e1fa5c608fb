"""Informers and leader election against a real kube-apiserver that is killed, compacted and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
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
from tests.unit.runtime.controller_side.conftest import own_environment

pytestmark = pytest.mark.real

ConfigMap = Unstructured.of("v1", "ConfigMap")
OBJECTS = 2000


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    """An API server that asks etcd for the past of ConfigMaps.

    One that keeps it in memory has forgotten it with each start, and may then have to refuse the watches of before.
    """
    with own_environment(api_server_args=("--watch-cache-sizes=configmaps#0",)) as started:
        yield started


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
        gate.open.set()

        await ledger.equals({"compacted": changed.metadata.resource_version})
        assert "doomed" not in ledger.versions
        assert informer.reflector is not None
        assert informer.reflector.metrics.relists == {"initial": 1, "expired": 1}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


LEASE, STEP = 120, 30
"""Seconds that a lease lasts, and that pass for all candidates at once: virtual, so a busy machine wastes none."""

CANDIDATE = """
import asyncio, os, signal, sys
from bobrapet.runtime import manager
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.config import load_kubeconfig
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import RealClock
from bobrapet.runtime.leaderelection import LeadershipLost
from bobrapet.runtime.leaderelection.resourcelock.leaselock import LeaseLock
from bobrapet.runtime.metrics.server import Options as MetricsOptions
from bobrapet.runtime.rest.client import RestClient

ConfigMap = Unstructured.of("v1", "ConfigMap")
kubeconfig, name, passed, stop = sys.argv[1:5]
LEASE = int(sys.argv[5])

def ahead():
    return os.stat(passed).st_size

class Clock(RealClock):
    def monotonic(self):
        return super().monotonic() + ahead()

    def boot_time(self):
        return super().boot_time() + ahead()

    async def sleep_until(self, deadline):
        await self.sleep(max(0.0, deadline - self.monotonic()))

    def call_at(self, deadline, callback):
        return asyncio.get_running_loop().call_later(max(0.0, deadline - self.monotonic()), callback)

class Lock(LeaseLock):
    async def get(self):
        began = ahead()
        found = await super().get()
        print("tried", began, flush=True)
        return found

    async def update(self, record):
        began = ahead()
        await super().update(record)
        print("tried", began, flush=True)

async def main():
    async with ApiClient(RestClient(load_kubeconfig(kubeconfig))) as own:
        mgr = await manager.new(load_kubeconfig(kubeconfig), manager.Options(
            metrics=MetricsOptions(bind_address="0"),
            leader_election=True, leader_election_id="race",
            leader_election_resource_lock_interface=Lock(own, ObjectKey("default", "race"), name),
            lease_duration=LEASE, renew_deadline=LEASE - 20, retry_period=0.2, graceful_shutdown_timeout=1,
        ), clock=Clock())

        async def write():
            print("leading", flush=True)
            while True:
                if os.path.exists(stop):
                    signal.raise_signal(signal.SIGSTOP)
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
    """Processes that compete for one lease, with clocks that are as far ahead as a file is long."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._passed = folder / "passed"
        self._passed.touch()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._running: set[str] = set()
        self._lines: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._readers: list[asyncio.Task[None]] = []

    async def start(self, name: str) -> None:
        arguments = (self._kubeconfig, name, self._passed, self._folder / f"stop-{name}", LEASE)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CANDIDATE, *map(str, arguments), stdout=asyncio.subprocess.PIPE
        )
        self._processes[name] = process
        self._running.add(name)
        self._readers.append(asyncio.create_task(self._read(name, process)))

    async def _read(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for raw in process.stdout:
            self._lines.put_nowait((name, raw.decode().strip()))

    async def next(self, what: str) -> str:
        """Who says this next."""
        async with asyncio.timeout(100):
            while True:
                name, said = await self._lines.get()
                if said.startswith(what):
                    return name

    async def successor(self) -> str:
        """Lets time pass, and all that run try the lock in between, until one leads."""
        ahead = self._passed.stat().st_size
        async with asyncio.timeout(100):
            while True:
                ahead += STEP
                os.truncate(self._passed, ahead)
                late = set(self._running)
                while late:
                    name, said = await self._lines.get()
                    if said == "leading":
                        return name
                    if said == f"tried {ahead}":
                        late.discard(name)

    def kill(self, name: str) -> None:
        self._running.discard(name)
        self._processes[name].kill()

    async def freeze(self, name: str) -> None:
        """Stops a process that leads, between two of its writes: what has left already cannot be held back."""
        self._running.discard(name)
        (self._folder / f"stop-{name}").touch()
        pid = self._processes[name].pid
        await anyio.to_thread.run_sync(os.waitid, os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self, name: str) -> None:
        (self._folder / f"stop-{name}").unlink()
        self._processes[name].send_signal(signal.SIGCONT)

    async def exit_code(self, name: str) -> int:
        return await self._processes[name].wait()

    async def stop(self) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()
        await asyncio.gather(*self._readers)


async def test_another_process_takes_over_and_a_stopped_leader_writes_nothing_more(
    environment: Environment, writer: ApiClient, tmp_path: Path
) -> None:
    candidates = Candidates(environment.kubeconfig(tmp_path / "kubeconfig"), tmp_path)
    try:
        for name in ("a", "b", "c"):
            await candidates.start(name)
        leader = await candidates.next("leading")

        candidates.kill(leader)
        second = await candidates.successor()
        assert second != leader

        await candidates.freeze(second)
        third = await candidates.successor()
        assert third not in (leader, second)
        before = await writes_of(writer, second)
        candidates.thaw(second)
        assert await candidates.next("lost") == second
        assert await candidates.exit_code(second) == 3
        assert await writes_of(writer, second) == before
        lease = await writer.get(Lease, ObjectKey("default", "race"))
        assert lease.get("spec", "leaseTransitions") == 2
    finally:
        await candidates.stop()


async def writes_of(client: ApiClient, name: str) -> int:
    found = await client.list(ConfigMap, namespace="default")
    return sum(obj.metadata.name.startswith(f"by-{name}-") for obj in found)
