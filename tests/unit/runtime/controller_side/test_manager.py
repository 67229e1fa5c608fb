"""The manager: order, errors, probes, election (spec runtime 4.2, section 11)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from bobrapet.runtime import cluster, manager
from bobrapet.runtime.builder import controller_managed_by
from bobrapet.runtime.client.apiutil import RESTMapping
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.fake.client import ClientBuilder, FakeClient
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import REAL_CLOCK, Clock, FakeClock, settle
from bobrapet.runtime.controller.controller import Options as ControllerOptions
from bobrapet.runtime.controller.name import forget_names
from bobrapet.runtime.envtest import PortLease
from bobrapet.runtime.errors import ConnectionFailed
from bobrapet.runtime.healthz import Handler
from bobrapet.runtime.internal.httpserver.server import listen
from bobrapet.runtime.leaderelection.fake import FakeLease, FakeLock
from bobrapet.runtime.leaderelection.resourcelock.leaselock import Lease
from bobrapet.runtime.manager import (
    ControllerManager,
    GracefulShutdownTimeout,
    GroupStopped,
    LeaderElectionLost,
    ManagerError,
    runnable_func,
)
from bobrapet.runtime.metrics.server import Options as MetricsOptions
from bobrapet.runtime.reconcile import Func, Request
from bobrapet.runtime.scheme import GroupVersionKind

Widget = Unstructured.of("example.org/v1", "Widget")
Event = Unstructured.of("events.k8s.io/v1", "Event")


def fake() -> FakeClient:
    return (
        ClientBuilder()
        .with_rest_mapping(
            RESTMapping(GroupVersionKind("example.org", "v1", "Widget"), "widgets", True),
            RESTMapping(GroupVersionKind("events.k8s.io", "v1", "Event"), "events", True),
            RESTMapping(GroupVersionKind("coordination.k8s.io", "v1", "Lease"), "leases", True),
        )
        .build()
    )


async def new(client: FakeClient | None = None, clock: Clock = REAL_CLOCK, **options: Any) -> ControllerManager:
    forget_names()
    connected = client or fake()
    options.setdefault("metrics", MetricsOptions(bind_address="0"))
    cluster_options = cluster.Options(rest=connected.rest, mapper_provider=lambda rest: connected.rest_mapper)
    return await manager.new(None, manager.Options(cluster=cluster_options, **options), clock=clock)


@asynccontextmanager
async def running(mgr: ControllerManager) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(mgr.start())
    await settle()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Part:
    """A runnable that writes down when it starts and stops."""

    def __init__(self, log: list[str], name: str, *, leader: bool | None = None, ends: Exception | None = None) -> None:
        self.log = log
        self.name = name
        self.ends = ends
        if leader is not None:
            self.need_leader_election = lambda: leader

    async def start(self) -> None:
        self.log.append(f"start {self.name}")
        try:
            if self.ends is not None:
                raise self.ends
            await asyncio.Event().wait()
        finally:
            self.log.append(f"stop {self.name}")

    def __str__(self) -> str:
        return self.name


class HttpPart(Part):
    only_serve_when_leader = False

    async def ready(self) -> None: ...


class WebhookPart(HttpPart):
    def __init__(self, log: list[str], name: str) -> None:
        super().__init__(log, name)
        self.started_check: Callable[[], Any] = self.ready

    only_serve_when_leader: Any = property(lambda self: _absent())


def _absent() -> Any:
    raise AttributeError


class CachePart(Part):
    def __init__(self, log: list[str], name: str) -> None:
        super().__init__(log, name)
        self.filled = asyncio.Event()

    async def wait_for_cache_sync(self) -> bool:
        await self.filled.wait()
        self.log.append(f"ready {self.name}")
        return True


class WarmPart(Part):
    async def warmup(self) -> None:
        self.log.append(f"warm {self.name}")


@pytest.mark.spec("runtime-103")
async def test_the_parts_start_and_stop_in_their_order() -> None:
    log: list[str] = []
    mgr = await new()
    warm, cached = WarmPart(log, "elected"), CachePart(log, "cache")
    for part in (warm, Part(log, "other", leader=False), cached, WebhookPart(log, "webhook"), HttpPart(log, "http")):
        mgr.add(part)
    async with running(mgr):
        assert log == ["start http", "start webhook", "start cache"]
        cached.filled.set()
        await mgr.elected.wait()
        await settle()
        assert log[3:] == ["ready cache", "start other", "warm elected", "start elected"]
    assert log[7:] == ["stop other", "stop elected", "stop cache", "stop webhook", "stop http"]


@pytest.mark.spec("runtime-103")
async def test_readiness_waits_for_caches_and_liveness_does_not(clock: FakeClock) -> None:
    log: list[str] = []
    mgr = await new(clock=clock, health_probe_bind_address="127.0.0.1:0")
    cached = CachePart(log, "cache")
    mgr.add(cached)
    endpoints: Any = mgr._endpoints
    port = endpoints.servers()[0].port

    async def get(path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()

    async with running(mgr):
        await endpoints.servers()[0].ready()
        assert (await get("/healthz"))[0] == 200
        status, text = await get("/readyz")
        assert status == 500
        assert "[-]cache-sync failed: reason withheld" in text
        cached.filled.set()
        await mgr.elected.wait()
        assert await get("/readyz") == (200, "ok")
        assert await get("/healthz/ping") == (200, "ok")
        assert (await get("/healthz/nothing"))[0] == 404
        with pytest.raises(ManagerError, match="before the manager starts"):
            mgr.add_readyz_check("late", lambda: asyncio.sleep(0))


@pytest.mark.spec("runtime-104")
async def test_parts_added_while_running_start_at_once_and_none_after_the_stop() -> None:
    log: list[str] = []
    mgr = await new()
    async with running(mgr):
        mgr.add(Part(log, "late"))
        mgr.add(Part(log, "other", leader=False))
        await settle()
        assert log == ["start late", "start other"]
    with pytest.raises(GroupStopped):
        mgr.add(Part(log, "too late"))
    with pytest.raises(ManagerError, match="started already"):
        await mgr.start()


@pytest.mark.spec("runtime-104")
async def test_the_first_failure_stops_everything_and_is_raised() -> None:
    log: list[str] = []
    mgr = await new()
    mgr.add(Part(log, "good", leader=False))
    mgr.add(Part(log, "bad", ends=ValueError("first")))
    with pytest.raises(ValueError, match="first"):
        await mgr.start()
    assert log[-1] == "stop good"


@pytest.mark.spec("runtime-104")
async def test_a_failure_and_a_stop_that_takes_too_long_are_both_told(clock: FakeClock) -> None:
    mgr = await new(clock=clock, graceful_shutdown_timeout=5)

    class Stubborn(Part):
        async def start(self) -> None:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.log.append("asked to stop")
                    if len(self.log) > 1:
                        raise

    log: list[str] = []
    mgr.add(Stubborn(log, "stubborn", leader=False))
    mgr.add(Part([], "bad", ends=ValueError("first")))
    task = asyncio.create_task(mgr.start())
    await clock.advance(5)
    with pytest.raises(BaseExceptionGroup) as caught:
        await task
    failure, late = caught.value.exceptions
    assert isinstance(failure, ValueError)
    assert isinstance(late, GracefulShutdownTimeout)
    assert "others: stubborn" in str(late)
    assert log == ["asked to stop", "asked to stop"]


async def test_a_part_that_returns_early_is_no_failure() -> None:
    done: list[bool] = []

    async def once() -> None:
        done.append(True)

    mgr = await new()
    mgr.add(runnable_func(once))
    async with running(mgr) as task:
        assert done == [True]
        assert not task.done()


async def test_a_stop_that_was_asked_for_returns() -> None:
    mgr = await new()
    task = asyncio.create_task(mgr.start())
    await settle()
    mgr.request_stop()
    await task


async def test_busy_workers_get_their_time_then_are_cancelled(clock: FakeClock) -> None:
    client = fake()
    mgr = await new(client, clock, graceful_shutdown_timeout=5)
    ends: list[str] = []

    async def busy(request: Request) -> None:
        try:
            await clock.sleep(3 if request.name == "quick" else 1000)
            ends.append(f"{request.name} finished")
        except asyncio.CancelledError:
            ends.append(f"{request.name} cancelled")
            raise

    options: ControllerOptions[Any] = ControllerOptions(max_concurrent_reconciles=2)
    await controller_managed_by(mgr).for_(Widget).with_options(options).complete(Func(busy))
    for name in ("quick", "slow"):
        await client.create(Widget({"metadata": {"namespace": "ns", "name": name}}))
    task = asyncio.create_task(mgr.start())
    await clock.advance(1)
    mgr.request_stop()
    await clock.advance(5)
    with pytest.raises(GracefulShutdownTimeout, match="leader election: controller widget"):
        await task
    assert ends == ["quick finished", "slow cancelled"]


PROGRAM = """
import asyncio, sys
from bobrapet.runtime.manager import setup_signal_handler, SignalHandlerInstalled

