"""A real kube-apiserver behind a network that cuts, garbles and stalls; and a graceful stop under load."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bobrapet.runtime import cluster, manager
from bobrapet.runtime.builder import controller_managed_by
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.interfaces import Client
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import REAL_CLOCK, Clock, FakeClock
from bobrapet.runtime.controller.controller import Options as ControllerOptions
from bobrapet.runtime.controller.name import forget_names
from bobrapet.runtime.envtest import Environment
from bobrapet.runtime.leaderelection.resourcelock.leaselock import Lease
from bobrapet.runtime.metrics.server import Options as MetricsOptions
from bobrapet.runtime.reconcile import Request, Result
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.scheme import GroupVersionKind
from bobrapet.runtime.toolscache.listwatch import ListWatch
from bobrapet.runtime.toolscache.reflector import IDLE_GRACE, MIN_WATCH_TIMEOUT
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer
from tests.unit.runtime.controller_side.test_real import Ledger, together
from tests.unit.runtime.controller_side.trouble import TroubledProxy

pytestmark = pytest.mark.real

ConfigMap = Unstructured.of("v1", "ConfigMap")
Namespace = Unstructured.of("v1", "Namespace")
numbers = itertools.count()


@pytest.fixture
async def namespace(writer: ApiClient) -> str:
    name = f"network-{next(numbers)}"
    await writer.create(Namespace({"metadata": {"name": name}}))
    return name


@pytest.fixture
async def proxy(environment: Environment, tmp_path: Path) -> AsyncIterator[TroubledProxy]:
    async with TroubledProxy(environment.config, tmp_path) as running:
        yield running


@asynccontextmanager
async def followed(
    proxy: TroubledProxy, namespace: str, clock: Clock = REAL_CLOCK
) -> AsyncIterator[tuple[SharedIndexInformer, Ledger]]:
    """An informer of the ConfigMaps of a namespace that reaches the API server through the proxy."""
    async with RestClient(proxy.config) as rest:
        source = ListWatch(rest, f"/api/v1/namespaces/{namespace}/configmaps")
        informer = SharedIndexInformer(source, GroupVersionKind("", "v1", "ConfigMap"), clock=clock)
        ledger = Ledger()
        informer.add_event_handler(ledger)
        running = asyncio.create_task(informer.run())
        try:
            async with asyncio.timeout(60):
                await informer.synced.wait()
            yield informer, ledger
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def create(client: ApiClient, namespace: str, *names: str) -> dict[str, str]:
    """Creates ConfigMaps; name -> resourceVersion."""
    objects = [ConfigMap({"metadata": {"namespace": namespace, "name": name}, "data": {"n": "0"}}) for name in names]
    return {
        made.metadata.name: made.metadata.resource_version
        for made in await together([client.create(obj) for obj in objects])
    }


async def test_lines_that_arrive_in_small_pieces_are_put_together(
    proxy: TroubledProxy, writer: ApiClient, namespace: str
) -> None:
    proxy.piece = 7
    before = await create(writer, namespace, *(f"before-{number}" for number in range(20)))
    async with followed(proxy, namespace) as (_, ledger):
        after = await create(writer, namespace, *(f"after-{number}" for number in range(20)))
        await ledger.equals(before | after)
    assert proxy.watches == 1


async def test_garbage_in_a_watch_costs_no_event_and_no_new_list(
    proxy: TroubledProxy, writer: ApiClient, namespace: str
) -> None:
    async with followed(proxy, namespace) as (_, ledger):
        proxy.garbage = [
            b"<html>502 Bad Gateway</html>\n",
            b"\n",
            b'{"type":"ADDED"}\n',
            b'{"type":"ADDED","object":[1,2,3]}\n',
            b'{"type":"WONDER","object":{}}\n',
            b"\xff\xfe\x00\n",
            b'{"type":"ADDED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1"}}\n',
        ]
        made = await create(writer, namespace, *(f"event-{number}" for number in range(10)))
        await ledger.equals(made)
        assert not proxy.garbage, "all of it was sent"
    assert (proxy.watches, proxy.lists) == (1, 0)


async def test_a_watch_that_is_silent_without_being_closed_is_left_for_a_new_one(
    proxy: TroubledProxy, writer: ApiClient, namespace: str
) -> None:
    clock = FakeClock()
    async with followed(proxy, namespace, clock) as (informer, ledger):
        seen = await create(writer, namespace, "seen")
        await ledger.equals(seen)
        proxy.silent.set()
        proxy.silent = asyncio.Event()  # the next connection works again
        missed = await create(writer, namespace, *(f"missed-{number}" for number in range(5)))
        await clock.advance(2 * MIN_WATCH_TIMEOUT + IDLE_GRACE + 1)
        async with asyncio.timeout(60):
            await ledger.equals(seen | missed)
        assert informer.reflector is not None
        assert informer.reflector.metrics.relists == {"initial": 1}, "it went on where it was"
    assert proxy.watches == 2


WORKERS = 16


class Busy:
    """Writes for a while in each reconcile, which is never done."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self.begun = 0
        self.all_busy = asyncio.Event()
        self.finished = 0

    async def reconcile(self, request: Request) -> Result:
        self.begun += 1
        if self.begun == WORKERS:
            self.all_busy.set()
        for _ in range(20):
            metadata = {"namespace": self._namespace, "generateName": "busy-"}
            await self._client.create(ConfigMap({"metadata": metadata}))
            await asyncio.sleep(0.02)
        self.finished += 1
        return Result(requeue_after=0.001)


async def test_a_graceful_stop_lets_busy_workers_finish(
    environment: Environment, writer: ApiClient, namespace: str
) -> None:
    forget_names()
    options = cluster.Options(client_cache_unstructured=True)
    made = await manager.new(
        environment.config,
        manager.Options(
            cluster=options,
            metrics=MetricsOptions(bind_address="0"),
            leader_election=True,
            leader_election_id="busy",
            leader_election_namespace=namespace,
            leader_election_release_on_cancel=True,
            # Whoever shares the machine with this test may take it away for a while.
            lease_duration=300,
            renew_deadline=240,
            graceful_shutdown_timeout=120,
        ),
    )
    busy = Busy(made.get_client(), namespace)
    await (
        controller_managed_by(made)
        .for_(ConfigMap)
        .with_options(ControllerOptions(max_concurrent_reconciles=WORKERS))
        .complete(busy)
    )
    await create(writer, namespace, *(f"work-{number}" for number in range(WORKERS)))
    running = asyncio.create_task(made.start())
    async with asyncio.timeout(60):
        await busy.all_busy.wait()
    made.request_stop()
    await running
    assert busy.finished == busy.begun, "each reconcile that had begun came to its end"
    lease = await writer.get(Lease, ObjectKey(namespace, "busy"))
    assert not lease.get("spec", "holderIdentity", default=""), "the next leader need not wait"
