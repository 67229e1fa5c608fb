"""List and watch: which objects, from which moment, in which pages.

resourceVersion means what it means to a kube-apiserver: a list answers from the current state, which is never older
than any version a client can have seen; a watch at "" or "0" begins with synthetic ADDED events, at a version it
resumes after it, and a version older than the history is 410.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bobrapet.local.apiserver import errors, selectors
from bobrapet.local.apiserver.representation import Representation, encode
from bobrapet.local.apiserver.types import Object, Resource
from bobrapet.local.store import Change, ChangeType, HistoryExpired, Record, Store

_SNAPSHOTS = 64
"""Paged lists that can be continued at the same time; the oldest is forgotten first (410, as after a compaction)."""
BOOKMARK_INTERVAL = 60.0
"""Seconds between bookmarks, as in a kube-apiserver."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

Match = Callable[[Record], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """`meta/v1 ListOptions`."""

    namespace: str | None = None
    name: str = ""
    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_token: str = ""
    bookmarks: bool = False
    send_initial_events: bool | None = None
    timeout: float = 0


class Reader:
    """Lists and watches over the store."""

    def __init__(self, store: Store, *, bookmark_interval: float = BOOKMARK_INTERVAL) -> None:
        self._store = store
        self._bookmark_interval = bookmark_interval
        self._snapshots: OrderedDict[str, tuple[Sequence[Record], int]] = OrderedDict()
        self._stopping = False

    def stop(self) -> None:
        """Ends all watches."""
        self._stopping = True
        self._store.wake_watchers()

    def matching(self, resource: Resource, options: ListOptions) -> Sequence[Record]:
        """The current objects that the selectors of `options` name."""
        match = matcher(resource, options)
        records = self._store.list(resource.storage, options.namespace)
        return [record for record in records if match(record)] if match else records

    def list(self, resource: Resource, options: ListOptions, representation: Representation) -> bytes:
        """The encoded list."""
        self._check_list(options)
        if options.continue_token:
            records, revision, start = self._continued(options)
        else:
            records, revision, start = self.matching(resource, options), self._store.revision, 0
        metadata: Object = {"resourceVersion": str(revision)}
        if options.limit and len(records) - start > options.limit:
            page = records[start : start + options.limit]
            metadata["continue"] = self._continue(options, records, revision, start + options.limit)
            remaining = len(records) - start - options.limit
            if not options.label_selector and not options.field_selector:
                metadata["remainingItemCount"] = remaining
        else:
            page = records[start:]
        return representation.many(page, metadata)

    def watch(self, resource: Resource, options: ListOptions, representation: Representation) -> AsyncIterator[bytes]:
        """The encoded events, several lines at a time.

        Raises at once what can be refused with a code; later faults are ERROR events.
        """
        _check_watch(options)
        match = matcher(resource, options)
        seen, initial = self._begin(resource, options, representation)
        return self._events(resource, options, representation, match, seen, initial)

    async def _events(
        self,
        resource: Resource,
        options: ListOptions,
        representation: Representation,
        match: Match | None,
        seen: int,
        initial: bytes,
    ) -> AsyncIterator[bytes]:
        feed = self._store.feed(resource.storage)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + options.timeout if options.timeout else None
        next_bookmark = loop.time() + self._bookmark_interval if options.bookmarks else None
        if initial:
            yield initial
        with feed.follow() as changed:
            while not self._stopping:
                changed.clear()
                try:
                    changes = feed.since(seen)
                except HistoryExpired as error:
                    yield event("ERROR", encode(errors.expired(str(error)).status()))
                    return
                if changes:
                    seen = changes[-1].record.revision
                    lines = [line for change in changes if (line := _line(change, match, representation))]
                    if lines:
                        yield b"".join(lines)
                    continue
                # Nothing of this feed lies between here and the store's revision.
                seen = max(seen, self._store.revision)
                now = loop.time()
                if deadline is not None and now >= deadline:
                    return
                if next_bookmark is not None and now >= next_bookmark:
                    next_bookmark = now + self._bookmark_interval
                    yield event("BOOKMARK", representation.bookmark({"resourceVersion": str(seen)}))
                    continue
                await _wait(changed, min(filter(None, (deadline, next_bookmark)), default=None))

    def _begin(self, resource: Resource, options: ListOptions, representation: Representation) -> tuple[int, bytes]:
        """Where the watch starts, and the events that come before it."""
        current = self._store.revision
        asked = revision_of(options.resource_version)
        from_state = options.send_initial_events if options.send_initial_events is not None else asked == 0
        if not from_state:
            # "" or "0" without initial events: from now on.
            return (asked or current), b""
        if asked > current:
            raise errors.too_large_revision(asked, current)
        lines = [event("ADDED", representation.one(record)) for record in self.matching(resource, options)]
        if options.send_initial_events and options.bookmarks:
            metadata: Object = {"resourceVersion": str(current), "annotations": {INITIAL_EVENTS_END: "true"}}
            lines.append(event("BOOKMARK", representation.bookmark(metadata)))
        return current, b"".join(lines)

    def _check_list(self, options: ListOptions) -> None:
        if options.send_initial_events is not None:
            raise _forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
        if options.resource_version_match:
            _check_match(options)
        asked = revision_of(options.resource_version)
        if options.continue_token:
            if options.resource_version not in ("", "0"):
                raise errors.bad_request("specifying resource version is not allowed when using continue")
        elif asked > self._store.revision:
            raise errors.too_large_revision(asked, self._store.revision)
        elif options.resource_version_match == "Exact" and asked < self._store.revision:
            # Only the present is kept whole; an exact past answers as if it had been compacted.
            raise errors.expired(f"The resourceVersion for the provided list is too old: {asked}")

    def _continue(self, options: ListOptions, records: Sequence[Record], revision: int, start: int) -> str:
        given = _decode_token(options.continue_token) if options.continue_token else {}
        identity = given.get("id") or f"{revision}.{id(records):x}.{len(self._snapshots)}"
        # A matching list of everything is the store's own, which is replaced and never changed: no copy is needed.
        self._snapshots[identity] = (records, revision)
        self._snapshots.move_to_end(identity)
        while len(self._snapshots) > _SNAPSHOTS:
            self._snapshots.popitem(last=False)
        token = {"v": "bobrapet/v1", "id": identity, "start": start}
        return base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")

    def _continued(self, options: ListOptions) -> tuple[Sequence[Record], int, int]:
        token = _decode_token(options.continue_token)
        snapshot = self._snapshots.get(token.get("id", ""))
        if snapshot is None:
            raise errors.expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter."
            )
        return snapshot[0], snapshot[1], int(token["start"])