async def main():
    stopping = asyncio.Event()
    setup_signal_handler(stopping.set)
    try:
        setup_signal_handler(stopping.set)
    except SignalHandlerInstalled:
        print("ready", flush=True)
    await stopping.wait()
    print("stopping", flush=True)
    if "stuck" in sys.argv:
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.spec("runtime-105")
@pytest.mark.parametrize(("arguments", "signals", "code"), [([], 1, 0), (["stuck"], 2, 1)])
async def test_the_first_signal_stops_and_the_second_ends(arguments: list[str], signals: int, code: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        for expected in ("ready", "stopping")[:signals]:
            assert (await process.stdout.readline()).decode().strip() == expected
            process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 120) == code
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def answer(checks: dict[str, Any], subpath: str = "", query: str = "") -> tuple[int, str]:
    return await Handler("healthz", checks).answer(subpath, query)


@pytest.mark.spec("runtime-106")
async def test_probes_answer_in_the_words_of_kubernetes() -> None:
    async def well() -> None: ...

    async def ill() -> None:
        raise OSError("the disk, which is /dev/sdb")

    assert await answer({"b": well, "a": well}) == (200, "ok")
    assert await answer({"b": well, "a": well}, query="verbose") == (
        200,
        "[+]a ok\n[+]b ok\nhealthz check passed\n",
    )
    status, text = await answer({"b": well, "a": ill})
    assert (status, text) == (500, "[-]a failed: reason withheld\n[+]b ok\nhealthz check failed\n")
    assert await answer({"b": well, "a": ill}, query="exclude=a") == (200, "ok")
    assert await answer({"b": well, "a": ill}, query="verbose&exclude=a&exclude=zz&exclude=yy") == (
        200,
        "[+]a excluded: ok\n[+]b ok\nwarn: some health checks cannot be excluded: "
        'no matches for "yy", "zz"\nhealthz check passed\n',
    )
    assert await answer({"a": ill}, "a") == (500, "internal server error: the disk, which is /dev/sdb\n")
    assert await answer({"a": well}, "/a/") == (200, "ok")
    assert (await answer({"a": well}, "b"))[0] == 404
    assert await answer({}) == (200, "ok")
    assert await answer({}, "ping") == (200, "ok")


