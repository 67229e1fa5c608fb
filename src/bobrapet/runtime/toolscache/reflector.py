"""Keeps a store equal to a collection of the API server: list once, then watch (spec runtime 5.2).

        +-----------------------------------------------+
        v                                               |
WATCHLIST --(refused, ignored)--> LIST                  |
        |  \\--(410, RV too large: again with RV "")     |
        v                          |                    |
    store replaced <---------------+                    |
        v                                               |
    WATCH(rv) --closed, broken, silent--> WATCH(rv')    |
        |--server overloaded: back off, WATCH(rv)
        |--server absent: back off until anybody is answered (`outage`), WATCH(rv)
        |--410, any other refusal: back off ------------+
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import anyio
import msgspec

from bobrapet.runtime.clock import REAL_CLOCK, Clock, Timer
from bobrapet.runtime.errors import (
    NO_SERVER,
    ApiError,
    BadRequest,
    ControllerRuntimeError,
    Expired,
    Forbidden,
    Gone,
    InternalError,
    Invalid,
    MethodNotSupported,
    NotAcceptable,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    TransportError,
    Unauthorized,
)
from bobrapet.runtime.toolscache.backoff import Backoff
from bobrapet.runtime.toolscache.listwatch import ListerWatcher
from bobrapet.runtime.toolscache.outage import Outage
from bobrapet.runtime.toolscache.pager import PAGE_SIZE, Pager
from bobrapet.runtime.toolscache.record import Record, RecordDecoder, UnexpectedObject
from bobrapet.runtime.toolscache.watchline import DELETED, Bookmark, Change, parse

YIELD_EVERY = 100
"""Objects decoded before the loop gets a turn: about a millisecond (REF-19)."""

MIN_WATCH_TIMEOUT = 300.0
"""Each watch asks to be closed after once to twice this many seconds; the spread keeps clients out of step."""

IDLE_GRACE = 5.0
"""Seconds of silence beyond that, after which the connection counts as dead although nobody closed it."""

INITIAL_SILENCE = 30.0
"""A streamed initial list that is silent for so long comes from a server that ignored the request for one (REF-8)."""

LATE_INITIAL_END = 10.0
SHORT_WATCH = 1.0

# Answers that tell of the state of the server or of our credentials, not of the resourceVersion: the watch is tried
# again where it was, without a new list.
_TRY_AGAIN = (*NO_SERVER, TooManyRequests, ServerTimeout, Timeout, Unauthorized, Forbidden)
_NO_STREAMING = (BadRequest, Invalid, MethodNotSupported, NotAcceptable)

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where a reflector puts what it learns. Plain functions: each is one step for everybody else."""

    def replace(self, records: Sequence[Record], resource_version: str) -> None:
        """These are all objects there are."""
        ...

    def apply(self, changes: Sequence[Change], resource_version: str) -> None:
        """These happened, in this order."""
        ...

    def bookmark(self, resource_version: str) -> None:
        """Nothing else happened up to here."""
        ...


class ShortWatch(ControllerRuntimeError):
    """A watch ended at once without an event: something between us and the server cuts it off."""


class StreamingListUnsupported(ControllerRuntimeError):
    """The server does not stream initial lists, or pretends to."""


class InitialListInterrupted(ControllerRuntimeError):
    """A streamed initial list ended before it was complete."""


class GarbledList(ControllerRuntimeError):
    """The answer to a list request is no list."""


@dataclass(slots=True)
class ReflectorMetrics:
    """What one reflector counts; `runtime.metrics` exposes it."""

    events: Counter[str] = field(default_factory=Counter)
    """Watch events by type."""

    relists: Counter[str] = field(default_factory=Counter)
    """Full reads by reason: initial, expired, error."""

    watch_started: float | None = None
    """When the open watch was opened, by the clock of the reflector."""


