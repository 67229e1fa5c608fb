"""Objects by resource, namespace and name; compare-and-set writes; one revision counter.

A write becomes visible, to readers and watchers alike, only after the log committed it, and in the order of its
revision. Until then its key is busy and the next writer of the same key waits, so a compare never sees a lie.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bobrapet.local.store.errors import ObjectTooLarge, RevisionConflict, StoreDamaged, StoreInUse, StoreUnavailable
from bobrapet.local.store.feed import Change, ChangeType, Feed
from bobrapet.local.store.log import Entry, Log

HISTORY = 10_000
"""Changes kept per resource for watches that resume."""
HISTORY_BYTES = 32 * 1024 * 1024
"""The same, by size: ten thousand objects of a megabyte would not fit."""

Object = dict[str, Any]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Key(NamedTuple):
    """Where an object lives. `resource` is `plural` or `plural.group`; cluster-scoped objects have namespace ""."""

    resource: str
    namespace: str
    name: str


class _Labels(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Head(msgspec.Struct):
    metadata: _Labels


_decode_head = msgspec.json.Decoder(_Head).decode


class Record:
    """One stored state of one object. Immutable: `raw` is what is stored and sent, `object()` decodes it afresh."""

    __slots__ = ("fields", "key", "labels", "raw", "revision")

    def __init__(self, key: Key, revision: int, raw: bytes, labels: dict[str, str] | None) -> None:
        self.key = key
        self.revision = revision
        self.raw = raw
        self.labels = labels
        self.fields: dict[str, str] | None = None
        """Values for field selectors, filled by the first selector that looks."""

    def object(self) -> Object:
        """A fresh copy of the object; the caller may change it."""
        decoded: Object = _decode(self.raw)
        return decoded


class _Pending(NamedTuple):
    key: Key
    record: Record
    type: ChangeType
    done: asyncio.Future[Record]


class Store:
    """The store. Use it from one event loop; `open` before, `close` after."""

    def __init__(self, path: Path | None = None, *, durable: bool = False, history: int = HISTORY) -> None:
        """`path`: the folder of the log, created when missing; None keeps everything in memory only."""
        self._path = path
        self._durable = durable
        self._history = history
        self._objects: dict[str, dict[tuple[str, str], Record]] = {}
        self._sorted: dict[str, list[Record]] = {}
        self._feeds: dict[str, Feed] = {}
        self._allocated = 0
        self._revision = 0
        self._start = 0
        self._subscribers: list[Callable[[Change], None]] = []
        self._busy: dict[Key, asyncio.Future[Record]] = {}
        self._pending: deque[_Pending] = deque()
        self._log: Log | None = None
        self._lock: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.refused: asyncio.Future[StoreUnavailable] | None = None
        """Done with the first failure of the log, for those who rather stop than wait for the disk; None in memory."""

    @property
    def revision(self) -> int:
        """The revision of the last visible write."""
        return self._revision

    def open(self) -> None:
        """Takes the folder, reads the log. Raises `StoreInUse`, `StoreUnavailable` or `StoreError`."""
        self._loop = asyncio.get_running_loop()
        if self._path is not None:
            self.refused = self._loop.create_future()
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _lock(self._path / "lock")
            try:
                self._load(self._path / "store.db")
            except BaseException:
                os.close(self._lock)
                raise
        # Revision 0 means "any" to clients, and a list of an empty store must answer something above it.
        self._allocated = self._revision = self._start = max(self._revision, 1)

    async def close(self) -> None:
        """Waits for what is being written, then lets go of the folder."""
        if self._log is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._log.close)
            await asyncio.sleep(0)  # the writer's last call_soon_threadsafe
            self._log = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def get(self, key: Key) -> Record | None:
        """The object's current state."""
        objects = self._objects.get(key.resource)
        return objects.get((key.namespace, key.name)) if objects else None

    def list(self, resource: str, namespace: str | None = None) -> Sequence[Record]:
        """All objects of a resource (of one namespace), by namespace and name. The list is not to be changed."""
        records = self._sorted.get(resource)
        if records is None:
            objects = self._objects.get(resource, {})
            records = self._sorted[resource] = [objects[key] for key in sorted(objects)]
        if namespace is None:
            return records
        return [record for record in records if record.key.namespace == namespace]

    def count(self, resource: str) -> int:
        """How many objects a resource has."""
        return len(self._objects.get(resource, ()))

    def resources(self) -> Sequence[str]:
        """Every resource that has objects."""
        return [resource for resource, objects in self._objects.items() if objects]

    def feed(self, resource: str) -> Feed:
        """The history of a resource."""
        feed = self._feeds.get(resource)
        if feed is None:
            feed = self._feeds[resource] = Feed(self._start, limit=self._history, byte_limit=HISTORY_BYTES)
        return feed

    def subscribe(self, subscriber: Callable[[Change], None]) -> None:
        """Calls `subscriber` with every change, at once and in order. It must be quick and not raise."""
        self._subscribers.append(subscriber)

    def wake_watchers(self) -> None:
        """Wakes every follower of every feed."""
        for feed in self._feeds.values():
            feed.wake()

    async def put(self, key: Key, obj: Object, *, expected: int, limit: int = 0) -> Record:
        """Writes `obj` if the key is still at revision `expected` (0: does not exist); returns the new state.

        Sets `metadata.resourceVersion` of `obj`. `limit` is the most bytes it may have (0: any number). Raises
        `RevisionConflict`, `ObjectTooLarge`, or `StoreUnavailable` when the write could not be made durable, in which
        case it did not happen.
        """
        await self._claim(key, expected)
        revision = self._next_revision()
        obj["metadata"]["resourceVersion"] = str(revision)
        raw = _encode(obj)
        if 0 < limit < len(raw):
            raise ObjectTooLarge(len(raw), limit)
        record = Record(key, revision, raw, obj["metadata"].get("labels"))
        return await self._write(record, ChangeType.MODIFIED if expected else ChangeType.ADDED)

    async def delete(self, key: Key, obj: Object, *, expected: int) -> Record:
        """Removes the object if it is still at revision `expected`; `obj` is the last state that watchers see."""
        await self._claim(key, expected)
        revision = self._next_revision()
        obj["metadata"]["resourceVersion"] = str(revision)
        record = Record(key, revision, _encode(obj), obj["metadata"].get("labels"))
        return await self._write(record, ChangeType.DELETED)

    async def _claim(self, key: Key, expected: int) -> None:
        while (busy := self._busy.get(key)) is not None:
            await asyncio.wait([busy])
        current = self.get(key)
        if (current.revision if current else 0) != expected:
            raise RevisionConflict(f"{key.resource} {key.namespace}/{key.name} is not at revision {expected}")

    def _next_revision(self) -> int:
        self._allocated += 1
        return self._allocated

    async def _write(self, record: Record, type: ChangeType) -> Record:
        if self._log is None:
            self._show(record, type)
            return record
        assert self._loop is not None
        done: asyncio.Future[Record] = self._loop.create_future()
        self._busy[record.key] = done
        self._pending.append(_Pending(record.key, record, type, done))
        data = None if type is ChangeType.DELETED else record.raw
        self._log.append(Entry(*record.key, record.revision, data))
        # Shielded: a writer that goes away does not undo its write, and others wait for the same future.
        return await asyncio.shield(done)

    def _committed(self, count: int, error: StoreUnavailable | None) -> None:
        for _ in range(count):
            key, record, type, done = self._pending.popleft()
            del self._busy[key]
            if error is None:
                self._show(record, type)
                done.set_result(record)
            else:
                done.set_exception(error)
                done.exception()  # retrieved: the writer may be gone
        if error is not None and self.refused is not None and not self.refused.done():
            self.refused.set_result(error)

    def _show(self, record: Record, type: ChangeType) -> None:
        resource, namespace, name = record.key
        objects = self._objects.setdefault(resource, {})
        before = objects.get((namespace, name))
        if type is ChangeType.DELETED:
            del objects[(namespace, name)]
        else:
            objects[(namespace, name)] = record
        self._sorted.pop(resource, None)
        self._revision = record.revision
        change = Change(type, record, before)
        self.feed(resource).publish(change)
        for subscriber in self._subscribers:
            subscriber(change)

    def _load(self, path: Path) -> None:
        log = Log(path, self._from_writer, durable=self._durable)
        try:
            self._revision = log.revision()
            for resource, namespace, name, revision, data in log.load():
                key = Key(resource, namespace, name)
                try:
                    labels = _decode_head(data).metadata.labels
                except msgspec.MsgspecError as error:
                    raise StoreDamaged(f"{path} is damaged: {resource} {namespace}/{name}: {error}") from error
                record = Record(key, revision, data, labels)
                self._objects.setdefault(resource, {})[(namespace, name)] = record
        except BaseException:
            log.close()
            raise
        log.start()
        self._log = log

    def _from_writer(self, count: int, error: StoreUnavailable | None) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._committed, count, error)


def _lock(path: Path) -> int:
    """Locks the folder for this process; the kernel lets go when the process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        by = f" by process {holder}" if holder else ""
        raise StoreInUse(f"{path.parent} is in use{by}; give this one another data directory") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor
