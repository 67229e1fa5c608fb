"""Objects that are kept decoded for the next reader: those asked for last, as many as a limit in bytes allows."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple, TypeVar

from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.scheme import GroupVersionKind
from bobrapet.runtime.toolscache.record import Record

T = TypeVar("T")

MOST_BYTES = 6 * 1024 * 1024
"""JSON of the objects that are kept, of all kinds together. Decoded they take about ten times as much; what a thousand
active steps look at fits, a history of finished ones need not."""


class _Place(NamedTuple):
    gvk: GroupVersionKind
    key: ObjectKey
    cls: type[Any]


class Decoded:
    """One for all kinds of a cache, so that the kinds in use take the room of those that nobody asks for."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[_Place, tuple[Record, Any]] = OrderedDict()
        self._bytes = 0

    def get(self, gvk: GroupVersionKind, cls: type[T], record: Record) -> T:
        """The object of `record`. All who ask share it, until it is forgotten."""
        place = _Place(gvk, record.key, cls)
        known = self._kept.get(place)
        if known is not None and known[0] is record:
            self._kept.move_to_end(place)
            shared: T = known[1]
            return shared
        obj = record.decode(cls)
        if known is not None:
            self._forget(place)
        self._kept[place] = record, obj
        self._bytes += len(record.body)
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))
        return obj

    def _forget(self, place: _Place) -> None:
        record, _ = self._kept.pop(place)
        self._bytes -= len(record.body)
