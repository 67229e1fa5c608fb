"""Answers reads from the store of one informer (spec runtime CACHE-13 to CACHE-16)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from bobrapet.runtime.cache.errors import UnsupportedByCache
from bobrapet.runtime.client.object import ObjectKey, ObjectList
from bobrapet.runtime.client.options import Fields, Labels
from bobrapet.runtime.client.selectors import FieldSelector, LabelSelector
from bobrapet.runtime.errors import NotFound
from bobrapet.runtime.toolscache.record import Record
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer

T = TypeVar("T")

ALL_NAMESPACES_PREFIX = "__all_namespaces"
CONTINUE_NOT_SUPPORTED = "continue-not-supported"
"""Token of a list that was cut by its limit: there is more, but no way to read on in a map that changes."""

DECODE_AT_ONCE = 200
"""Objects decoded before the loop gets a turn: a few milliseconds."""

SHARED_BYTES = 4 * 1024 * 1024
"""JSON of the objects that are kept decoded. A model takes about ten times as much; a working set of 2,000 StepRuns
fits, a history of finished ones need not."""


def field_index_name(field: str) -> str:
    return f"field:{field}"


def key_to_namespaced_key(namespace: str, value: str) -> str:
    """How an index stores a value: once for its namespace, once (namespace "") for all."""
    return f"{namespace or ALL_NAMESPACES_PREFIX}/{value}"


def field_index(cls: type[T], extract: Callable[[T], Iterable[str]]) -> Callable[[Record], list[str]]:
    """Makes an index function of records from one of objects."""

    def values(record: Record) -> list[str]:
        found = [*extract(record.decode(cls))]
        keys = [key_to_namespaced_key("", value) for value in found]
        if record.key.namespace:
            keys += [key_to_namespaced_key(record.key.namespace, value) for value in found]
        return keys

    return values


class CacheReader:
    """Reads of one informer. Objects are decoded afresh for each caller unless he asks to share them."""

    def __init__(self, informer: SharedIndexInformer) -> None:
        self._informer = informer
        self._shared: OrderedDict[tuple[ObjectKey, type[Any]], tuple[Record, Any]] = OrderedDict()
        self._shared_bytes = 0

    def get(self, cls: type[T], key: ObjectKey, *, share: bool = False) -> T:
        """Raises `NotFound`."""
        record = self._informer.store.get_by_key(key)
        if record is None:
            gvk = self._informer.gvk
            raise NotFound(
                f'{gvk.kind} "{key}" not found in the cache',
                details={"name": key.name, "group": gvk.group, "kind": gvk.kind},
            )
        return self._decode(cls, record, share)

    async def list(
        self,
        cls: type[T],
        *,
        namespace: str | None = None,
        labels: Labels = None,
        fields: Fields = None,
        limit: int | None = None,
        continue_: str | None = None,
        share: bool = False,
    ) -> ObjectList[T]:
        """A consistent snapshot: what happens while it is decoded is not in it."""
        if continue_:
            raise UnsupportedByCache("a list from the cache cannot be continued; read it whole, or ask the API reader")
        records, version = self._select(namespace or "", FieldSelector.parse(fields)), self._informer.progress
        selector = LabelSelector.parse(labels)
        if selector:
            records = [record for record in records if selector.matches(record.metadata.labels)]
        answer: ObjectList[T] = ObjectList(resource_version=version)
        if limit and len(records) > limit:
            records = records[:limit]
            answer.continue_ = CONTINUE_NOT_SUPPORTED
        for start in range(0, len(records), DECODE_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            answer.items += [self._decode(cls, record, share) for record in records[start : start + DECODE_AT_ONCE]]
        return answer

    def _select(self, namespace: str, fields: FieldSelector) -> Sequence[Record]:
        store = self._informer.store
        if not fields:
            return store.list(namespace)
        found: dict[ObjectKey, Record] | None = None
        for requirement in fields.requirements:
            if not requirement.equal:
                raise UnsupportedByCache(f"field selector {requirement}: the cache knows only exact matches")
            matching = store.by_index(
                field_index_name(requirement.field), key_to_namespaced_key(namespace, requirement.value)
            )
            found = dict(matching) if found is None else {key: found[key] for key in found if key in matching}
        return [*(found or {}).values()]

    def _decode(self, cls: type[T], record: Record, share: bool) -> T:
        if not share:
            return record.decode(cls)
        known = self._shared.get((record.key, cls))
        if known is not None and known[0] is record:
            self._shared.move_to_end((record.key, cls))
            shared: T = known[1]
            return shared
        obj = record.decode(cls)
        self._keep(record, cls, obj)
        return obj

    def _keep(self, record: Record, cls: type[Any], obj: Any) -> None:
        """Keeps a decoded object for the next reader, and lets go of those that nobody has asked for longest."""
        replaced = self._shared.pop((record.key, cls), None)
        if replaced is not None:
            self._shared_bytes -= len(replaced[0].body)
        self._shared[record.key, cls] = record, obj
        self._shared_bytes += len(record.body)
        while self._shared_bytes > SHARED_BYTES and len(self._shared) > 1:
            _, (oldest, _) = self._shared.popitem(last=False)
            self._shared_bytes -= len(oldest.body)
