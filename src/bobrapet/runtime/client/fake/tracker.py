"""The state behind a fake client: objects, their versions, and everybody who watches (spec runtime FK-1, FK-3, FK-5).

Plain functions, no awaits: each call happens at once, as a request to a real API server does.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bobrapet.runtime.client.fake.kinds import counts_generations
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import AlreadyExists, BadRequest, ClientError, Conflict, Expired, Invalid, NotFound
from bobrapet.runtime.scheme import GroupVersionResource

SEEDED_VERSION = "999"
"""resourceVersion of an object that a test put there without one."""

_IDENTITY = uuid.UUID("6f2c1d5e-53a9-4f0b-9d4f-2f1d8d0a7c11")
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Change:
    """One event of the history: its number, what happened, and the object after it (DELETED: its last state)."""

    number: int
    type: str
    key: ObjectKey
    object: dict[str, Any]
    before: dict[str, Any] | None
    """The object before it; None when there was none."""


@dataclass(slots=True, eq=False)
class _Collection:
    objects: dict[ObjectKey, dict[str, Any]] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    watchers: set[asyncio.Queue[Change | None]] = field(default_factory=set)


class VersionedTracker:
    """Objects by resource and key.

    Each object counts its own resourceVersion: 1 when created, one more per write; seeded ones start at 999. Lists
    carry the number of the last change of anything, which is never lower than the version of any object, so a watch
    from either misses nothing, though it may repeat.
    """

    def __init__(self, clock: Clock = REAL_CLOCK) -> None:
        self._clock = clock
        self._collections: dict[GroupVersionResource, _Collection] = {}
        self._last = 0
        self._oldest = 0
        self._created = itertools.count(1)
        self._suffixes = itertools.count(1)

    @property
    def resource_version(self) -> str:
        """Number of the last change."""
        return str(self._last)

    def seed(self, gvr: GroupVersionResource, obj: dict[str, Any]) -> None:
        """Puts an object there as it is. Raises `ClientError` for one that could not exist."""
        obj = copy.deepcopy(obj)
        metadata = obj.setdefault("metadata", {})
        key = _key(obj)
        if not key.name:
            raise ClientError(f"{obj.get('kind')}: an object to start with needs a name")
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            raise ClientError(
                f"{obj.get('kind')} {key}: deletionTimestamp without finalizers; a real server would have removed it"
            )
        if key in self._of(gvr).objects:
            raise AlreadyExists(f'{gvr.resource} "{key.name}" already exists')
        metadata.setdefault("resourceVersion", SEEDED_VERSION)
        self._complete(gvr, metadata)
        self._store(gvr, "ADDED", obj)

    def get(self, gvr: GroupVersionResource, key: ObjectKey) -> dict[str, Any]:
        """The stored object itself: do not change it."""
        try:
            return self._of(gvr).objects[key]
        except KeyError:
            raise NotFound(
                f'{_qualified(gvr)} "{key.name}" not found', details={"name": key.name, "kind": gvr.resource}
            ) from None

    def list(self, gvr: GroupVersionResource, namespace: str = "") -> list[dict[str, Any]]:
        """The stored objects themselves, by namespace and name."""
        objects = self._of(gvr).objects
        return [objects[key] for key in sorted(objects) if not namespace or key.namespace == namespace]

    def create(self, gvr: GroupVersionResource, obj: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        obj = copy.deepcopy(obj)
        metadata = obj.setdefault("metadata", {})
        if metadata.get("resourceVersion"):
            raise BadRequest("an object to create has no resourceVersion yet")
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise Invalid(
                    f"{obj.get('kind')}: metadata.name is required, or metadata.generateName",
                    details={"causes": [{"reason": "FieldValueRequired", "field": "metadata.name"}]},
                )
            metadata["name"] = metadata["generateName"] + self._suffix()
        key = _key(obj)
        if key in self._of(gvr).objects:
            raise AlreadyExists(
                f'{_qualified(gvr)} "{key.name}" already exists', details={"name": key.name, "kind": gvr.resource}
            )
        for name in ("uid", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(name, None)
        self._complete(gvr, metadata)
        _tidy(metadata)
        if not dry_run:
            metadata["resourceVersion"] = "1"
            self._store(gvr, "ADDED", obj)
        return obj

    def replace(self, gvr: GroupVersionResource, obj: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Stores a new state of an object. A resourceVersion that is not the present one is refused.

        A state that says nothing new keeps its version; one that loses its last finalizer while being deleted goes.
        """
        obj = copy.deepcopy(obj)
        metadata = obj.setdefault("metadata", {})
        key = _key(obj)
        current = self.get(gvr, key)
        before = current["metadata"]
        given = metadata.get("resourceVersion")
        if given and given != before["resourceVersion"]:
            raise Conflict(
                f'{_qualified(gvr)} "{key.name}" was changed since version {given} was read; '
                "read it again and repeat the change",
                details={"name": key.name, "kind": gvr.resource},
            )
        if metadata.get("uid") and metadata["uid"] != before.get("uid"):
            raise Conflict(
                f"Precondition failed: UID in precondition: {metadata['uid']}, in object: {before.get('uid')}"
            )
        for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            metadata.pop(name, None)
            if name in before:
                metadata[name] = copy.deepcopy(before[name])
        metadata["resourceVersion"] = before["resourceVersion"]
        _tidy(metadata)
        if obj == current:
            return obj
        if "generation" in before and _wanted(obj) != _wanted(current):
            metadata["generation"] = before["generation"] + 1
        metadata["resourceVersion"] = str(int(before["resourceVersion"]) + 1)
        if not dry_run:
            if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
                self._remove(gvr, key, obj)
            else:
                self._store(gvr, "MODIFIED", obj)
        return obj

    def delete(self, gvr: GroupVersionResource, key: ObjectKey, *, dry_run: bool = False) -> dict[str, Any] | None:
        """Removes an object, or marks it when finalizers hold it; then returns it."""
        current = self.get(gvr, key)
        metadata = current["metadata"]
        if not metadata.get("finalizers"):
            if not dry_run:
                gone = copy.deepcopy(current)
                gone["metadata"]["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
                self._remove(gvr, key, gone)
            return None
        if metadata.get("deletionTimestamp"):
            return current
        marked = copy.deepcopy(current)
        marked["metadata"]["deletionTimestamp"] = self._timestamp()
        marked["metadata"]["deletionGracePeriodSeconds"] = 0
        if "generation" in metadata:
            marked["metadata"]["generation"] += 1
        marked["metadata"]["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        if not dry_run:
            self._store(gvr, "MODIFIED", marked)
        return marked

    def changes_since(self, gvr: GroupVersionResource, version: str) -> Iterator[Change]:
        """The changes after a number. Raises `Expired` when some of them are forgotten."""
        try:
            number = int(version)
        except ValueError:
            raise BadRequest(f"resourceVersion {version!r} is no number") from None
        if number < self._oldest:
            raise Expired(f"changes after {version} are forgotten; the oldest known is {self._oldest}")
        return (change for change in self._of(gvr).history if change.number > number)

    def subscribe(self, gvr: GroupVersionResource) -> tuple[asyncio.Queue[Change | None], Callable[[], None]]:
        """A queue of all changes from now on (None: the server ends the watch), and how to end it."""
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        watchers = self._of(gvr).watchers
        watchers.add(queue)
        return queue, lambda: watchers.discard(queue)

    def end_watches(self) -> None:
        """Ends all watches, as a server does after their timeout."""
        for collection in self._collections.values():
            for queue in collection.watchers:
                queue.put_nowait(None)

    def compact(self) -> None:
        """Forgets the history: a watch from an older number is answered with 410."""
        self._oldest = self._last
        for collection in self._collections.values():
            collection.history.clear()

    def _of(self, gvr: GroupVersionResource) -> _Collection:
        return self._collections.setdefault(gvr, _Collection())

    def _store(self, gvr: GroupVersionResource, kind: str, obj: dict[str, Any]) -> None:
        key = _key(obj)
        objects = self._of(gvr).objects
        before = objects.get(key)
        objects[key] = obj
        self._announce(gvr, kind, key, obj, before)

    def _remove(self, gvr: GroupVersionResource, key: ObjectKey, last: dict[str, Any]) -> None:
        before = self._of(gvr).objects.pop(key)
        self._announce(gvr, "DELETED", key, last, before)

    def _announce(
        self, gvr: GroupVersionResource, kind: str, key: ObjectKey, obj: dict[str, Any], before: dict[str, Any] | None
    ) -> None:
        version = obj["metadata"]["resourceVersion"]
        self._last = max(self._last + 1, int(version) if version.isdigit() else 0)
        change = Change(self._last, kind, key, copy.deepcopy(obj), before)
        collection = self._of(gvr)
        collection.history.append(change)
        for queue in collection.watchers:
            queue.put_nowait(change)

    def _complete(self, gvr: GroupVersionResource, metadata: dict[str, Any]) -> None:
        metadata.setdefault("uid", str(uuid.uuid5(_IDENTITY, str(next(self._created)))))
        metadata.setdefault("creationTimestamp", self._timestamp())
        if counts_generations(gvr.group):
            metadata.setdefault("generation", 1)

    def _timestamp(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _suffix(self) -> str:
        """Five characters as a real server appends them, but the same ones in each run."""
        number = uuid.uuid5(_IDENTITY, f"name-{next(self._suffixes)}").int
        letters = []
        for _ in range(5):
            number, index = divmod(number, len(_SUFFIX_ALPHABET))
            letters.append(_SUFFIX_ALPHABET[index])
        return "".join(letters)


def _key(obj: dict[str, Any]) -> ObjectKey:
    metadata = obj["metadata"]
    return ObjectKey(metadata.get("namespace") or "", metadata.get("name") or "")


def _tidy(metadata: dict[str, Any]) -> None:
    """Takes out what a server does not store: empty lists and maps."""
    for name in ("labels", "annotations", "finalizers", "ownerReferences", "managedFields"):
        if name in metadata and not metadata[name]:
            del metadata[name]


def _wanted(obj: dict[str, Any]) -> dict[str, Any]:
    """What counts as a new generation: everything but metadata and status."""
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


def _qualified(gvr: GroupVersionResource) -> str:
    return f"{gvr.resource}.{gvr.group}" if gvr.group else gvr.resource
