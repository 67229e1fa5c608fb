"""An API server in memory, and a client that answers when the simulation lets it.

The server keeps the truth and, for each kind, the log of everything that happened. Every request of an operator waits
for its turn; the turn may come late, fail before anything happened, or fail after it did. The cache of an operator has
seen a prefix of each log, of another length for each kind.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from bobrapet.api.timestamps import format_time
from bobrapet.runtime.cache.informertest import FakeInformer, FakeInformers
from bobrapet.runtime.cache.internal.cache_reader import CacheReader
from bobrapet.runtime.client.apiutil import gvk_for_class
from bobrapet.runtime.client.object import ObjectKey, ObjectList, from_dict, to_dict
from bobrapet.runtime.client.selectors import LabelSelector
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.errors import AlreadyExists, Conflict, ConnectionFailed, NotFound
from bobrapet.runtime.scheme import GroupVersionKind, Scheme
from bobrapet.runtime.toolscache.record import Record, RecordDecoder
from tests.unit.engine.world import merged

T = TypeVar("T")
Object = dict[str, Any]
Choice = tuple[float, str, Callable[[], Any]]
"""Something that may happen: its weight, what to tell (empty: it tells itself), and what brings it about."""

GO, FAIL, LOSE = "goes through", "fails", "happens, but its answer is lost"


def _copied(obj: Object) -> Object:
    return msgspec.json.decode(msgspec.json.encode(obj))  # type: ignore[no-any-return]


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Change:
    """One entry of a log."""

    record: Record
    is_deleted: bool = False


class Server:
    """The truth."""

    def __init__(self, clock: FakeClock, salt: str) -> None:
        """`salt`: a part of all uids. Graphs of Stories are remembered by uid, so no two simulations share one."""
        self.clock = clock
        self.version = 0
        self.objects: dict[str, dict[ObjectKey, Object]] = {}
        self.log: dict[str, list[Change]] = {}
        self.deleted: set[str] = set()
        """Uids of what is gone."""
        self.written: Counter[str] = Counter()
        """Writes of operators that were not refused, by verb and kind."""
        self.check: Callable[[str, Object | None, Object], None] = lambda kind, old, new: None
        """Called before a change is stored; raises `Broken` when it must not be."""
        self.broken: Exception | None = None
        """The first change that must not be; whoever made it may have swallowed the exception."""
        self._salt = salt

    def of(self, kind: str) -> dict[ObjectKey, Object]:
        return self.objects.setdefault(kind, {})

    def get(self, kind: str, name: str, namespace: str = "wf") -> Object | None:
        return self.of(kind).get(ObjectKey(namespace, name))

    def create(self, kind: str, obj: Object) -> Object:
        obj = _copied(obj)
        metadata = obj["metadata"]
        key = ObjectKey(metadata.get("namespace") or "", metadata["name"])
        if key in self.of(kind):
            raise AlreadyExists(f"{kind} {key} exists")
        metadata |= {"uid": f"uid-{self._salt}-{self.version + 1}", "generation": 1}
        metadata["creationTimestamp"] = format_time(self.clock.now())
        obj.pop("status", None)
        return self._store(kind, key, None, obj)

    def patch(self, kind: str, key: ObjectKey, patch: Object, *, status: bool = False) -> Object:
        old = self.of(kind).get(key)
        if old is None:
            raise NotFound(f"{kind} {key} is gone")
        asked = patch.get("metadata", {})
        for name in ("resourceVersion", "uid"):
            if asked.get(name, old["metadata"][name]) != old["metadata"][name]:
                raise Conflict(f"{kind} {key} is another version")
        if status:
            new = {**old, "status": merged(old.get("status", {}), patch.get("status", {}))}
        else:
            new = merged(old, {name: value for name, value in patch.items() if name != "status"})
            if new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] += 1
        return old if new == old else self._store(kind, key, old, _copied(new))

    def delete(self, kind: str, key: ObjectKey, uid: str | None = None) -> None:
        old = self.of(kind).get(key)
        if old is None:
            raise NotFound(f"{kind} {key} is gone")
        if uid is not None and old["metadata"]["uid"] != uid:
            raise Conflict(f"{kind} {key} is another object")
        del self.of(kind)[key]
        self.deleted.add(old["metadata"]["uid"])
        self.version += 1
        gone = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.version)}}
        self._note(kind, gone, is_deleted=True)

    def collect(self) -> bool:
        """Deletes one object whose owner is gone; says whether there was one."""
        uids = {obj["metadata"]["uid"] for objects in self.objects.values() for obj in objects.values()}
        for kind, objects in self.objects.items():
            for key, obj in objects.items():
                owners = obj["metadata"].get("ownerReferences", ())
                if owners and not any(owner["uid"] in uids for owner in owners):
                    self.delete(kind, key)
                    return True
        return False

    def _store(self, kind: str, key: ObjectKey, old: Object | None, new: Object) -> Object:
        try:
            self.check(kind, old, new)
        except Exception as error:
            self.broken = self.broken or error
            raise
        self.version += 1
        new = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self.version)}}
        self.of(kind)[key] = new
        self._note(kind, new)
        return new

    def _note(self, kind: str, obj: Object, *, is_deleted: bool = False) -> None:
        decoder = RecordDecoder(GroupVersionKind.parse(obj["apiVersion"], kind))
        record = decoder.decode(msgspec.json.encode({**obj, "kind": kind}))
        self.log.setdefault(kind, []).append(Change(record, is_deleted))


class Informer(FakeInformer):
    """Follows the log of one kind as far as it is told to."""

    def __init__(self, gvk: Any, server: Server, behind: int) -> None:
        super().__init__(gvk)
        self._log = server.log.setdefault(gvk.kind, [])
        self.seen = max(0, len(self._log) - behind)
        for change in self._log[: self.seen]:
            if change.is_deleted:
                self.inner.store.delete(change.record.key)
            else:
                self.inner.store.add(change.record)

    @property
    def behind(self) -> int:
        return len(self._log) - self.seen

    async def deliver(self, count: int) -> None:
        """Tells the handlers of the next changes."""
        for _ in range(count):
            if not self.behind:
                return  # a reader that waits for its writes was faster
            change = self._log[self.seen]
            self.seen += 1
            record, store = change.record, self.inner.store
            old = store.get_by_key(record.key)
            if change.is_deleted:
                store.delete(record.key)
            else:
                store.add(record)
            for registration in list(self._registrations):
                if change.is_deleted:
                    await registration.handler.on_delete(record)
                elif old is None:
                    await registration.handler.on_add(record, False)
                else:
                    await registration.handler.on_update(old, record)

    def add_event_handler(self, handler: Any, resync_period: float | None = None) -> Any:
        registration = super().add_event_handler(handler, resync_period)
        listed = list(self.inner.store.list())

        async def wait_for_sync() -> None:
            for record in listed:
                await handler.on_add(record, True)

        registration.wait_for_sync = wait_for_sync  # type: ignore[method-assign]
        return registration


class Cache(FakeInformers):
    """What one operator has seen."""

    def __init__(self, scheme: Scheme, server: Server, behind: Callable[[], int]) -> None:
        super().__init__(scheme)
        self._server = server
        self._behind = behind
        self._readers: dict[FakeInformer, CacheReader] = {}

    @property
    def informers(self) -> dict[str, Informer]:
        return {gvk.kind: informer for gvk, informer in self._informers.items() if isinstance(informer, Informer)}

    def informer(self, cls: type[Any]) -> FakeInformer:
        gvk = gvk_for_class(cls, self._scheme)
        found = self._informers.get(gvk)
        if found is None:
            found = self._informers[gvk] = Informer(gvk, self._server, self._behind())
        return found

    def reader(self, cls: type[Any]) -> CacheReader:
        informer = self.informer(cls)
        if informer not in self._readers:
            self._readers[informer] = CacheReader(informer.inner)
        return self._readers[informer]


@dataclass
class Call:
    """A request on its way."""

    what: str
    answer: asyncio.Future[str]


@dataclass
class Wire:
    """The connection of one operator; its requests wait here until the simulation picks one."""

    calls: list[Call] = field(default_factory=list)
    is_cut: bool = False
    """Whether the operator may not send anything any more: it is no longer the leader."""

    async def turn(self, what: str) -> str:
        if self.is_cut:
            raise ConnectionFailed(f"{what}: this operator does not lead any more")
        call = Call(what, asyncio.get_running_loop().create_future())
        self.calls.append(call)
        return await call.answer


class Client:
    """Reads from the cache or, live, from the server; writes to the server."""

    def __init__(self, server: Server, cache: Cache, wire: Wire, *, sees_its_writes: bool, live: bool = False) -> None:
        self._server = server
        self._cache = cache
        self._wire = wire
        self._sees_its_writes = sees_its_writes
        self._live = live
        self._written: dict[str, int] = {}

    async def get(self, cls: type[T], key: ObjectKey, **_: Any) -> T:
        if not self._live:
            await self._catch_up(cls)
            return self._cache.reader(cls).get(cls, key, share=True)
        kind = gvk_for_class(cls, self._cache._scheme).kind
        await self._turn(f"get {kind} {key.name}")
        found = self._server.of(kind).get(key)
        if found is None:
            raise NotFound(f"{kind} {key} is not there")
        return from_dict(cls, _copied(found))

    async def list(self, cls: type[T], *, namespace: str | None = None, labels: Any = None, **options: Any) -> Any:
        if not self._live:
            await self._catch_up(cls)
            return await self._cache.reader(cls).list(cls, namespace=namespace, labels=labels, share=True, **options)
        kind = gvk_for_class(cls, self._cache._scheme).kind
        await self._turn(f"list {kind}")
        selector = LabelSelector.parse(labels)
        found = [obj for obj in self._server.of(kind).values() if selector.matches(obj["metadata"].get("labels"))]
        return ObjectList(items=[from_dict(cls, _copied(obj)) for obj in found])

    async def create(self, obj: T, **_: Any) -> T:
        kind, raw = obj.kind, to_dict(obj)  # type: ignore[attr-defined]
        what = f"create {kind} {raw['metadata']['name']}"
        return from_dict(type(obj), await self._write(what, kind, lambda: self._server.create(kind, raw)))

    async def patch(self, obj: T, patch: Any, *, status: bool = False, **_: Any) -> T:
        key, kind = ObjectKey.of(obj), obj.kind  # type: ignore[attr-defined]
        body = msgspec.json.decode(patch.body(obj))
        what = f"patch {kind}{'/status' if status else ''} {key.name}"
        stored = await self._write(what, kind, lambda: self._server.patch(kind, key, body, status=status))
        return from_dict(type(obj), stored)

    async def delete(self, obj: Any, *, preconditions: Any = None, **_: Any) -> None:
        key, uid = ObjectKey.of(obj), preconditions.uid if preconditions is not None else None
        await self._write(f"delete {obj.kind} {key.name}", obj.kind, lambda: self._server.delete(obj.kind, key, uid))

    def status(self) -> Any:
        client = self

        class Status:
            async def patch(self, obj: T, patch: Any, **options: Any) -> T:
                return await client.patch(obj, patch, status=True)

        return Status()

    async def _turn(self, what: str) -> str:
        outcome = await self._wire.turn(what)
        if outcome is FAIL:
            raise ConnectionFailed(f"{what} {outcome}")
        return outcome

    async def _write(self, what: str, kind: str, effect: Callable[[], T]) -> T:
        outcome = await self._turn(what)
        found = effect()
        self._server.written[what.rsplit(" ", 1)[0]] += 1
        if outcome is LOSE:
            raise ConnectionFailed(f"{what} {outcome}")
        self._written[kind] = len(self._server.log[kind])
        await self._wire.turn(f"answer to {what}")
        return _copied(found)

    async def _catch_up(self, cls: type[Any]) -> None:
        """Read-your-writes: the cache is waited for until it has what was written here."""
        informer = self._cache.informer(cls)
        assert isinstance(informer, Informer)
        missing = self._written.get(informer.gvk.kind, 0) - informer.seen
        if self._sees_its_writes and missing > 0:
            await informer.deliver(missing)
