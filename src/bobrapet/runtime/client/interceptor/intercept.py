"""A client whose verbs a test can replace one by one (spec runtime FK-7)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from bobrapet.runtime.client.decorator import ClientDecorator, SubResourceDecorator
from bobrapet.runtime.client.interfaces import SubResourceClient, WithWatch
from bobrapet.runtime.client.object import ObjectKey, ObjectList
from bobrapet.runtime.client.patch import ApplyConfiguration, Patch
from bobrapet.runtime.client.watch import WatchEvent

T = TypeVar("T")

Verb = Callable[..., Awaitable[Any]]
"""Called with the inner client and the arguments of the verb; subresource verbs get the name after the client."""


@dataclass(frozen=True, kw_only=True)
class Funcs:
    """Replacements by verb. None: the inner client does it.

    >>> async def refuse(client, obj, **options):
    ...     raise Conflict("somebody was faster")
    >>> client = Interceptor(fake, Funcs(update=refuse))
    """

    get: Verb | None = None
    list: Verb | None = None
    create: Verb | None = None
    update: Verb | None = None
    patch: Verb | None = None
    apply: Verb | None = None
    delete: Verb | None = None
    delete_all_of: Verb | None = None
    watch: Callable[..., AbstractAsyncContextManager[AsyncIterator[WatchEvent[Any]]]] | None = None
    sub_resource_get: Verb | None = None
    sub_resource_create: Verb | None = None
    sub_resource_update: Verb | None = None
    sub_resource_patch: Verb | None = None
    sub_resource_apply: Verb | None = None


class Interceptor(ClientDecorator):
    """`inner` with some verbs replaced."""

    def __init__(self, inner: WithWatch, funcs: Funcs) -> None:
        super().__init__(inner)
        self.funcs = funcs

    async def get(self, cls: type[T], key: ObjectKey, **options: Any) -> T:
        found: T = await (self.funcs.get or _pass("get"))(self.inner, cls, key, **options)
        return found

    async def list(self, cls: type[T], **options: Any) -> ObjectList[T]:
        found: ObjectList[T] = await (self.funcs.list or _pass("list"))(self.inner, cls, **options)
        return found

    def watch(self, cls: type[T], **options: Any) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[T]]]:
        if self.funcs.watch is not None:
            return self.funcs.watch(self.inner, cls, **options)
        return self.inner.watch(cls, **options)

    async def create(self, obj: T, **options: Any) -> T:
        stored: T = await (self.funcs.create or _pass("create"))(self.inner, obj, **options)
        return stored

    async def update(self, obj: T, **options: Any) -> T:
        stored: T = await (self.funcs.update or _pass("update"))(self.inner, obj, **options)
        return stored

    async def patch(self, obj: T, patch: Patch, **options: Any) -> T:
        stored: T = await (self.funcs.patch or _pass("patch"))(self.inner, obj, patch, **options)
        return stored

    async def apply(self, cfg: ApplyConfiguration, **options: Any) -> Any:
        return await (self.funcs.apply or _pass("apply"))(self.inner, cfg, **options)

    async def delete(self, obj: Any, **options: Any) -> None:
        await (self.funcs.delete or _pass("delete"))(self.inner, obj, **options)

    async def delete_all_of(self, cls: type[Any], **options: Any) -> None:
        await (self.funcs.delete_all_of or _pass("delete_all_of"))(self.inner, cls, **options)

    def sub_resource(self, name: str) -> SubResourceClient:
        return _InterceptedSubResource(self, name)


class _InterceptedSubResource(SubResourceDecorator):
    client: Interceptor

    def __init__(self, client: Interceptor, name: str) -> None:
        super().__init__(client, name)

    async def get(self, obj: Any, cls: type[T]) -> T:
        found: T = await (self.client.funcs.sub_resource_get or _sub("get"))(self.client.inner, self.name, obj, cls)
        return found

    async def create(self, obj: Any, body: T, **options: Any) -> T:
        verb = self.client.funcs.sub_resource_create or _sub("create")
        stored: T = await verb(self.client.inner, self.name, obj, body, **options)
        return stored

    async def update(self, obj: T, **options: Any) -> T:
        verb = self.client.funcs.sub_resource_update or _sub("update")
        stored: T = await verb(self.client.inner, self.name, obj, **options)
        return stored

    async def patch(self, obj: T, patch: Patch, **options: Any) -> T:
        verb = self.client.funcs.sub_resource_patch or _sub("patch")
        stored: T = await verb(self.client.inner, self.name, obj, patch, **options)
        return stored

    async def apply(self, cfg: ApplyConfiguration, **options: Any) -> Any:
        verb = self.client.funcs.sub_resource_apply or _sub("apply")
        return await verb(self.client.inner, self.name, cfg, **options)


def _pass(verb: str) -> Verb:
    async def call(inner: WithWatch, *arguments: Any, **options: Any) -> Any:
        return await getattr(inner, verb)(*arguments, **options)

    return call


def _sub(verb: str) -> Verb:
    async def call(inner: WithWatch, name: str, *arguments: Any, **options: Any) -> Any:
        return await getattr(inner.sub_resource(name), verb)(*arguments, **options)

    return call