def _check_watch(options: ListOptions) -> None:
    if options.send_initial_events is None:
        if options.resource_version_match:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            raise _forbidden("resourceVersionMatch", text)
    elif options.resource_version_match != "NotOlderThan":
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise _forbidden("resourceVersionMatch", text)


def _check_match(options: ListOptions) -> None:
    field, match = "resourceVersionMatch", options.resource_version_match
    if not options.resource_version:
        raise _forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if options.continue_token:
        raise _forbidden(field, "resourceVersionMatch is forbidden when continue is provided")
    if match not in ("Exact", "NotOlderThan"):
        text = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        raise errors.invalid_options(field, text)
    if match == "Exact" and options.resource_version == "0":
        raise _forbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')


def _forbidden(field: str, text: str) -> errors.ApiError:
    return errors.invalid_options(field, f"Forbidden: {text}", reason="FieldValueForbidden")


def event(type: str, obj: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (type.encode(), obj)


def matcher(resource: Resource, options: ListOptions) -> Match | None:
    """A predicate over records; None when everything matches. 400 for selectors that cannot be."""
    tests: list[Match] = []
    if options.label_selector:
        match = selectors.label_matcher(options.label_selector)
        if match is not None:
            tests.append(lambda record: match(record.labels or {}))
    requirements = selectors.fields(options.field_selector) if options.field_selector else ()
    if options.name:
        requirements = (*requirements, selectors.Requirement("metadata.name", "In", (options.name,)))
    tests += [_field_test(resource, requirement) for requirement in requirements]
    if options.namespace is not None:
        namespace = options.namespace
        tests.append(lambda record: record.key.namespace == namespace)
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda record: all(test(record) for test in tests)


def _field_test(resource: Resource, requirement: selectors.Requirement) -> Match:
    if requirement.key == "metadata.name":
        return lambda record: requirement.matches({"metadata.name": record.key.name})
    if requirement.key == "metadata.namespace" and resource.namespaced:
        return lambda record: requirement.matches({"metadata.namespace": record.key.namespace})
    if requirement.key not in resource.fields:
        raise errors.bad_request(f"field label not supported: {requirement.key}")
    return lambda record: requirement.matches(_fields(record, resource, requirement.key))


def _fields(record: Record, resource: Resource, label: str) -> dict[str, str]:
    found = record.fields
    if found is None:
        found = record.fields = {}
    if label not in found:
        # Kinds that share a store name (both kinds of Event) add their labels to the same record.
        obj = record.object()
        found.update({name: _text(obj, path) for name, path in resource.fields.items()})
    return found


def _text(obj: Any, path: str) -> str:
    """The value at a dotted path as field selectors compare it; the first that exists of `a|b`."""
    for alternative in path.split("|"):
        value = obj
        for part in alternative.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return ("true" if value else "false") if isinstance(value, bool) else str(value)
    return ""


def revision_of(text: str) -> int:
    """Parses a resourceVersion of a list or watch; "" is 0."""
    if not text:
        return 0
    if not text.isdecimal():
        raise errors.bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": strconv.ParseUint: '
            f'parsing "{text}": invalid syntax'
        )
    return int(text)


def _line(change: Change, match: Match | None, representation: Representation) -> bytes | None:
    type = change.type
    if match is not None:
        now = type is not ChangeType.DELETED and match(change.record)
        before = change.before is not None and match(change.before)
        if now and before:
            type = ChangeType.MODIFIED
        elif now:
            type = ChangeType.ADDED
        elif before:
            type = ChangeType.DELETED
        else:
            return None
    key = (type, representation.key)
    line = change.encoded.get(key)
    if line is None:
        line = change.encoded[key] = event(type.value, representation.one(change.record))
    return line


async def _wait(changed: asyncio.Event, until: float | None) -> None:
    if until is None:
        await changed.wait()
        return
    try:
        async with asyncio.timeout_at(until):
            await changed.wait()
    except TimeoutError:
        return


def _decode_token(token: str) -> dict[str, Any]:
    try:
        decoded = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if decoded["v"] != "bobrapet/v1":
            raise ValueError(decoded["v"])
    except (ValueError, KeyError, TypeError):
        text = "invalid continue token: continue key is not valid: illegal base64 data at input byte 0"
        raise errors.bad_request(text) from None
    return dict(decoded)
