"""A cache whose informers a test feeds by hand (controller-runtime pkg/cache/informertest).

Handlers hear at once, in the order of the calls: nothing lists, nothing watches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from bobrapet.runtime.cache.internal.cache_reader import CacheReader, field_index, field_index_name
from bobrapet.runtime.client.apiutil import gvk_for_class
from bobrapet.runtime.client.object import ObjectKey, ObjectList, Unstructured, to_dict
from bobrapet.runtime.clock import REAL_CLOCK
from bobrapet.runtime.scheme import GroupVersionKind, Scheme
from bobrapet.runtime.toolscache.record import Record, RecordDecoder
from bobrapet.runtime.toolscache.shared_informer import ResourceEventHandler, SharedIndexInformer

T = TypeVar("T")


class _FakeRegistration:
    """Synced from the start."""

    def __init__(self, handler: ResourceEventHandler) -> None:
        self.handler = handler

    def has_synced(self) -> bool:
        return True

    async def wait_for_sync(self) -> None: ...


class FakeInformer:
    """One kind. Tell it what happens; objects without a resourceVersion get the next one."""

    def __init__(self, gvk: GroupVersionKind) -> None:
        self.inner = SharedIndexInformer(None, gvk, clock=REAL_CLOCK)  # type: ignore[arg-type]  # it is never run
        self.inner.replace([], "0")
        self.gvk = gvk
        self._decoder = RecordDecoder(gvk)
        self._versions = itertools.count(1)
        self._registrations: list[_FakeRegistration] = []

    async def add(self, obj: Any) -> None:
        """The object appeared."""
        record = self._record(obj)
        self.inner.store.add(record)
        for registration in self._registrations:
            await registration.handler.on_add(record, False)

    async def update(self, obj: Any) -> None:
        """The object changed to this."""
        record = self._record(obj)
        old = self.inner.store.get_by_key(record.key) or record
        self.inner.store.update(record)
        for registration in self._registrations:
            await registration.handler.on_update(old, record)

    async def delete(self, obj: Any) -> None:
        """The object is gone."""
        record = self._record(obj)
        self.inner.store.delete(record.key)
        for registration in self._registrations:
            await registration.handler.on_delete(record)

    def add_event_handler(self, handler: ResourceEventHandler, resync_period: float | None = None) -> _FakeRegistration:
        registration = _FakeRegistration(handler)
        self._registrations.append(registration)
        return registration

    def remove_event_handler(self, registration: _FakeRegistration) -> None:
        self._registrations.remove(registration)

    def has_synced(self) -> bool:
        return True

    def _record(self, obj: Any) -> Record:
        raw = {"apiVersion": self.gvk.api_version, "kind": self.gvk.kind, **to_dict(obj)}
        metadata = {"resourceVersion": str(next(self._versions)), **raw.get("metadata", {})}
        return self._decoder.decode(msgspec.json.encode({**raw, "metadata": metadata}))


class FakeInformers:
    """Stands for a cache in tests of controllers and sources."""

    def __init__(self, scheme: Scheme | None = None) -> None:
        self._scheme = scheme or Scheme()
        self._informers: dict[GroupVersionKind, FakeInformer] = {}

    def informer(self, cls: type[Any]) -> FakeInformer:
        """The informer of a class, to be fed."""
        gvk = gvk_for_class(cls, self._scheme)
        return self._informers.setdefault(gvk, FakeInformer(gvk))

    async def get_informer(self, cls: type[Any], *, block_until_synced: bool = True) -> FakeInformer:
        return self.informer(cls)

    async def get_informer_for_kind(self, gvk: GroupVersionKind, *, block_until_synced: bool = True) -> FakeInformer:
        return self.informer(Unstructured.of(gvk))

    async def remove_informer(self, cls: type[Any]) -> None:
        self._informers.pop(gvk_for_class(cls, self._scheme), None)

    async def get(self, cls: type[T], key: ObjectKey, *, unsafe_disable_copy: bool = False, **_: Any) -> T:
        return CacheReader(self.informer(cls).inner).get(cls, key, share=unsafe_disable_copy)

    async def list(self, cls: type[T], *, unsafe_disable_copy: bool = False, **options: Any) -> ObjectList[T]:
        return await CacheReader(self.informer(cls).inner).list(cls, share=unsafe_disable_copy, **options)

    async def index_field(self, cls: type[T], field: str, extract: Callable[[T], Iterable[str]]) -> None:
        self.informer(cls).inner.add_indexers({field_index_name(field): field_index(cls, extract)})

    async def wait_for_cache_sync(self) -> bool:
        return True
