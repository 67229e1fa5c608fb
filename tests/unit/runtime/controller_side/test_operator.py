"""A whole operator over the fake API server: manager, cache, controller, recorder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bobrapet.runtime import cluster, manager
from bobrapet.runtime.builder import controller_managed_by
from bobrapet.runtime.client.apiutil import RESTMapping
from bobrapet.runtime.client.fake.client import ClientBuilder, FakeClient
from bobrapet.runtime.client.interfaces import ignore_already_exists
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.client.patch import merge_from
from bobrapet.runtime.clock import REAL_CLOCK, Clock, FakeClock
from bobrapet.runtime.controller.controllerutil import set_controller_reference
from bobrapet.runtime.controller.name import forget_names
from bobrapet.runtime.errors import NotFound
from bobrapet.runtime.leaderelection.fake import FakeLease, FakeLock
from bobrapet.runtime.manager import ControllerManager
from bobrapet.runtime.metrics.server import Options as MetricsOptions
from bobrapet.runtime.reconcile import Request, Result
from bobrapet.runtime.scheme import GroupVersionKind

Widget = Unstructured.of("example.org/v1", "Widget")
Job = Unstructured.of("batch/v1", "Job")
Event = Unstructured.of("events.k8s.io/v1", "Event")
POD = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}}


@pytest.fixture(autouse=True)
def fresh_names() -> None:
    forget_names()


def fake() -> FakeClient:
    return (
        ClientBuilder()
        .with_rest_mapping(
            RESTMapping(GroupVersionKind("example.org", "v1", "Widget"), "widgets", True),
            RESTMapping(GroupVersionKind("batch", "v1", "Job"), "jobs", True),
            RESTMapping(GroupVersionKind("events.k8s.io", "v1", "Event"), "events", True),
        )
        .with_status_subresource(Widget)
        .build()
    )


async def new_manager(
    client: FakeClient, *, clock: Clock = REAL_CLOCK, rest: Any = None, **options: Any
) -> ControllerManager:
    cluster_options = cluster.Options(
        rest=rest or client.rest,
        mapper_provider=lambda rest: client.rest_mapper,
        client_cache_unstructured=True,
        read_your_writes=True,
    )
    return await manager.new(
        None,
        manager.Options(cluster=cluster_options, metrics=MetricsOptions(bind_address="0"), **options),
        clock=clock,
    )


@asynccontextmanager
async def running(mgr: ControllerManager) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(mgr.start())
    try:
        yield task
    finally:
        mgr.request_stop()
        await task


async def until(client: FakeClient, cls: type[Unstructured], holds: Callable[[Unstructured], bool]) -> Unstructured:
    """Waits for an object in a state, a minute at most."""
    async with asyncio.timeout(60), client.watch(cls, resource_version="0") as events:
        async for event in events:
            if holds(event.object):
                return event.object
    raise AssertionError("the watch ended")


def is_w(obj: Unstructured) -> bool:
    return bool(obj.metadata.name == "w")


class JobMaker:
    """Makes a Job for each Widget, and copies whether it is done into the status of the Widget."""

    def __init__(self, mgr: ControllerManager) -> None:
        self.client = mgr.get_client()
        self.scheme = mgr.scheme
        self.recorder = mgr.get_event_recorder("widget-controller")
        self.calls = 0

    async def reconcile(self, request: Request) -> Result | None:
        self.calls += 1
        try:
            widget = await self.client.get(Widget, request.key)
        except NotFound:
            return None
        try:
            job = await self.client.get(Job, request.key)
        except NotFound:
            job = Job(
                {
                    "metadata": {"namespace": request.namespace, "name": request.name},
                    "spec": {"template": POD},
                }
            )
            set_controller_reference(widget, job, self.scheme)
            with ignore_already_exists():
                await self.client.create(job)
                self.recorder.event(widget, None, "Normal", "JobMade", "Create", f"made {request}")
        phase = "Done" if job.get("status", "succeeded") else "Running"
        if widget.get("status", "phase") != phase:
            base = widget.deep_copy()
            widget.set("status", "phase", value=phase)
            await self.client.status().patch(widget, merge_from(base))
        return None


async def test_an_operator_follows_its_kind_and_what_it_owns() -> None:
    client = fake()
    mgr = await new_manager(client)
    reconciler = JobMaker(mgr)
    await controller_managed_by(mgr).for_(Widget).owns(Job).complete(reconciler)
    await client.create(Widget({"metadata": {"namespace": "ns", "name": "before"}}))
    async with running(mgr):
        await mgr.elected.wait()
        await client.create(Widget({"metadata": {"namespace": "ns", "name": "w"}}))
        await until(client, Widget, lambda widget: is_w(widget) and widget.get("status", "phase") == "Running")
        job = await until(client, Job, is_w)
        job.set("status", "succeeded", value=1)
        await client.status().update(job)
        await until(client, Widget, lambda widget: is_w(widget) and widget.get("status", "phase") == "Done")
        await until(client, Widget, lambda widget: not is_w(widget) and widget.get("status", "phase") == "Running")
    events = await client.list(Event)
    assert {event.object["regarding"]["name"] for event in events} == {"before", "w"}
    assert all(event.object["reportingController"] == "widget-controller" for event in events)


class LateWatches:
    """The fake server, whose watches tell everything half a second late."""

    def __init__(self, server: Any, clock: FakeClock) -> None:
        self._server = server
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    @asynccontextmanager
    async def stream(self, *args: Any, **options: Any) -> AsyncIterator[LateLines]:
        async with self._server.stream(*args, **options) as lines:
            yield LateLines(lines, self._clock)


class LateLines:
    def __init__(self, lines: Any, clock: FakeClock) -> None:
        self._lines = lines
        self._clock = clock

    async def batches(self) -> AsyncIterator[list[bytes]]:
        async for batch in self._lines.batches():
            await self._clock.sleep(0.5)
            yield batch


async def test_a_reconciler_reads_its_own_writes(clock: FakeClock) -> None:
    client = fake()
    mgr = await new_manager(client, clock=clock, rest=LateWatches(client.rest, clock))
    seen: list[int] = []

    class Counter:
        async def reconcile(self, request: Request) -> Result | None:
            cached = mgr.get_client()
            widget = await cached.get(Widget, request.key)
            count = int(widget.get("status", "count", default=0))
            seen.append(count)
            if count < 20:
                base = widget.deep_copy()
                widget.set("status", "count", value=count + 1)
                await cached.status().patch(widget, merge_from(base))
                return Result(requeue_after=0.0001)
            return None

    await controller_managed_by(mgr).for_(Widget).complete(Counter())
    await client.create(Widget({"metadata": {"namespace": "ns", "name": "w"}}))
    async with running(mgr):
        counted = asyncio.create_task(until(client, Widget, lambda widget: widget.get("status", "count") == 20))
        while not counted.done():
            await clock.advance(0.1)
        await counted
        await clock.advance(1)  # until the watch has told the last one too
    assert seen[:20] == list(range(20))
    assert set(seen[20:]) <= {20}


@pytest.mark.parametrize("first", range(0, 160, 40))
async def test_a_stop_at_any_moment_of_the_start_takes_no_time(first: int) -> None:
    for turns in range(first, first + 40):
        client = fake()
        lock = FakeLock(FakeLease(), "me")
        clock = FakeClock()
        mgr = await new_manager(
            client,
            clock=clock,
            leader_election=True,
            leader_election_id="id",
            leader_election_release_on_cancel=True,
            leader_election_resource_lock_interface=lock,
            health_probe_bind_address="127.0.0.1:0",
        )
        await controller_managed_by(mgr).for_(Widget).owns(Job).complete(JobMaker(mgr))
        await client.create(Widget({"metadata": {"namespace": "ns", "name": "w"}}))
        starting = asyncio.create_task(mgr.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        mgr.request_stop()
        async with asyncio.timeout(60):  # virtual time stands still: whoever waits for a deadline waits for ever
            await starting
        forget_names()