@pytest.mark.spec("runtime-98")
async def test_a_manager_that_loses_its_lease_ends_without_waiting(clock: FakeClock) -> None:
    lock = FakeLock(FakeLease(), "me")
    log: list[str] = []
    mgr = await new(
        clock=clock, leader_election=True, leader_election_id="id", leader_election_resource_lock_interface=lock
    )
    mgr.add(Part(log, "worker"))
    task = asyncio.create_task(mgr.start())
    await clock.advance(1)
    assert log == ["start worker"]
    lock.error = ConnectionFailed("gone")
    await clock.advance(15)
    with pytest.raises(LeaderElectionLost):
        await task
    assert log == ["start worker", "stop worker"]


async def test_a_manager_that_was_never_elected_does_not_start_its_workers(clock: FakeClock) -> None:
    lease = FakeLease()
    other = FakeLock(lease, "other")
    log: list[str] = []
    mgr = await new(
        clock=clock,
        leader_election=True,
        leader_election_id="id",
        leader_election_resource_lock_interface=FakeLock(lease, "me"),
    )
    from bobrapet.runtime.leaderelection.resourcelock import LeaderElectionRecord

    await other.create(LeaderElectionRecord("other", 15))
    mgr.add(Part(log, "worker"))
    mgr.add(Part(log, "everywhere", leader=False))
    async with running(mgr):
        await clock.advance(3)
        assert log == ["start everywhere"]
    assert log == ["start everywhere", "stop everywhere"]


