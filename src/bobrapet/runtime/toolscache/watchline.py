"""Takes one line of a watch apart (spec runtime REF-12, REF-13).

The usual line, `{"type":"ADDED","object":{...}}`, is cut rather than decoded: the object is then decoded once, and that
also proves that the cut was right.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from bobrapet.runtime.errors import ApiError, error_from_status
from bobrapet.runtime.toolscache.record import Record, RecordDecoder, UnexpectedObject

ADDED, MODIFIED, DELETED, BOOKMARK, ERROR = "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

_CHANGES = frozenset((ADDED, MODIFIED, DELETED))
# Keyed by the first letter of the type, which stands at a fixed place of the line.
_USUAL = {kind[0].encode()[0]: (kind, f'{{"type":"{kind}","object":'.encode()) for kind in _CHANGES}


class Change(NamedTuple):
    """An object was added, modified or deleted."""

    type: str
    record: Record


class Bookmark(NamedTuple):
    """Everything up to a resourceVersion has been sent."""

    resource_version: str
    ends_initial_events: bool


class _Event(msgspec.Struct):
    type: str = ""
    object: msgspec.Raw = msgspec.Raw(b"{}")


class _BookmarkMetadata(msgspec.Struct):
    resourceVersion: str = ""
    annotations: dict[str, str] | None = None


class _BookmarkObject(msgspec.Struct):
    metadata: _BookmarkMetadata


_event_decoder = msgspec.json.Decoder(_Event)
_bookmark_decoder = msgspec.json.Decoder(_BookmarkObject)


def parse(line: bytes, decoder: RecordDecoder) -> Change | Bookmark | ApiError:
    """What a line says; an ERROR event is returned as its exception.

    Raises `UnexpectedObject` for a line that can only be skipped, and what the transform of the decoder raises.
    """
    usual = _USUAL.get(line[9]) if len(line) > 9 else None
    if usual is not None and line.startswith(usual[1]) and line.endswith(b"}"):
        try:
            return Change(usual[0], decoder.decode(line[len(usual[1]) : -1]))
        except UnexpectedObject:
            pass  # the slow way below finds out whether it is the line or the cut
    try:
        event = _event_decoder.decode(line)
        if event.type in _CHANGES:
            return Change(event.type, decoder.decode(bytes(event.object)))
        if event.type == BOOKMARK:
            metadata = _bookmark_decoder.decode(event.object).metadata
            ends = (metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true"
            return Bookmark(metadata.resourceVersion, ends)
        if event.type == ERROR:
            status: Any = msgspec.json.decode(event.object)
            return error_from_status(status if isinstance(status, dict) else {"message": str(status)})
    except msgspec.MsgspecError as error:
        raise UnexpectedObject(f"not a watch event: {error}: {line[:200]!r}") from error
    raise UnexpectedObject(f"a watch event of unknown type {event.type!r}")