class Reflector:
    """One list+watch loop. `run()` ends only by cancellation."""

    def __init__(
        self,
        lister_watcher: ListerWatcher,
        sink: Sink,
        decoder: RecordDecoder,
        *,
        name: str = "",
        clock: Clock = REAL_CLOCK,
        streaming_lists: bool = True,
        bookmarks: bool = True,
        page_size: int = PAGE_SIZE,
        internal_error_budget: float = 0.0,
        on_error: Callable[[Exception], None] | None = None,
        rng: random.Random | None = None,
        outage: Outage | None = None,
    ) -> None:
        """`internal_error_budget`: seconds for which a watch answered with 500 is repeated before it leads to a list.
        `on_error` hears of every failure instead of the log. `outage` is shared by all that use the same client."""
        self.name = name or str(decoder.gvk)
        self.metrics = ReflectorMetrics()
        self.last_sync_resource_version = ""
        self._lister_watcher = lister_watcher
        self._sink = sink
        self._decoder = decoder
        self._clock = clock
        self._streaming_lists = streaming_lists
        self._bookmarks = bookmarks
        self._page_size = page_size
        self._internal_error_budget = internal_error_budget
        self._internal_errors_since: float | None = None
        self._on_error = on_error or self._log
        self._random = rng or random.Random()
        self._backoff = Backoff(clock, rng=self._random)
        self._outage = outage or Outage(clock, self._random)
        self._was_absent = False
        self._keep_paging = False
        self._relist_reason = "initial"

    async def run(self) -> None:
        """Lists and watches until cancelled; failures are reported, and waited out."""
        while True:
            try:
                await self.list_and_watch()
            except Exception as error:
                if self.last_sync_resource_version:
                    self._relist_reason = "expired" if isinstance(error, Expired | Gone) else "error"
                self._on_error(error)
                await self._pause(error)

    async def list_and_watch(self) -> NoReturn:
        """One way through the picture above. Raises what made a new list necessary."""
        try:
            if not self._streaming_lists:
                await self._list()
            else:
                await self._stream_initial_list()
        except StreamingListUnsupported as error:
            log.info("%s: listing without streaming: %s", self.name, error)
            await self._list()
        while True:
            try:
                await self._stream(self.last_sync_resource_version)
            except (ControllerRuntimeError, OSError) as error:
                await self._wait_to_watch_again(error)

    # The initial list

    async def _stream_initial_list(self) -> None:
        """Reads the collection as the beginning of a watch, and stays in that watch until it closes."""
        for version in self._versions(first=""):
            lists_before = self.metrics.relists.total()
            try:
                await self._stream(version, initial=True)
                return
            except (ControllerRuntimeError, OSError) as error:
                if self.metrics.relists.total() > lists_before:
                    await self._wait_to_watch_again(error)
                    return
                if isinstance(error, _NO_STREAMING):
                    raise StreamingListUnsupported(str(error)) from error
                if version == "" or not _is_unusable_version(error):
                    raise
                log.info("%s: resourceVersion %s cannot be used: %s", self.name, version, error)

    async def _list(self) -> None:
        for version in self._versions(first="0"):
            try:
                await self._list_at(version)
                return
            except ApiError as error:
                if version == "" or not _is_unusable_version(error):
                    raise
                log.info("%s: resourceVersion %s cannot be used: %s", self.name, version, error)

    def _versions(self, first: str) -> list[str]:
        """Where to list, in the order of trying: never back in time, unless that is the only way out."""
        return list(dict.fromkeys((self.last_sync_resource_version or first, "")))

    async def _list_at(self, version: str) -> None:
        records: list[Record] = []

        async def use(items: list[msgspec.Raw]) -> None:
            for start in range(0, len(items), YIELD_EVERY):
                records.extend(self._decode_items(items[start : start + YIELD_EVERY]))
                await asyncio.sleep(0)

        at_once = version not in ("", "0") and not self._keep_paging
        pager = Pager(self._lister_watcher.list, 0 if at_once else self._page_size)
        try:
            result = await pager.list(version, use, records.clear)
        except msgspec.MsgspecError as error:
            raise GarbledList(f"the server answered a list with something else: {error}") from error
        self._outage.answered()
        if version == "0" and result.paginated:
            self._keep_paging = True
        self._replace(records, result.resource_version)

    def _decode_items(self, items: Sequence[msgspec.Raw]) -> list[Record]:
        records = []
        for item in items:
            try:
                records.append(self._decoder.decode(bytes(item)))
            except Exception as error:
                self._skip(error)
        return records

    def _replace(self, records: Sequence[Record], version: str) -> None:
        self._sink.replace(records, version)
        self.last_sync_resource_version = version
        self._internal_errors_since = None
        self.metrics.relists[self._relist_reason] += 1

    # The watch

    async def _wait_to_watch_again(self, error: Exception) -> None:
        """Waits until the watch may be tried again where it was; raises `error` when only a new list helps."""
        in_budget = isinstance(error, InternalError) and self._within_budget()
        if not in_budget and not isinstance(error, (ShortWatch, *_TRY_AGAIN)):
            raise error
        self._on_error(error)
        await self._pause(error)

    async def _pause(self, error: Exception) -> None:
        """Lets the time pass after which a failed request may be repeated."""
        is_absent = isinstance(error, NO_SERVER)
        if self._was_absent and not is_absent:
            self._backoff.reset()  # it grew while nobody could have succeeded
        self._was_absent = is_absent
        at_least = _retry_after(error)
        delay = max(self._backoff.next(), at_least)
        if is_absent:
            await self._outage.wait(delay, at_least)
            return
        if isinstance(error, ApiError):
            self._outage.answered()
        await self._clock.sleep(delay)

    def _within_budget(self) -> bool:
        now = self._clock.monotonic()
        if self._internal_errors_since is None:
            self._internal_errors_since = now
        return now - self._internal_errors_since < self._internal_error_budget

    async def _stream(self, version: str, *, initial: bool = False) -> None:
        """Reads one watch until it ends; returns when that is a reason to open the next one at once."""
        timeout = MIN_WATCH_TIMEOUT * (1 + self._random.random())
        params = {"resourceVersion": version, "timeoutSeconds": str(int(timeout))}
        if self._bookmarks or initial:
            params["allowWatchBookmarks"] = "true"
        if initial:
            params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        reader = _StreamReader(self, version, initial=initial)
        started = self._clock.monotonic()
        with anyio.CancelScope() as scope:
            silence = _Silence(self._clock, scope, INITIAL_SILENCE if initial else timeout + IDLE_GRACE)
            late = self._clock.call_at(started + LATE_INITIAL_END, reader.warn_if_late) if initial else None
            try:
                async with self._lister_watcher.watch(params) as lines:
                    self._outage.answered()
                    self.metrics.watch_started = started
                    async for batch in lines.batches():
                        silence.broken()
                        await reader.read(batch)
                        if initial and not reader.initial:
                            silence.limit = timeout + IDLE_GRACE
            except TransportError as error:
                # A stream that breaks after it delivered is closed like any other; one that never came is a failure.
                if not reader.received:
                    raise
                log.debug("%s: the watch broke: %s", self.name, error)
            finally:
                silence.end()
                if late is not None:
                    late.cancel()
                self.metrics.watch_started = None
        if reader.initial:
            if scope.cancelled_caught:
                self._streaming_lists = False
                raise StreamingListUnsupported(f"no initial events for {INITIAL_SILENCE:.0f} s")
            raise InitialListInterrupted("the stream ended before the initial list was complete")
        if not reader.received and self._clock.monotonic() - started < SHORT_WATCH:
            raise ShortWatch("the watch ended at once without an event")
        self._internal_errors_since = None

    # Reports

    def _skip(self, error: Exception) -> None:
        """One object or line that cannot be read is left out; the others are not made to suffer."""
        if isinstance(error, UnexpectedObject):
            log.warning("%s: skipped what cannot be read: %s", self.name, error)
        else:
            log.error("%s: skipped an object that the transform failed on", self.name, exc_info=error)

    def _log(self, error: Exception) -> None:
        if isinstance(error, Expired | Gone):
            log.info("%s: the watch lost its place, listing again: %s", self.name, error)
        elif not isinstance(error, ControllerRuntimeError | OSError):
            log.error("%s: failed, listing again", self.name, exc_info=error)
        elif isinstance(error, Forbidden):
            log.error("%s: may not list or watch: %s", self.name, error)
        else:
            log.warning("%s: %s: %s", self.name, type(error).__name__, error)


