"""Read your own writes: what an informer still has to see before a read may trust it (spec runtime CACHE-24).

A write is remembered until the store has it, or something newer, or the whole watch has passed it. Reads wait for that;
events are never held back or filtered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bobrapet.runtime.client.object import ObjectKey, compare_resource_version
from bobrapet.runtime.clock import Clock, cancel_after
from bobrapet.runtime.toolscache.deltas import Delta, DeltaType
from bobrapet.runtime.toolscache.record import Record
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer

WAIT = 2.0
"""Seconds that a read waits for the watch, before it answers with what there is."""


@dataclass(frozen=True, slots=True)
class _Write:
    """The object was stored at this version, which the watch had passed (`passed`) or not when we learned of it."""

    resource_version: str
    passed: bool

    def is_seen(self, key: ObjectKey, informer: SharedIndexInformer) -> bool:
        record = informer.store.get_by_key(key)
        if record is not None and _is_at_least(record.metadata.resource_version, self.resource_version):
            return True
        # An object that the informer selects away is never seen itself, but the whole watch moves past its version.
        return not self.passed and _is_at_least(informer.progress, self.resource_version)

    def is_undone_by(self, deletion: Record) -> bool:
        return _is_at_least(deletion.metadata.resource_version, self.resource_version)


@dataclass(frozen=True, slots=True)
class _Deletion:
    """The object with this uid is gone, or going."""

    uid: str

    def is_seen(self, key: ObjectKey, informer: SharedIndexInformer) -> bool:
        record = informer.store.get_by_key(key)
        if record is None or record.metadata.deletion_timestamp:
            return True
        return bool(self.uid) and record.metadata.uid != self.uid

    def is_undone_by(self, deletion: Record) -> bool:
        return True


class Expectations:
    """The outstanding writes of one informer."""

    def __init__(self, informer: SharedIndexInformer, clock: Clock) -> None:
        self.misses = 0
        """Reads that were answered although the watch had not caught up."""

        self._informer = informer
        self._clock = clock
        self._outstanding: dict[ObjectKey, _Write | _Deletion] = {}
        self._changed: asyncio.Event | None = None
        informer.add_observer(self._check)

    def written(self, key: ObjectKey, resource_version: str) -> None:
        self._expect(key, _Write(resource_version, passed=_is_at_least(self._informer.progress, resource_version)))

    def deleted(self, key: ObjectKey, uid: str) -> None:
        self._expect(key, _Deletion(uid))

    def is_outstanding(self, key: ObjectKey | None, namespace: str = "") -> bool:
        """Whether a read of this object, or of all objects of a namespace, would be behind our own writes."""
        if not self._outstanding:
            return False
        if key is not None:
            return key in self._outstanding
        return not namespace or any(known.namespace == namespace for known in self._outstanding)

    async def wait(self, key: ObjectKey | None, namespace: str = "") -> None:
        """Waits until a read would see our own writes, `WAIT` seconds at most."""
        with cancel_after(self._clock, WAIT) as scope:
            while self.is_outstanding(key, namespace):
                self._changed = self._changed or asyncio.Event()
                await self._changed.wait()
        if not scope.cancel_called:
            return
        self.misses += 1
        for known in [*self._outstanding]:
            # Nobody shall wait for the same lost write again.
            if known == key or (key is None and (not namespace or known.namespace == namespace)):
                del self._outstanding[known]

    def _expect(self, key: ObjectKey, what: _Write | _Deletion) -> None:
        if what.is_seen(key, self._informer):
            self._outstanding.pop(key, None)
        else:
            self._outstanding[key] = what

    def _check(self, deltas: Sequence[Delta]) -> None:
        if not self._outstanding:
            return
        # An object that came and went at once is in the deltas only.
        deleted = {delta.new.key: delta.new for delta in deltas if delta.type is DeltaType.DELETED}
        seen = [
            key
            for key, what in self._outstanding.items()
            if what.is_seen(key, self._informer) or (key in deleted and what.is_undone_by(deleted[key]))
        ]
        for key in seen:
            del self._outstanding[key]
        if seen and self._changed is not None:
            self._changed.set()
            self._changed = None


def _is_at_least(version: str, other: str) -> bool:
    return version == other or compare_resource_version(version, other) == 1
