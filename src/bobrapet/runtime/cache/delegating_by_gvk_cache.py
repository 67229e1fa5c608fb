"""Different caches for different kinds behind one surface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from bobrapet.runtime.client.apiutil import gvk_for_class
from bobrapet.runtime.client.object import ObjectKey, ObjectList
from bobrapet.runtime.internal.tasks import TaskSet
from bobrapet.runtime.scheme import GroupVersionKind, Scheme

if TYPE_CHECKING:
    from bobrapet.runtime.cache.cache import Cache, Informer

T = TypeVar("T")


class DelegatingByGVKCache:
    """Sends each read to the cache of its kind, or to the default one."""

    def __init__(self, scheme: Scheme, by_gvk: Mapping[GroupVersionKind, Cache], default: Cache) -> None:
        self._scheme = scheme
        self._by_gvk = dict(by_gvk)
        self._default = default

    async def get(self, cls: type[T], key: ObjectKey, **options: Any) -> T:
        return await self._for(cls).get(cls, key, **options)

    async def list(self, cls: type[T], **options: Any) -> ObjectList[T]:
        return await self._for(cls).list(cls, **options)

    async def get_informer(self, cls: type[Any], *, block_until_synced: bool = True) -> Informer:
        return await self._for(cls).get_informer(cls, block_until_synced=block_until_synced)

    async def get_informer_for_kind(self, gvk: GroupVersionKind, *, block_until_synced: bool = True) -> Informer:
        return await self._for_kind(gvk).get_informer_for_kind(gvk, block_until_synced=block_until_synced)

    async def remove_informer(self, cls: type[Any]) -> None:
        await self._for(cls).remove_informer(cls)

    async def index_field(self, cls: type[T], field: str, extract: Callable[[T], Iterable[str]]) -> None:
        await self._for(cls).index_field(cls, field, extract)  # type: ignore[arg-type]  # T is any class of objects

    async def start(self) -> None:
        await run_together(self._all)

    async def wait_for_cache_sync(self) -> bool:
        return all([await cache.wait_for_cache_sync() for cache in self._all])

    def written(self, gvk: GroupVersionKind, key: ObjectKey, resource_version: str) -> None:
        self._for_kind(gvk).written(gvk, key, resource_version)

    def deleted(self, gvk: GroupVersionKind, key: ObjectKey, uid: str) -> None:
        self._for_kind(gvk).deleted(gvk, key, uid)

    @property
    def _all(self) -> tuple[Cache, ...]:
        return (self._default, *self._by_gvk.values())

    def _for(self, cls: type[Any]) -> Cache:
        return self._for_kind(gvk_for_class(cls, self._scheme))

    def _for_kind(self, gvk: GroupVersionKind) -> Cache:
        return self._by_gvk.get(gvk, self._default)


async def run_together(caches: Iterable[Cache]) -> None:
    """Runs several caches until cancelled, or until one of them fails."""
    tasks = TaskSet()
    try:
        for cache in caches:
            tasks.spawn(cache.start(), name="cache")
        await tasks.failure()
    finally:
        await tasks.stop()
