"""Events are forgotten an hour after they were last written, so that a long-lived server does not fill up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bobrapet.local.apiserver.errors import ApiError
from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.rest import Call, DeleteOptions, Rest
from bobrapet.local.apiserver.types import Object, User
from bobrapet.local.apiserver.worker import Worker
from bobrapet.local.store import Key, Store

LIFETIME = timedelta(hours=1)
"""As long as a kube-apiserver keeps them by default."""
_INTERVAL = 300.0
_USER = User("system:apiserver", ("system:masters", "system:authenticated"))


class EventExpiry:
    """Deletes old events, a sweep every five minutes."""

    def __init__(self, store: Store, registry: Registry, rest: Rest, now: Callable[[], datetime]) -> None:
        self._store = store
        self._registry = registry
        self._rest = rest
        self._now = now
        self._worker: Worker[Key] = Worker("event-expiry", self._delete)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Sweeps now and from now on."""
        self._worker.start()
        self._tick()

    async def stop(self) -> None:
        """Stops."""
        if self._timer is not None:
            self._timer.cancel()
        await self._worker.stop()

    def sweep(self) -> None:
        """Queues every event that is too old."""
        limit = self._now() - LIFETIME
        for record in self._store.list("events"):
            if last_written(record.object()) < limit:
                self._worker.add(record.key)

    def _tick(self) -> None:
        self.sweep()
        self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._tick)

    async def _delete(self, key: Key) -> None:
        resource = self._registry.by_storage("events")
        assert resource is not None
        call = Call(user=_USER, resource=resource, namespace=key.namespace, name=key.name, now=self._now())
        try:
            await self._rest.delete(call, DeleteOptions())
        except ApiError as error:
            if error.code != 404:
                raise


def last_written(event: Object) -> datetime:
    """The latest time that an event tells of itself."""
    times = (
        event["metadata"].get("creationTimestamp"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        (event.get("series") or {}).get("lastObservedTime"),
    )
    return max((datetime.fromisoformat(time) for time in times if time), default=datetime.min.replace(tzinfo=UTC))