class _StreamReader:
    """Turns the lines of one watch into calls of the sink."""

    def __init__(self, reflector: Reflector, version: str, *, initial: bool) -> None:
        self.initial = initial
        """Whether the initial events are still coming in; nobody sees them before they are complete."""

        self.received = False
        self._reflector = reflector
        self._sink = reflector._sink
        self._decoder = reflector._decoder
        # The events of a watch that was opened nowhere in particular start with the present objects, in any order:
        # none of their versions is a place to resume from (REF-11).
        self._in_order = initial or version not in ("", "0")
        self._objects: dict[object, Record] = {}
        self._since_yield = 0

    async def read(self, lines: Sequence[bytes]) -> None:
        self.received = True
        for start in range(0, len(lines), YIELD_EVERY):
            part = lines[start : start + YIELD_EVERY]
            self._read(part)
            self._since_yield += len(part)
            if self._since_yield >= YIELD_EVERY:
                self._since_yield = 0
                await asyncio.sleep(0)

    def _read(self, lines: Sequence[bytes]) -> None:
        changes: list[Change] = []
        for line in lines:
            try:
                event = parse(line, self._decoder)
            except Exception as error:
                self._reflector._skip(error)
                continue
            if type(event) is Change:
                changes.append(event)
            elif isinstance(event, Bookmark):
                self._flush(changes)
                changes = []
                self._bookmark(event)
            else:
                assert isinstance(event, ApiError)
                self._flush(changes)
                raise event
        self._flush(changes)

    def _flush(self, changes: list[Change]) -> None:
        if not changes:
            return
        events = self._reflector.metrics.events
        for change in changes:
            events[change.type] += 1
        if self.initial:
            for change in changes:
                if change.type == DELETED:
                    self._objects.pop(change.record.key, None)
                else:
                    self._objects[change.record.key] = change.record
            return
        self._in_order = self._in_order or any(change.type != "ADDED" for change in changes)
        version = changes[-1].record.metadata.resource_version if self._in_order else ""
        self._sink.apply(changes, version)
        if version:
            self._reflector.last_sync_resource_version = version

    def _bookmark(self, bookmark: Bookmark) -> None:
        self._reflector.metrics.events["BOOKMARK"] += 1
        if self.initial:
            if bookmark.ends_initial_events:
                self.initial = False
                self._reflector._replace([*self._objects.values()], bookmark.resource_version)
                self._objects.clear()
        elif bookmark.resource_version:
            self._in_order = True
            self._reflector.last_sync_resource_version = bookmark.resource_version
            self._sink.bookmark(bookmark.resource_version)

    def warn_if_late(self) -> None:
        if self.initial:
            log.warning("%s: the initial list is not complete after %.0f s", self._reflector.name, LATE_INITIAL_END)


class _Silence:
    """Cancels a scope after `limit` seconds without `broken()`. One timer, looked at only when it fires."""

    def __init__(self, clock: Clock, scope: anyio.CancelScope, limit: float) -> None:
        self.limit = limit
        self._clock = clock
        self._scope = scope
        self._last = clock.monotonic()
        self._timer: Timer = clock.call_at(self._last + limit, self._check)

    def broken(self) -> None:
        self._last = self._clock.monotonic()

    def end(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        deadline = self._last + self.limit
        if self._clock.monotonic() >= deadline:
            self._scope.cancel()
        else:
            self._timer = self._clock.call_at(deadline, self._check)


def _is_unusable_version(error: Exception) -> bool:
    """Whether the resourceVersion was the fault: compacted, or from the future of a lagging server (REF-1, REF-2)."""
    if isinstance(error, Expired | Gone):
        return True
    if not isinstance(error, ApiError):
        return False
    return error.has_cause("ResourceVersionTooLarge") or "too large resource version" in error.message.lower()


def _retry_after(error: Exception) -> float:
    return (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
