"""Answers reads from the store of one informer (spec runtime CACHE-13 to CACHE-16)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from bobrapet.runtime.cache.errors import UnsupportedByCache
from bobrapet.runtime.cache.internal.decoded import Decoded
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

    def __init__(self, informer: SharedIndexInformer, decoded: Decoded | None = None) -> None:
        """`decoded` holds what is shared; default: one for this kind alone."""
        self._informer = informer
        self._decoded = decoded if decoded is not None else Decoded()

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
        return self._decoded.get(self._informer.gvk, cls, record) if share else record.decode(cls)
