"""Garbage collection by owner references: background, foreground and orphan.

An object whose owners are all gone is deleted. An owner deleted in the foreground stays until the dependents that block
it are gone; one deleted with orphaning first lets go of its dependents.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from bobrapet.local.apiserver.errors import ApiError
from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.rest import FOREGROUND, ORPHAN, Call, DeleteOptions, Rest
from bobrapet.local.apiserver.types import Object, User
from bobrapet.local.apiserver.worker import Worker
from bobrapet.local.store import Change, ChangeType, Key, Record, Store

_USER = User(
    "system:serviceaccount:kube-system:generic-garbage-collector",
    ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"),
)


class _Owner(msgspec.Struct):
    uid: str = ""
    blockOwnerDeletion: bool | None = None


class _Metadata(msgspec.Struct):
    uid: str = ""
    ownerReferences: list[_Owner] | None = None
    finalizers: list[str] | None = None
    deletionTimestamp: str | None = None

    @property
    def waits_for_dependents(self) -> bool:
        return self.deletionTimestamp is not None and FOREGROUND in (self.finalizers or ())

    @property
    def orphans_dependents(self) -> bool:
        return self.deletionTimestamp is not None and ORPHAN in (self.finalizers or ())


class _Head(msgspec.Struct):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_Head).decode


class Collector:
    """Follows all objects and deletes what nobody owns any more."""

    def __init__(self, store: Store, registry: Registry, rest: Rest, now: Callable[[], datetime]) -> None:
        self._store = store
        self._registry = registry
        self._rest = rest
        self._now = now
        self._keys: dict[str, Key] = {}
        self._dependents: dict[str, dict[Key, None]] = {}
        self._worker: Worker[Key] = Worker("garbage-collector", self._collect)

    def start(self) -> None:
        """Reads what is stored and starts to follow."""
        for resource in self._store.resources():
            for record in self._store.list(resource):
                self._learn(record, _decode(record.raw).metadata)
        for dependents in self._dependents.values():
            for key in dependents:
                self._worker.add(key)
        for key in self._keys.values():
            stored = self._store.get(key)
            if stored is not None and b'"deletionTimestamp"' in stored.raw:
                self._worker.add(key)
        self._store.subscribe(self._changed)
        self._worker.start()

    async def stop(self) -> None:
        """Stops."""
        await self._worker.stop()

    def _changed(self, change: Change) -> None:
        key, meta = change.record.key, _decode(change.record.raw).metadata
        if change.before is not None and b'"ownerReferences"' in change.before.raw:
            self._forget_owners(key, _decode(change.before.raw).metadata)
        if change.type is ChangeType.DELETED:
            if self._keys.get(meta.uid) == key:
                del self._keys[meta.uid]
            for dependent in self._dependents.get(meta.uid, ()):
                self._worker.add(dependent)
            for owner in meta.ownerReferences or ():
                self._look_at_owner(owner.uid)
            return
        self._learn(change.record, meta)
        if meta.waits_for_dependents or meta.orphans_dependents:
            self._worker.add(key)
        if meta.ownerReferences:
            self._worker.add(key)
        elif change.before is not None:
            for owner in _decode(change.before.raw).metadata.ownerReferences or ():
                self._look_at_owner(owner.uid)

    def _learn(self, record: Record, meta: _Metadata) -> None:
        self._keys[meta.uid] = record.key
        for owner in meta.ownerReferences or ():
            self._dependents.setdefault(owner.uid, {})[record.key] = None

    def _forget_owners(self, key: Key, meta: _Metadata) -> None:
        for owner in meta.ownerReferences or ():
            dependents = self._dependents.get(owner.uid)
            if dependents is not None:
                dependents.pop(key, None)
                if not dependents:
                    del self._dependents[owner.uid]

    def _look_at_owner(self, uid: str) -> None:
        key = self._keys.get(uid)
        if key is not None:
            self._worker.add(key)

    async def _collect(self, key: Key) -> None:
        record = self._store.get(key)
        if record is None:
            return
        meta = _decode(record.raw).metadata
        if meta.orphans_dependents:
            await self._orphan(key, meta)
        elif meta.waits_for_dependents:
            await self._delete_dependents(key, meta)
        if meta.ownerReferences and meta.deletionTimestamp is None:
            await self._check_owners(key, meta)

    async def _check_owners(self, key: Key, meta: _Metadata) -> None:
        """Deletes an object that has no owner left, or drops references to owners that are gone."""
        gone: list[str] = []
        waiting = solid = False
        for reference in meta.ownerReferences or ():
            owner = self._owner(key, reference.uid)
            if owner is None:
                gone.append(reference.uid)
            elif owner.waits_for_dependents and reference.blockOwnerDeletion:
                waiting = True
            else:
                solid = True
        if solid:
            if gone or waiting:
                await self._drop_owners(key, set(gone))
        elif waiting:
            propagation = "Foreground" if self._dependents.get(meta.uid) else "Background"
            await self._delete(key, meta.uid, propagation)
        else:
            # Said aloud: left to its kind's default, a Job would leave its pods behind, running.
            await self._delete(key, meta.uid, "Background")

    def _owner(self, key: Key, uid: str) -> _Metadata | None:
        owner = self._keys.get(uid)
        # A namespaced owner in another namespace owns nothing here.
        if owner is None or (owner.namespace and owner.namespace != key.namespace):
            return None
        record = self._store.get(owner)
        return _decode(record.raw).metadata if record is not None else None

    async def _delete_dependents(self, key: Key, meta: _Metadata) -> None:
        blocking = False
        for dependent in list(self._dependents.get(meta.uid, ())):
            record = self._store.get(dependent)
            if record is None:
                continue
            theirs = _decode(record.raw).metadata
            blocking = blocking or any(
                owner.uid == meta.uid and owner.blockOwnerDeletion for owner in theirs.ownerReferences or ()
            )
            if theirs.deletionTimestamp is None:
                self._worker.add(dependent)
        if not blocking:
            await self._drop_finalizer(key, FOREGROUND)

    async def _orphan(self, key: Key, meta: _Metadata) -> None:
        for dependent in list(self._dependents.get(meta.uid, ())):
            await self._drop_owners(dependent, {meta.uid})
        await self._drop_finalizer(key, ORPHAN)

    async def _drop_owners(self, key: Key, uids: set[str]) -> None:
        def drop(obj: Object) -> Object:
            owners = obj["metadata"].get("ownerReferences") or []
            obj["metadata"]["ownerReferences"] = [owner for owner in owners if owner.get("uid") not in uids]
            return obj

        await self._write(key, drop)

    async def _drop_finalizer(self, key: Key, name: str) -> None:
        def drop(obj: Object) -> Object:
            finalizers = obj["metadata"].get("finalizers") or []
            obj["metadata"]["finalizers"] = [finalizer for finalizer in finalizers if finalizer != name]
            return obj

        await self._write(key, drop)

    async def _write(self, key: Key, transform: Callable[[Object], Object]) -> None:
        call = self._call(key)
        if call is not None:
            await _ignoring_absence(self._rest.write(call, transform))

    async def _delete(self, key: Key, uid: str, propagation: str) -> None:
        call = self._call(key)
        if call is not None:
            await _ignoring_absence(self._rest.delete(call, DeleteOptions(propagation=propagation, uid=uid)))

    def _call(self, key: Key) -> Call | None:
        resource = self._registry.by_storage(key.resource)
        if resource is None:
            return None
        return Call(user=_USER, resource=resource, namespace=key.namespace, name=key.name, now=self._now())


async def _ignoring_absence(write: Awaitable[object]) -> None:
    try:
        await write
    except ApiError as error:
        # Gone, or somebody made a new one of the same name: either way there is nothing left to collect.
        if error.code not in (404, 409):
            raise
