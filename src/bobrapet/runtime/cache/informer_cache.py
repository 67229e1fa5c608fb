"""A cache over one set of informers: one scope, any number of kinds (spec runtime 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from bobrapet.runtime.cache.errors import CacheNotStarted, ResourceNotCached
from bobrapet.runtime.cache.internal.cache_reader import CacheReader, field_index, field_index_name
from bobrapet.runtime.cache.internal.decoded import Decoded
from bobrapet.runtime.cache.internal.informers import Entry, Informers, Projection, Settings
from bobrapet.runtime.client.apiutil import RESTMapper, gvk_for_class
from bobrapet.runtime.client.object import ObjectKey, ObjectList, Unstructured, is_metadata_only
from bobrapet.runtime.client.options import Fields, Labels
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.rest.interface import Rest
from bobrapet.runtime.scheme import GroupVersionKind, Scheme
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer

T = TypeVar("T")


class InformerCache:
    """Implements `cache.Cache`, and the `WriteListener` of a client when reads should see its writes."""

    def __init__(
        self,
        rest: Rest,
        scheme: Scheme,
        mapper: RESTMapper,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        *,
        fail_on_missing_informer: bool = False,
        unsafe_disable_copy: bool = False,
        decoded: Decoded | None = None,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        """`decoded` holds the objects that readers share; several caches may have one together. Default: its own."""
        self._scheme = scheme
        self._fail_on_missing_informer = fail_on_missing_informer
        self._unsafe_disable_copy = unsafe_disable_copy
        self._informers = Informers(rest, mapper, settings, clock)
        self._decoded = decoded if decoded is not None else Decoded()
        self._readers: dict[SharedIndexInformer, CacheReader] = {}

    # Reads

    async def get(
        self, cls: type[T], key: ObjectKey, *, resource_version: str | None = None, unsafe_disable_copy: bool = False
    ) -> T:
        """One object, whatever `resource_version` says. Raises `NotFound`, `CacheNotStarted`, `ResourceNotCached`."""
        entry = await self._entry_to_read(cls)
        key = key if entry.namespaced else ObjectKey("", key.name)
        if entry.expectations.is_outstanding(key):
            await entry.expectations.wait(key)
        return self._reader(entry).get(cls, key, share=unsafe_disable_copy or self._unsafe_disable_copy)

    async def list(
        self,
        cls: type[T],
        *,
        namespace: str | None = None,
        labels: Labels = None,
        fields: Fields = None,
        limit: int | None = None,
        continue_: str | None = None,
        resource_version: str | None = None,
        unsafe_disable_copy: bool = False,
    ) -> ObjectList[T]:
        """All matching objects. `fields` need an index each; `limit` cuts, and the rest cannot be read."""
        entry = await self._entry_to_read(cls)
        namespace = (namespace or "") if entry.namespaced else ""
        if entry.expectations.is_outstanding(None, namespace):
            await entry.expectations.wait(None, namespace)
        return await self._reader(entry).list(
            cls,
            namespace=namespace,
            labels=labels,
            fields=fields,
            limit=limit,
            continue_=continue_,
            share=unsafe_disable_copy or self._unsafe_disable_copy,
        )

    async def _entry_to_read(self, cls: type[Any]) -> Entry:
        gvk, projection = self._kind_of(cls)
        if not self._informers.started.is_set():
            raise CacheNotStarted(
                f"{gvk.kind} was read from the cache before the cache was started; "
                "use the API reader for reads before manager.start()"
            )
        entry = self._informers.peek(gvk, projection)
        if entry is None:
            if self._fail_on_missing_informer:
                raise ResourceNotCached(
                    f"{gvk} is not cached: no controller watches it; watch it, call cache.get_informer at start, "
                    "or read it with the API reader"
                )
            entry = await self._informers.get(gvk, projection)
        if not entry.informer.has_synced():
            await entry.informer.synced.wait()
        return entry

    def _reader(self, entry: Entry) -> CacheReader:
        reader = self._readers.get(entry.informer)
        if reader is None:
            reader = self._readers[entry.informer] = CacheReader(entry.informer, self._decoded)
        return reader

    # Informers

    async def get_informer(self, cls: type[Any], *, block_until_synced: bool = True) -> SharedIndexInformer:
        """The informer of a class, started if there is none. Raises `NotRegistered`, `NoKindMatch`.

        Blocks until it is filled, unless told otherwise or the cache does not run yet.
        """
        entry = await self._informers.get(*self._kind_of(cls))
        if block_until_synced and self._informers.started.is_set():
            await entry.informer.synced.wait()
        return entry.informer

    async def get_informer_for_kind(
        self, gvk: GroupVersionKind, *, block_until_synced: bool = True
    ) -> SharedIndexInformer:
        """Like `get_informer`, for a kind without a class."""
        return await self.get_informer(Unstructured.of(gvk), block_until_synced=block_until_synced)

    async def remove_informer(self, cls: type[Any]) -> None:
        """Stops the informer of a class; a later read starts a new one."""
        gvk, projection = self._kind_of(cls)
        entry = self._informers.peek(gvk, projection)
        if entry is not None:
            self._readers.pop(entry.informer, None)
        await self._informers.remove(gvk, projection)

    async def index_field(self, cls: type[T], field: str, extract: Callable[[T], Iterable[str]]) -> None:
        """Makes `list(cls, fields={field: value})` possible. Raises `IndexConflict` when it is already."""
        entry = await self._informers.get(*self._kind_of(cls))
        entry.informer.add_indexers({field_index_name(field): field_index(cls, extract)})

    # Running

    async def start(self) -> None:
        """Runs the informers until cancelled."""
        await self._informers.start()

    async def wait_for_cache_sync(self) -> bool:
        """Waits until all informers known now are filled."""
        return await self._informers.wait_for_cache_sync()

    # WriteListener

    def written(self, gvk: GroupVersionKind, key: ObjectKey, resource_version: str) -> None:
        for entry in self._informers.of_kind(gvk):
            entry.expectations.written(key, resource_version)

    def deleted(self, gvk: GroupVersionKind, key: ObjectKey, uid: str) -> None:
        for entry in self._informers.of_kind(gvk):
            entry.expectations.deleted(key, uid)

    def _kind_of(self, cls: type[Any]) -> tuple[GroupVersionKind, Projection]:
        projection: Projection = "metadata" if is_metadata_only(cls) else "object"
        return gvk_for_class(cls, self._scheme), projection