@pytest.mark.spec("runtime-102")
async def test_the_lease_is_released_after_the_workers_and_before_the_events_end(clock: FakeClock) -> None:
    client = fake()
    order: list[str] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(client.rest, name)

        async def request(self, method: str, path: str, *args: Any, **options: Any) -> bytes:
            if method == "PUT" and "leases" in path:
                order.append("lease written")
            if "events" in path and any(b"stopped leading" in part for part in args if isinstance(part, bytes)):
                order.append("event written")
            return await client.rest.request(method, path, *args, **options)

    forget_names()
    rest: Any = Watched()
    mgr = await manager.new(
        None,
        manager.Options(
            cluster=cluster.Options(rest=rest, mapper_provider=lambda _: client.rest_mapper),
            metrics=MetricsOptions(bind_address="0"),
            leader_election=True,
            leader_election_id="id",
            leader_election_namespace="ns",
            leader_election_release_on_cancel=True,
        ),
        clock=clock,
    )
    mgr.add(Part(order, "worker"))
    async with running(mgr):
        await mgr.elected.wait()
        await settle()
    assert order == ["start worker", "stop worker", "lease written", "event written"]
    lease = await client.get(Lease, ObjectKey("ns", "id"))
    assert not lease.get("spec", "holderIdentity")


async def test_the_client_of_a_manager_reads_from_the_cache_only_when_it_runs() -> None:
    from bobrapet.runtime.cache import CacheNotStarted
    from bobrapet.runtime.client.object import PartialObjectMetadata

    client = fake()
    await client.create(Widget({"metadata": {"namespace": "ns", "name": "w"}}))
    mgr = await new(client)
    key = ObjectKey("ns", "w")
    partial = PartialObjectMetadata.of("example.org/v1", "Widget")
    with pytest.raises(CacheNotStarted):
        await mgr.get_client().get(partial, key)
    assert (await mgr.get_api_reader().get(Widget, key)).metadata.name == "w"
    async with running(mgr):
        assert (await mgr.get_client().get(partial, key)).metadata.name == "w"
    assert isinstance(mgr.get_client(), ApiClient)


@pytest.mark.spec("runtime-113")
async def test_nothing_runs_on_after_a_manager_with_everything_in_it(clock: FakeClock) -> None:
    client = fake()
    await client.create(Widget({"metadata": {"namespace": "ns", "name": "w"}}))
    before = asyncio.all_tasks()
    mgr = await new(
        client,
        clock,
        metrics=MetricsOptions(bind_address="127.0.0.1:0"),
        health_probe_bind_address="127.0.0.1:0",
        pprof_bind_address="127.0.0.1:0",
        leader_election=True,
        leader_election_id="id",
        leader_election_resource_lock_interface=FakeLock(FakeLease(), "me"),
    )
    reconciled = asyncio.Event()

    async def reconcile(request: Request) -> None:
        widget = await client.get(Widget, request.key)
        mgr.get_event_recorder("test").event(widget, None, "Normal", "Seen", "See", "seen")
        reconciled.set()

    await controller_managed_by(mgr).for_(Widget).complete(Func(reconcile))
    async with running(mgr):
        await reconciled.wait()
        assert len(asyncio.all_tasks() - before) > 10
    assert asyncio.all_tasks() == before
    assert len(await client.list(Event)) == 1


SERVING: dict[str, Any] = {
    "health_probe_bind_address": "127.0.0.1:0",
    "metrics": MetricsOptions(bind_address="127.0.0.1:0"),
    "pprof_bind_address": "127.0.0.1:0",
}


def ports_of(mgr: ControllerManager) -> list[int]:
    endpoints: Any = mgr._endpoints
    return [server.port for server in endpoints.servers() if hasattr(server, "port")]


def take(ports: list[int]) -> None:
    """Raises `OSError` when somebody still listens on one of them."""
    for port in ports:
        listen(f"127.0.0.1:{port}").close()


async def test_a_manager_that_is_discarded_gives_its_ports_back() -> None:
    mgr = await new(**SERVING)
    ports = ports_of(mgr)
    with pytest.raises(OSError, match="in use"):
        take(ports[:1])
    await mgr.discard()
    assert len(ports) == 3
    take(ports)


async def test_a_manager_that_is_stopped_before_its_servers_had_a_turn_gives_its_ports_back(clock: FakeClock) -> None:
    mgr = await new(clock=clock, **SERVING)
    ports = ports_of(mgr)
    mgr.request_stop()
    await mgr.start()
    take(ports)


async def test_a_manager_that_finds_a_port_taken_gives_the_others_back() -> None:
    with listen("127.0.0.1:0") as theirs, PortLease() as lease:
        ours = lease.take()
        taken = f"127.0.0.1:{theirs.getsockname()[1]}"
        with pytest.raises(OSError, match="in use") as raised:
            await new(**SERVING | {"health_probe_bind_address": f"127.0.0.1:{ours}", "pprof_bind_address": taken})
        take([ours])
        assert raised.value.__traceback__ is not None  # which would keep alive what is not closed
