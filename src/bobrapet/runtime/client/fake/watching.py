"""One watch of a fake API server, as lines of JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from bobrapet.runtime.client.fake.representation import represent
from bobrapet.runtime.client.fake.tracker import Change, VersionedTracker
from bobrapet.runtime.scheme import GroupVersionResource

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Watch:
    """Implements `Lines`.

    Without a resourceVersion, or at "0", it begins with all objects as ADDED; else with the changes since. With
    `sendInitialEvents` a bookmark tells where those end. An object that begins or ceases to match the selectors is
    reported as ADDED or DELETED.
    """

    def __init__(
        self,
        tracker: VersionedTracker,
        gvr: GroupVersionResource,
        namespace: str,
        matches: Callable[[dict[str, Any]], bool],
        query: dict[str, str],
        accept: str,
    ) -> None:
        self._gvr = gvr
        self._namespace = namespace
        self._matches = matches
        self._accept = accept
        self._first = self._initial(tracker, query)
        # Subscribed in the same step, so that no change falls between.
        self._queue, self._unsubscribe = tracker.subscribe(gvr)
        self._batches = self.batches()

    def stop(self) -> None:
        self._unsubscribe()

    async def batches(self) -> AsyncIterator[list[bytes]]:
        if self._first:
            first, self._first = self._first, []
            yield first
        while (change := await self._queue.get()) is not None:
            line = self._line(change)
            if line is not None:
                yield [line]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for lines in self._batches:
            for line in lines:
                yield line

    def _initial(self, tracker: VersionedTracker, query: dict[str, str]) -> list[bytes]:
        version = query.get("resourceVersion") or ""
        everything = query.get("sendInitialEvents") == "true"
        if version in ("", "0") or everything:
            found = tracker.list(self._gvr, self._namespace)
            lines = [self._encode("ADDED", obj) for obj in found if self._matches(obj)]
            if everything:
                lines.append(_bookmark(tracker.resource_version))
            return lines
        lines_since = [self._line(change) for change in tracker.changes_since(self._gvr, version)]
        return [line for line in lines_since if line is not None]

    def _line(self, change: Change) -> bytes | None:
        if self._namespace and change.key.namespace != self._namespace:
            return None
        before = change.before is not None and self._matches(change.before)
        now = change.type != "DELETED" and self._matches(change.object)
        if now:
            return self._encode("MODIFIED" if before else "ADDED", change.object)
        return self._encode("DELETED", _last_match(change)) if before else None

    def _encode(self, kind: str, obj: dict[str, Any]) -> bytes:
        return msgspec.json.encode({"type": kind, "object": represent(obj, self._accept)})


def _last_match(change: Change) -> dict[str, Any]:
    """What a DELETED event shows: the last state that matched, at the version of what ended that."""
    last = change.before or change.object
    metadata = {**last["metadata"], "resourceVersion": change.object["metadata"]["resourceVersion"]}
    return {**last, "metadata": metadata}


def _bookmark(version: str) -> bytes:
    metadata = {"resourceVersion": version, "annotations": {INITIAL_EVENTS_END: "true"}}
    return msgspec.json.encode({"type": "BOOKMARK", "object": {"metadata": metadata}})
