"""The bounded history of one resource, and how watchers follow it.

A watcher holds no queue of its own: it keeps the revision it has seen and reads on from there, so a slow watcher costs
no memory, and all watchers send the same encoded bytes. One that falls behind the history gets `HistoryExpired`, as a
watch of an API server does (410 Gone).
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

from bobrapet.local.store.errors import HistoryExpired

if TYPE_CHECKING:
    from bobrapet.local.store.store import Record


_SHARED = 256
"""The latest changes keep their encoded lines; older ones would only double the memory of the history."""


class ChangeType(Enum):
    """The three ways an object changes; the values are the words of the watch protocol."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Change:
    """One write: the object after it (for a deletion: its last state at the revision of the deletion) and before."""

    __slots__ = ("before", "encoded", "record", "type")

    def __init__(self, type: ChangeType, record: Record, before: Record | None) -> None:
        self.type = type
        self.record = record
        self.before = before
        self.encoded: dict[object, bytes] = {}
        """Watch lines by representation, filled by the first watcher that needs one and shared by all."""


class Feed:
    """The latest changes of one resource, oldest first."""

    def __init__(self, start: int, *, limit: int, byte_limit: int) -> None:
        self._revisions: list[int] = []
        self._changes: list[Change] = []
        self._oldest = start
        self._limit = limit
        self._byte_limit = byte_limit
        self._bytes = 0
        self._waiting: set[asyncio.Event] = set()

    @property
    def oldest(self) -> int:
        """The oldest revision a watch can resume from."""
        return self._oldest

    def publish(self, change: Change) -> None:
        """Appends a change and wakes whoever follows."""
        self._revisions.append(change.record.revision)
        self._changes.append(change)
        self._bytes += len(change.record.raw)
        if len(self._changes) > _SHARED:
            # Whoever keeps up has sent these; a late one encodes again.
            self._changes[-_SHARED - 1].encoded.clear()
        # Trimmed by a quarter at a time: dropping the head of a list costs its length.
        if len(self._changes) > self._limit or self._bytes > self._byte_limit:
            self._trim()
        for event in self._waiting:
            event.set()

    def since(self, revision: int) -> list[Change]:
        """The changes after `revision`; raises `HistoryExpired` when some of them are gone."""
        if revision < self._oldest:
            raise HistoryExpired(revision, self._oldest)
        return self._changes[bisect_right(self._revisions, revision) :]

    def compact(self) -> None:
        """Forgets the whole history, so that every older watch has to start over."""
        self._drop(len(self._changes))

    @contextmanager
    def follow(self) -> Iterator[asyncio.Event]:
        """An event that is set on every change, for as long as the context lasts; the follower clears it."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            yield event
        finally:
            self._waiting.discard(event)

    def wake(self) -> None:
        """Wakes all followers without a change, so that they notice that the server stops."""
        for event in self._waiting:
            event.set()

    def _trim(self) -> None:
        count, size = len(self._changes), self._bytes
        dropped = 0
        while dropped < count - 1 and (count - dropped > self._limit * 3 // 4 or size > self._byte_limit * 3 // 4):
            size -= len(self._changes[dropped].record.raw)
            dropped += 1
        self._drop(dropped)

    def _drop(self, count: int) -> None:
        if not count:
            return
        self._oldest = self._revisions[count - 1]
        self._bytes -= sum(len(change.record.raw) for change in self._changes[:count])
        del self._revisions[:count]
        del self._changes[:count]
