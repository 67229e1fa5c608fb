"""A client that stays in one namespace (spec runtime CLI-15)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from bobrapet.runtime.client.decorator import ClientDecorator, SubResourceDecorator
from bobrapet.runtime.client.interfaces import SubResourceClient, WithWatch
from bobrapet.runtime.client.object import (
    ObjectKey,
    ObjectList,
    Unstructured,
    deep_copy,
    metadata_dict,
    replace_metadata,
)
from bobrapet.runtime.client.patch import ApplyConfiguration, Patch
from bobrapet.runtime.client.watch import WatchEvent
from bobrapet.runtime.errors import NamespaceMismatch

T = TypeVar("T")


class NamespacedClient(ClientDecorator):
    """Fills in the namespace of namespaced kinds and rejects another one. Cluster-scoped kinds are left alone."""

    def __init__(self, inner: WithWatch, namespace: str) -> None:
        super().__init__(inner)
        self.namespace = namespace

    async def get(self, cls: type[T], key: ObjectKey, **options: Any) -> T:
        return await self.inner.get(cls, ObjectKey(await self._namespace(cls, key.namespace), key.name), **options)

    async def list(self, cls: type[T], *, namespace: str | None = None, **options: Any) -> ObjectList[T]:
        return await self.inner.list(cls, namespace=await self._namespace(cls, namespace) or None, **options)

    def watch(
        self, cls: type[T], *, namespace: str | None = None, **options: Any
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[T]]]:
        return self._watch(cls, namespace, options)

    @asynccontextmanager
    async def _watch(
        self, cls: type[T], namespace: str | None, options: dict[str, Any]
    ) -> AsyncIterator[AsyncIterator[WatchEvent[T]]]:
        namespace = await self._namespace(cls, namespace) or None
        async with self.inner.watch(cls, namespace=namespace, **options) as events:
            yield events

    async def create(self, obj: T, **options: Any) -> T:
        return await self.inner.create(await self.placed(obj), **options)

    async def update(self, obj: T, **options: Any) -> T:
        return await self.inner.update(await self.placed(obj), **options)

    async def patch(self, obj: T, patch: Patch, **options: Any) -> T:
        return await self.inner.patch(await self.placed(obj), _Placed(patch, obj), **options)

    async def apply(self, cfg: ApplyConfiguration, **options: Any) -> Any:
        return await self.inner.apply(await self.placed_configuration(cfg), **options)

    async def delete(self, obj: Any, **options: Any) -> None:
        await self.inner.delete(await self.placed(obj), **options)

    async def delete_all_of(self, cls: type[Any], *, namespace: str | None = None, **options: Any) -> None:
        await self.inner.delete_all_of(cls, namespace=await self._namespace(cls, namespace) or None, **options)

    def sub_resource(self, name: str) -> SubResourceClient:
        return _NamespacedSubResource(self, name)

    async def placed(self, obj: T) -> T:
        """`obj`, or a copy of it with the namespace filled in."""
        key = ObjectKey.of(obj)
        namespace = await self._namespace(obj, key.namespace)
        if namespace == key.namespace:
            return obj
        copied = deep_copy(obj)
        replace_metadata(copied, {**metadata_dict(copied), "namespace": namespace})
        return copied

    async def placed_configuration(self, cfg: ApplyConfiguration) -> ApplyConfiguration:
        raw = cfg.to_dict()
        subject = cfg.object
        if isinstance(subject, dict):
            subject = Unstructured(raw)
        namespace = await self._namespace(subject, raw["metadata"].get("namespace"))
        if namespace == (raw["metadata"].get("namespace") or ""):
            return cfg
        raw["metadata"]["namespace"] = namespace
        wanted = raw if isinstance(cfg.object, dict) else type(cfg.object).model_validate(raw)
        return ApplyConfiguration(wanted, cfg.optimistic_lock)

    async def _namespace(self, subject: Any, given: str | None) -> str:
        if not await self.inner.is_object_namespaced(subject):
            return given or ""
        if given and given != self.namespace:
            kind = self.inner.group_version_kind_for(subject).kind
            raise NamespaceMismatch(f"{kind}: namespace {given!r} is not that of this client, {self.namespace!r}")
        return self.namespace


class _NamespacedSubResource(SubResourceDecorator):
    client: NamespacedClient

    def __init__(self, client: NamespacedClient, name: str) -> None:
        super().__init__(client, name)

    async def get(self, obj: Any, cls: type[T]) -> T:
        return await self.inner.get(await self.client.placed(obj), cls)

    async def create(self, obj: Any, body: T, **options: Any) -> T:
        return await self.inner.create(await self.client.placed(obj), body, **options)

    async def update(self, obj: T, **options: Any) -> T:
        return await self.inner.update(await self.client.placed(obj), **options)

    async def patch(self, obj: T, patch: Patch, **options: Any) -> T:
        return await self.inner.patch(await self.client.placed(obj), _Placed(patch, obj), **options)

    async def apply(self, cfg: ApplyConfiguration, **options: Any) -> Any:
        return await self.inner.apply(await self.client.placed_configuration(cfg), **options)


class _Placed:
    """A patch that is computed from the object as the caller has it, so that the filled-in namespace is no change."""

    def __init__(self, patch: Patch, obj: Any) -> None:
        self.content_type = patch.content_type
        self._patch = patch
        self._obj = obj

    def body(self, obj: Any) -> bytes | None:
        return self._patch.body(self._obj)
