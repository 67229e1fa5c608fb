"""Writes Events in the background: merges repeats, retries failures, drops excess (spec runtime section 16)."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from bobrapet.runtime.client.interfaces import Client
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.client.patch import raw_patch
from bobrapet.runtime.clock import Clock
from bobrapet.runtime.errors import AlreadyExists, ApiError, ControllerRuntimeError, NotFound
from bobrapet.runtime.internal.tasks import TaskSet
from bobrapet.runtime.log.log import get_logger

QUEUE_LENGTH = 1000
WORKERS = 8
ATTEMPTS = 12
RETRY_DELAY = 10.0
RETRY_JITTER = 0.25
REFRESH_PERIOD = 30 * 60.0
FINISH_PERIOD = 6 * 60.0

Event = Unstructured.of("events.k8s.io/v1", "Event")

log = get_logger("recorder")


class EventKey(NamedTuple):
    """What makes two events one series. The note is no part of it."""

    type: str
    action: str
    reason: str
    controller: str
    instance: str
    regarding: tuple[str, ...]
    related: tuple[str, ...]


@dataclass
class _Series:
    """The first event of its key as it was sent, and how often it happened since."""

    body: dict[str, Any]
    count: int = 1
    last_seen: datetime | None = None
    last_seen_at: float = 0.0


class _Send(NamedTuple):
    key: EventKey
    series: _Series
    create: bool


class Broadcaster:
    """One per manager. Starts its tasks with the first event, ends with `stop()`."""

    def __init__(self, client: Client, clock: Clock, rng: random.Random | None = None) -> None:
        self.dropped = 0
        self._client = client
        self._clock = clock
        self._random = rng or random.Random()
        self._series: dict[EventKey, _Series] = {}
        self._queue: asyncio.Queue[_Send] = asyncio.Queue(QUEUE_LENGTH)
        self._tasks = TaskSet()
        self._stopped = False

    def record(self, key: EventKey, body: dict[str, Any], now: datetime) -> None:
        """Takes an event; decides at once whether it is new, the second of a series, or one to count only."""
        if self._stopped:
            return
        self._start()
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(body, last_seen=now, last_seen_at=self._clock.monotonic())
            self._put(_Send(key, series, create=True))
            return
        series.count += 1
        series.last_seen = now
        series.last_seen_at = self._clock.monotonic()
        if series.count == 2:
            self._put(_Send(key, series, create=False))

    async def stop(self, deadline: float | None = None) -> None:
        """Sends what is queued, until `deadline` (by the clock), then ends. Later events are dropped silently."""
        self._stopped = True
        if len(self._tasks):
            flush = asyncio.create_task(self._queue.join(), name="flush events")
            timer = None
            if deadline is not None:
                timer = self._clock.call_at(deadline, flush.cancel)
            try:
                await asyncio.wait([flush])
            finally:
                flush.cancel()
                if timer is not None:
                    timer.cancel()
        await self._tasks.stop()

    def _start(self) -> None:
        if not len(self._tasks):
            for number in range(WORKERS):
                self._tasks.spawn(self._work(), name=f"event writer {number}")
            self._tasks.spawn(self._every(REFRESH_PERIOD, self._refresh), name="event series refresh")
            self._tasks.spawn(self._every(FINISH_PERIOD, self._finish), name="event series end")

    def _put(self, send: _Send) -> None:
        try:
            self._queue.put_nowait(send)
        except asyncio.QueueFull:
            self.dropped += 1
            log.warning("Dropped an event, too many are waiting to be written", reason=send.key.reason)

    async def _work(self) -> None:
        while True:
            send = await self._queue.get()
            try:
                await self._send(send)
            except Exception as error:
                log.error("An event is lost", reason=send.key.reason, error=error)
            finally:
                self._queue.task_done()

    async def _send(self, send: _Send) -> None:
        create = send.create
        for _ in range(ATTEMPTS):
            try:
                if create:
                    await self._client.create(Event({**send.series.body}))
                else:
                    await self._patch(send.series)
                return
            except NotFound:
                if create:  # the namespace is gone
                    return
                create = True  # the first event of the series was cleaned up
                send.series.body = {**send.series.body, **_series_of(send.series)}
                continue
            except AlreadyExists:
                if send.series.count == 1:
                    return  # written by an attempt whose answer was lost
                create = False
                continue
            except ApiError as error:
                if 400 <= error.status < 500 and error.status != 429:
                    log.warning("The server rejected an event, it is not written", reason=send.key.reason, error=error)
                    return
                log.debug("An event cannot be written yet", reason=send.key.reason, error=str(error))
            except ControllerRuntimeError as error:
                log.debug("An event cannot be written yet", reason=send.key.reason, error=str(error))
            jitter = 1 + RETRY_JITTER * (2 * self._random.random() - 1)
            await self._clock.sleep(RETRY_DELAY * jitter)
        log.error("Gave up on an event", reason=send.key.reason)

    async def _patch(self, series: _Series) -> None:
        target = Event({"metadata": dict(series.body["metadata"])})
        await self._client.patch(
            target, raw_patch("application/merge-patch+json", msgspec.json.encode(_series_of(series)))
        )

    async def _every(self, period: float, act: Any) -> None:
        while True:
            await self._clock.sleep(period)
            act()

    def _refresh(self) -> None:
        """Brings the counts on the server up to date."""
        for key, series in self._series.items():
            if series.count > 1:
                self._put(_Send(key, series, create=False))

    def _finish(self) -> None:
        """Forgets what has not happened for a while; a series gets its last count."""
        now = self._clock.monotonic()
        for key, series in [*self._series.items()]:
            if now - series.last_seen_at >= FINISH_PERIOD:
                del self._series[key]
                if series.count > 1:
                    self._put(_Send(key, series, create=False))


def _series_of(series: _Series) -> dict[str, Any]:
    if series.count < 2 or series.last_seen is None:
        return {}
    return {"series": {"count": series.count, "lastObservedTime": micro_time(series.last_seen)}}


def micro_time(moment: datetime) -> str:
    """A metav1.MicroTime."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
