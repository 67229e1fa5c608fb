"""Several namespaces, one informer each, read as one (spec runtime CACHE-4, CACHE-21)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from bobrapet.runtime.cache.delegating_by_gvk_cache import run_together
from bobrapet.runtime.cache.errors import NamespaceNotCached
from bobrapet.runtime.cache.informer_cache import InformerCache
from bobrapet.runtime.cache.internal.cache_reader import CONTINUE_NOT_SUPPORTED
from bobrapet.runtime.client.apiutil import RESTMapper, gvk_for_class
from bobrapet.runtime.client.object import ObjectKey, ObjectList, Unstructured
from bobrapet.runtime.scheme import GroupVersionKind, Scheme
from bobrapet.runtime.toolscache.shared_informer import (
    Registration,
    ResourceEventHandler,
    SharedIndexInformer,
)
from bobrapet.runtime.toolscache.store import IndexFunc

if TYPE_CHECKING:
    from bobrapet.runtime.cache.cache import Informer

T = TypeVar("T")


class MultiNamespaceRegistration:
    """A handler at several informers; synced when it is synced at all of them."""

    def __init__(self, registrations: Sequence[Registration]) -> None:
        self.registrations = registrations

    def has_synced(self) -> bool:
        return all(registration.has_synced() for registration in self.registrations)

    async def wait_for_sync(self) -> None:
        for registration in self.registrations:
            await registration.wait_for_sync()


class MultiNamespaceInformer:
    """The informers of one kind, one for each namespace."""

    def __init__(self, gvk: GroupVersionKind, informers: Mapping[str, SharedIndexInformer]) -> None:
        self.gvk = gvk
        self.informers = informers

    @property
    def is_stopped(self) -> bool:
        return all(informer.is_stopped for informer in self.informers.values())

    def has_synced(self) -> bool:
        return all(informer.has_synced() for informer in self.informers.values())

    def add_indexers(self, indexers: Mapping[str, IndexFunc]) -> None:
        for informer in self.informers.values():
            informer.add_indexers(indexers)

    def add_event_handler(
        self, handler: ResourceEventHandler, resync_period: float | None = None
    ) -> MultiNamespaceRegistration:
        return MultiNamespaceRegistration(
            [informer.add_event_handler(handler, resync_period) for informer in self.informers.values()]
        )

    def remove_event_handler(self, registration: MultiNamespaceRegistration) -> None:
        for informer, single in zip(self.informers.values(), registration.registrations, strict=True):
            informer.remove_event_handler(single)


class MultiNamespaceCache:
    """One cache for each namespace, and one for the kinds that live in none."""

    def __init__(
        self, scheme: Scheme, mapper: RESTMapper, by_namespace: Mapping[str, InformerCache], cluster: InformerCache
    ) -> None:
        self._scheme = scheme
        self._mapper = mapper
        self._by_namespace = dict(by_namespace)
        self._cluster = cluster

    async def get(self, cls: type[T], key: ObjectKey, **options: Any) -> T:
        """Raises `NamespaceNotCached` for a namespace that nobody watches: that is no proof of absence."""
        if not await self._is_namespaced(cls):
            return await self._cluster.get(cls, key, **options)
        return await self._for_namespace(key.namespace).get(cls, key, **options)

    async def list(self, cls: type[T], *, namespace: str | None = None, **options: Any) -> ObjectList[T]:
        if not await self._is_namespaced(cls):
            return await self._cluster.list(cls, **options)
        if namespace:
            return await self._for_namespace(namespace).list(cls, namespace=namespace, **options)
        answer: ObjectList[T] = ObjectList()
        for cache in self._by_namespace.values():
            part = await cache.list(cls, **options)
            answer.items += part.items
            answer.resource_version = part.resource_version
            answer.continue_ = answer.continue_ or part.continue_
        limit = options.get("limit")
        if limit and len(answer.items) > limit:
            answer.items = answer.items[:limit]
            answer.continue_ = CONTINUE_NOT_SUPPORTED
        return answer

    async def get_informer(self, cls: type[Any], *, block_until_synced: bool = True) -> Informer:
        if not await self._is_namespaced(cls):
            return await self._cluster.get_informer(cls, block_until_synced=block_until_synced)
        informers = {
            namespace: await cache.get_informer(cls, block_until_synced=block_until_synced)
            for namespace, cache in self._by_namespace.items()
        }
        return MultiNamespaceInformer(gvk_for_class(cls, self._scheme), informers)

    async def get_informer_for_kind(self, gvk: GroupVersionKind, *, block_until_synced: bool = True) -> Informer:
        return await self.get_informer(Unstructured.of(gvk), block_until_synced=block_until_synced)

    async def remove_informer(self, cls: type[Any]) -> None:
        for cache in (*self._by_namespace.values(), self._cluster):
            await cache.remove_informer(cls)

    async def index_field(self, cls: type[T], field: str, extract: Callable[[T], Iterable[str]]) -> None:
        caches = self._by_namespace.values() if await self._is_namespaced(cls) else (self._cluster,)
        for cache in caches:
            await cache.index_field(cls, field, extract)

    async def start(self) -> None:
        await run_together([*self._by_namespace.values(), self._cluster])

    async def wait_for_cache_sync(self) -> bool:
        caches = (*self._by_namespace.values(), self._cluster)
        return all([await cache.wait_for_cache_sync() for cache in caches])

    def written(self, gvk: GroupVersionKind, key: ObjectKey, resource_version: str) -> None:
        self._for_write(key).written(gvk, key, resource_version)

    def deleted(self, gvk: GroupVersionKind, key: ObjectKey, uid: str) -> None:
        self._for_write(key).deleted(gvk, key, uid)

    def _for_write(self, key: ObjectKey) -> InformerCache:
        return self._by_namespace.get(key.namespace) or self._by_namespace.get("") or self._cluster

    def _for_namespace(self, namespace: str) -> InformerCache:
        cache = self._by_namespace.get(namespace) or self._by_namespace.get("")
        if cache is None:
            known = ", ".join(sorted(self._by_namespace))
            raise NamespaceNotCached(f"namespace {namespace!r} is not cached; the cache was given only {known}")
        return cache

    async def _is_namespaced(self, cls: type[Any]) -> bool:
        return (await self._mapper.rest_mapping(gvk_for_class(cls, self._scheme))).namespaced
