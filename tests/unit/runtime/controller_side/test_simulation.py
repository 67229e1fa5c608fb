"""Randomised runs in virtual time: whatever the API server does, the cache comes to hold what the server holds, and
every change is followed by a reconcile that sees it, or something newer.

One seed is one run, with its own server, its own faults and its own order of events; a failing seed can be repeated.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.controller.controller import Options, new_unmanaged
from bobrapet.runtime.controller.name import forget_names
from bobrapet.runtime.errors import ConnectionFailed, Expired, InternalError, RequestTimeout, TooManyRequests
from bobrapet.runtime.handler import EnqueueRequestForObject
from bobrapet.runtime.reconcile import ReconcileError, Request, Result
from bobrapet.runtime.source import Informer
from bobrapet.runtime.toolscache.listwatch import RawList
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer
from tests.unit.runtime.controller_side.controllers import Manager
from tests.unit.runtime.controller_side.fakes import WIDGET, bookmark, line, status, widget

NAMES = [f"w{number}" for number in range(8)]


class Server:
    """A collection with a history, and moods."""

    def __init__(self, rng: random.Random, clock: FakeClock) -> None:
        self.rng = rng
        self.clock = clock
        self.version = 1
        self.floor = 0
        self.objects: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.trouble = 0.0
        """Chance that anything fails at any point."""

        self.changed = asyncio.Event()

    def change(self) -> None:
        """Creates, changes, deletes or recreates one object."""
        name = self.rng.choice(NAMES)
        self.version += 1
        if name not in self.objects:
            self.objects[name] = widget(name, self.version, uid=f"uid-{self.version}", spec={"at": self.version})
            self._happened("ADDED", self.objects[name])
        elif self.rng.random() < 0.3:
            gone = copy.deepcopy(self.objects.pop(name))
            gone["metadata"]["resourceVersion"] = str(self.version)
            self._happened("DELETED", gone)
        else:
            changed = copy.deepcopy(self.objects[name])
            changed["metadata"]["resourceVersion"] = str(self.version)
            changed["spec"]["at"] = self.version
            self.objects[name] = changed
            self._happened("MODIFIED", changed)

    def compact(self) -> None:
        """Forgets the past."""
        self.floor = self.version

    def _happened(self, kind: str, obj: dict[str, Any]) -> None:
        self.history.append((self.version, kind, copy.deepcopy(obj)))
        self.changed.set()
        self.changed = asyncio.Event()

    # ListerWatcher

    async def list(self, params: Mapping[str, str]) -> RawList:
        await self._mood()
        wanted = params.get("resourceVersion", "")
        if wanted not in ("", "0") and int(wanted) < self.floor and self.rng.random() < 0.3:
            raise Expired("too old")
        names = sorted(self.objects)
        start = int(params.get("continue", "0"))
        if start and self.rng.random() < self.trouble:
            raise Expired("the snapshot is gone")
        # A page of the present state, with the version of the first page: a snapshot would need a copy per token, so
        # pages are made large enough to hold everything unless nothing is going on.
        limit = len(names) or 1
        items = [msgspec.Raw(json.dumps(self.objects[name]).encode()) for name in names[start : start + limit]]
        answer = RawList(items, str(self.version))
        await self._mood()
        return answer

    @asynccontextmanager
    async def watch(self, params: Mapping[str, str]) -> AsyncIterator[_Lines]:
        await self._mood()
        wanted = params.get("resourceVersion", "")
        if wanted and int(wanted) < self.floor and "sendInitialEvents" not in params:
            raise Expired("too old resource version")
        yield _Lines(self, params)

    async def _mood(self) -> None:
        """A delay, perhaps a failure."""
        rng = self.rng
        if rng.random() < 0.5:
            await self.clock.sleep(rng.uniform(0, 0.5))
        if rng.random() < self.trouble:
            raise rng.choice(
                [
                    ConnectionFailed("refused", refused=True),
                    RequestTimeout("slow"),
                    TooManyRequests("busy", retry_after=rng.choice([None, 1.0])),
                    InternalError("etcd"),
                ]
            )


class _Lines:
    """One watch: sends what happened, some of it twice, late, or not to the end."""

    def __init__(self, server: Server, params: Mapping[str, str]) -> None:
        self.server = server
        self.params = params

    async def batches(self) -> AsyncIterator[list[bytes]]:
        server, rng = self.server, self.server.rng
        if "sendInitialEvents" in self.params:
            sent = server.version
            present = [line("ADDED", obj) for obj in server.objects.values()]
            rng.shuffle(present)
            if rng.random() < server.trouble:
                yield present[: len(present) // 2] or [b"garbage"]
                raise ConnectionFailed("broke off")
            yield [*present, bookmark(sent, ends_initial=True)]
        else:
            sent = int(self.params["resourceVersion"])
        while True:
            waiting = server.changed
            events = [event for event in server.history if event[0] > sent]
            if not events:
                await waiting.wait()
                continue
            if sent < server.floor and rng.random() < 0.2:
                yield [line("ERROR", status(410, "Expired"))]
                return
            if rng.random() < 0.5:
                await server.clock.sleep(rng.uniform(0, 2))
            for version, kind, obj in events[: rng.randint(1, len(events))]:
                batch = [line(kind, obj)] * (2 if rng.random() < server.trouble else 1)
                if rng.random() < server.trouble:
                    batch.append(b'{"type":"ADDED","object":{"met')
                if rng.random() < 0.1:
                    batch.append(bookmark(version))
                sent = version
                yield batch
                if rng.random() < server.trouble / 2:
                    if rng.random() < 0.5:
                        raise ConnectionFailed("reset by peer")
                    return

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("reflectors read batches")


async def simulate(seed: int) -> None:
    rng = random.Random(seed)
    clock = FakeClock()
    forget_names()
    server = Server(rng, clock)
    for _ in range(rng.randint(0, 10)):
        server.change()
    server.trouble = rng.choice([0.0, 0.05, 0.2])
    informer = SharedIndexInformer(
        server, WIDGET, clock=clock, rng=rng, streaming_lists=rng.random() < 0.5, bookmarks=rng.random() < 0.8
    )
    seen: dict[str, int] = {}

    class Reconciler:
        def __init__(self) -> None:
            self.active: set[Request] = set()

        async def reconcile(self, request: Request) -> Result | None:
            assert request not in self.active, "one key was reconciled twice at once"
            self.active.add(request)
            try:
                record = informer.store.get_by_key(ObjectKey(*request))
                at = -1 if record is None else record.decode(Unstructured).object["spec"]["at"]
                await clock.sleep(rng.uniform(0, 0.3))
                if rng.random() < server.trouble:
                    raise ReconcileError("a bad day")
                seen[request.name] = at
            finally:
                self.active.discard(request)
            return None

    manager: Any = Manager(clock)
    options: Options[Any] = Options(reconciler=Reconciler(), max_concurrent_reconciles=rng.randint(1, 4))
    controller = new_unmanaged("simulated", manager, options)
    await controller.watch(Informer(informer, Unstructured, EnqueueRequestForObject()))
    tasks = [asyncio.create_task(informer.run()), asyncio.create_task(controller.start())]
    ever: set[str] = set()
    try:
        for _ in range(rng.randint(20, 60)):
            server.change()
            if rng.random() < 0.1:
                server.compact()
            ever |= server.objects.keys() & informer_names(informer)
            await clock.advance(rng.choice([0, 0, 0.1, 1, 5]))
        server.trouble = 0.0
        await clock.advance(700)  # longer than any back-off and any watch
        expected = {name: obj["metadata"]["resourceVersion"] for name, obj in server.objects.items()}
        stored = {record.key.name: record.metadata.resource_version for record in informer.store.list()}
        assert stored == expected, f"seed {seed}: the cache differs from the server"
        for name in NAMES:
            if name in server.objects:
                assert seen.get(name) == server.objects[name]["spec"]["at"], f"seed {seed}: {name} was not reconciled"
            elif name in ever:
                assert seen.get(name) == -1, f"seed {seed}: nobody saw that {name} is gone"
        assert not any(task.done() for task in tasks), f"seed {seed}: something ended"
    finally:
        for task in tasks:
            task.cancel()
        await settle()
        await asyncio.gather(*tasks, return_exceptions=True)


def informer_names(informer: SharedIndexInformer) -> set[str]:
    return {record.key.name for record in informer.store.list()}


@pytest.mark.parametrize("block", range(10))
async def test_the_cache_converges_and_every_change_is_reconciled(block: int) -> None:
    for seed in range(block * 15, (block + 1) * 15):
        await simulate(seed)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_thousands_of_seeds() -> None:
    for seed in range(1000, 6000):
        await simulate(seed)
