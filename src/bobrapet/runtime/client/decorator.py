"""What the decorating clients share: everything goes to the inner client, writes through one hook."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeVar

from bobrapet.runtime.client.apiutil import RESTMapper
from bobrapet.runtime.client.interfaces import SubResourceClient, WithWatch
from bobrapet.runtime.client.object import ObjectKey, ObjectList
from bobrapet.runtime.client.patch import ApplyConfiguration, Patch
from bobrapet.runtime.client.watch import WatchEvent
from bobrapet.runtime.scheme import GroupVersionKind, Scheme

T = TypeVar("T")

WriteVerb = Literal["create", "update", "patch", "apply", "delete", "delete_all_of"]


class ClientDecorator:
    """Delegates. Subclasses say which options a write gets, and may override verbs."""

    def __init__(self, inner: WithWatch) -> None:
        self.inner = inner

    def write_options(self, verb: WriteVerb, options: dict[str, Any]) -> dict[str, Any]:
        """The options to pass on for a write, of the object itself or of a subresource."""
        return options

    async def get(self, cls: type[T], key: ObjectKey, **options: Any) -> T:
        return await self.inner.get(cls, key, **options)

    async def list(self, cls: type[T], **options: Any) -> ObjectList[T]:
        return await self.inner.list(cls, **options)

    def watch(self, cls: type[T], **options: Any) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[T]]]:
        return self.inner.watch(cls, **options)

    async def create(self, obj: T, **options: Any) -> T:
        return await self.inner.create(obj, **self.write_options("create", options))

    async def update(self, obj: T, **options: Any) -> T:
        return await self.inner.update(obj, **self.write_options("update", options))

    async def patch(self, obj: T, patch: Patch, **options: Any) -> T:
        return await self.inner.patch(obj, patch, **self.write_options("patch", options))

    async def apply(self, cfg: ApplyConfiguration, **options: Any) -> Any:
        return await self.inner.apply(cfg, **self.write_options("apply", options))

    async def delete(self, obj: Any, **options: Any) -> None:
        await self.inner.delete(obj, **self.write_options("delete", options))

    async def delete_all_of(self, cls: type[Any], **options: Any) -> None:
        await self.inner.delete_all_of(cls, **self.write_options("delete_all_of", options))

    def status(self) -> SubResourceClient:
        return self.sub_resource("status")

    def sub_resource(self, name: str) -> SubResourceClient:
        return SubResourceDecorator(self, name)

    @property
    def scheme(self) -> Scheme:
        return self.inner.scheme

    @property
    def rest_mapper(self) -> RESTMapper:
        return self.inner.rest_mapper

    def group_version_kind_for(self, obj: Any) -> GroupVersionKind:
        return self.inner.group_version_kind_for(obj)

    async def is_object_namespaced(self, obj: Any) -> bool:
        return await self.inner.is_object_namespaced(obj)


class SubResourceDecorator:
    """One subresource through a decorating client, with the same options as its other writes."""

    def __init__(self, client: ClientDecorator, name: str) -> None:
        self.client = client
        self.name = name
        self.inner = client.inner.sub_resource(name)

    async def get(self, obj: Any, cls: type[T]) -> T:
        return await self.inner.get(obj, cls)

    async def create(self, obj: Any, body: T, **options: Any) -> T:
        return await self.inner.create(obj, body, **self.client.write_options("create", options))

    async def update(self, obj: T, **options: Any) -> T:
        return await self.inner.update(obj, **self.client.write_options("update", options))

    async def patch(self, obj: T, patch: Patch, **options: Any) -> T:
        return await self.inner.patch(obj, patch, **self.client.write_options("patch", options))

    async def apply(self, cfg: ApplyConfiguration, **options: Any) -> Any:
        return await self.inner.apply(cfg, **self.client.write_options("apply", options))
