"""The client: one surface over three projections, reads from a cache where there is one (spec runtime section 7)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from bobrapet.runtime.client.apiutil import DynamicRESTMapper, RESTMapper, gvk_for_class, gvk_for_object
from bobrapet.runtime.client.client_rest_resources import Resources
from bobrapet.runtime.client.interfaces import Reader
from bobrapet.runtime.client.metadata_client import MetadataClient
from bobrapet.runtime.client.object import (
    ObjectKey,
    ObjectList,
    PartialObjectMetadata,
    Unstructured,
    is_metadata_only,
    is_unstructured,
)
from bobrapet.runtime.client.options import Fields, FieldValidation, Labels, Preconditions, PropagationPolicy
from bobrapet.runtime.client.patch import ApplyConfiguration, Patch
from bobrapet.runtime.client.typed_client import TypedClient, WriteListener
from bobrapet.runtime.client.unstructured_client import UnstructuredClient
from bobrapet.runtime.client.watch import WatchEvent
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.rest.interface import Rest
from bobrapet.runtime.scheme import GroupVersionKind, Scheme

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Which reads go to a cache (CLI-1). Writes, subresources and watches never do."""

    reader: Reader
    disable_for: tuple[type[Any], ...] = ()
    """Classes that are always read live, for example Secrets."""

    unstructured: bool = False
    """Read `Unstructured` from the cache too. Off: each kind read would start an informer for whole objects of it."""


class ApiClient:
    """Implements `interfaces.WithWatch`.

    `fence` is called directly before each write leaves and may raise to stop it (LE-15). `listener` hears of each
    successful write. Closing the client closes the connection that it was given.
    """

    def __init__(
        self,
        rest: Rest,
        scheme: Scheme | None = None,
        rest_mapper: RESTMapper | None = None,
        *,
        cache: CacheOptions | None = None,
        fence: Callable[[], None] | None = None,
        listener: WriteListener | None = None,
    ) -> None:
        self.rest = rest
        self.scheme = scheme if scheme is not None else Scheme()
        self.rest_mapper: RESTMapper = rest_mapper if rest_mapper is not None else DynamicRESTMapper(rest)
        self._cache = cache
        resources = Resources(self.scheme, self.rest_mapper)
        self._typed = TypedClient(rest, resources, fence=fence, listener=listener)
        self._unstructured = UnstructuredClient(rest, resources, fence=fence, listener=listener)
        self._metadata = MetadataClient(rest, resources, fence=fence, listener=listener)

    # Reads

    async def get(
        self, cls: type[T], key: ObjectKey, *, resource_version: str | None = None, unsafe_disable_copy: bool = False
    ) -> T:
        """One object. Raises `NotFound`. A `resource_version` is a question to the server, so it is asked live."""
        cache = self._cache_for(cls)
        if cache is not None and resource_version is None:
            return await cache.get(cls, key, unsafe_disable_copy=unsafe_disable_copy)
        return await self._for(cls).get(cls, key, resource_version=resource_version)

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
        """All matching objects, or a page of them with `limit` and `continue_`."""
        cache = self._cache_for(cls)
        if cache is not None and resource_version is None:
            return await cache.list(
                cls,
                namespace=namespace,
                labels=labels,
                fields=fields,
                limit=limit,
                continue_=continue_,
                unsafe_disable_copy=unsafe_disable_copy,
            )
        return await self._for(cls).list(
            cls,
            namespace=namespace,
            labels=labels,
            fields=fields,
            limit=limit,
            continue_=continue_,
            resource_version=resource_version,
        )

    def watch(
        self,
        cls: type[T],
        *,
        namespace: str | None = None,
        labels: Labels = None,
        fields: Fields = None,
        resource_version: str | None = None,
        allow_bookmarks: bool = False,
        timeout_seconds: int | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[T]]]:
        """Events from the server until it closes the stream. An ERROR event raises its `ApiError`."""
        return self._for(cls).watch(
            cls,
            namespace=namespace,
            labels=labels,
            fields=fields,
            resource_version=resource_version,
            allow_bookmarks=allow_bookmarks,
            timeout_seconds=timeout_seconds,
        )

    # Writes

    async def create(
        self,
        obj: T,
        *,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
    ) -> T:
        return await self._for(type(obj)).create(
            obj, dry_run=dry_run, field_owner=field_owner, field_validation=field_validation
        )

    async def update(
        self,
        obj: T,
        *,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
        unconditional: bool = False,
    ) -> T:
        return await self._for(type(obj)).update(
            obj,
            dry_run=dry_run,
            field_owner=field_owner,
            field_validation=field_validation,
            unconditional=unconditional,
        )

    async def patch(
        self,
        obj: T,
        patch: Patch,
        *,
        force: bool | None = None,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
    ) -> T:
        return await self._for(type(obj)).patch(
            obj,
            patch,
            force=force,
            dry_run=dry_run,
            field_owner=field_owner,
            field_validation=field_validation,
        )

    async def apply(
        self, cfg: ApplyConfiguration, *, field_owner: str | None = None, force: bool = False, dry_run: bool = False
    ) -> Any:
        cls = _class_of(cfg)
        return await self._for(cls).apply(cls, cfg, force=force, field_owner=field_owner, dry_run=dry_run)

    async def delete(
        self,
        obj: Any,
        *,
        grace_period_seconds: int | None = None,
        preconditions: Preconditions | None = None,
        propagation_policy: PropagationPolicy | None = None,
        dry_run: bool = False,
    ) -> None:
        await self._for(type(obj)).delete(
            obj,
            grace_period_seconds=grace_period_seconds,
            preconditions=preconditions,
            propagation_policy=propagation_policy,
            dry_run=dry_run,
        )

    async def delete_all_of(
        self,
        cls: type[Any],
        *,
        namespace: str | None = None,
        labels: Labels = None,
        fields: Fields = None,
        grace_period_seconds: int | None = None,
        propagation_policy: PropagationPolicy | None = None,
        dry_run: bool = False,
    ) -> None:
        await self._for(cls).delete_all_of(
            cls,
            namespace=namespace,
            labels=labels,
            fields=fields,
            grace_period_seconds=grace_period_seconds,
            propagation_policy=propagation_policy,
            dry_run=dry_run,
        )

    def status(self) -> SubResource:
        return self.sub_resource("status")

    def sub_resource(self, name: str) -> SubResource:
        return SubResource(name, self._for)

    # Kinds

    def group_version_kind_for(self, obj: Any) -> GroupVersionKind:
        return gvk_for_class(obj, self.scheme) if isinstance(obj, type) else gvk_for_object(obj, self.scheme)

    async def is_object_namespaced(self, obj: Any) -> bool:
        return (await self.rest_mapper.rest_mapping(self.group_version_kind_for(obj))).namespaced

    async def close(self) -> None:
        await self.rest.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _for(self, cls: type[Any]) -> TypedClient:
        if is_metadata_only(cls):
            return self._metadata
        return self._unstructured if is_unstructured(cls) else self._typed

    def _cache_for(self, cls: type[Any]) -> Reader | None:
        cache = self._cache
        if cache is None or cls in cache.disable_for:
            return None
        return None if is_unstructured(cls) and not cache.unstructured else cache.reader


class SubResource:
    """One subresource of any object; `client.status()` is the one for status. Always live."""

    def __init__(self, name: str, live: Callable[[type[Any]], TypedClient]) -> None:
        self._name = name
        self._for = live

    async def get(self, obj: Any, cls: type[T]) -> T:
        return await self._for(cls).get_subresource(self._name, obj, cls)

    async def create(
        self,
        obj: Any,
        body: T,
        *,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
    ) -> T:
        return await self._for(type(body)).create_subresource(
            self._name, obj, body, dry_run=dry_run, field_owner=field_owner, field_validation=field_validation
        )

    async def update(
        self,
        obj: T,
        *,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
        unconditional: bool = False,
    ) -> T:
        return await self._for(type(obj)).update(
            obj,
            subresource=self._name,
            dry_run=dry_run,
            field_owner=field_owner,
            field_validation=field_validation,
            unconditional=unconditional,
        )

    async def patch(
        self,
        obj: T,
        patch: Patch,
        *,
        force: bool | None = None,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
    ) -> T:
        return await self._for(type(obj)).patch(
            obj,
            patch,
            subresource=self._name,
            force=force,
            dry_run=dry_run,
            field_owner=field_owner,
            field_validation=field_validation,
        )

    async def apply(
        self, cfg: ApplyConfiguration, *, field_owner: str | None = None, force: bool = False, dry_run: bool = False
    ) -> Any:
        cls = _class_of(cfg)
        return await self._for(cls).apply(
            cls, cfg, subresource=self._name, force=force, field_owner=field_owner, dry_run=dry_run
        )


def new(
    config: RestConfig,
    *,
    scheme: Scheme | None = None,
    rest_mapper: RESTMapper | None = None,
    cache: CacheOptions | None = None,
) -> ApiClient:
    """A client with a connection of its own. Opens nothing before the first request."""
    return ApiClient(RestClient(config), scheme, rest_mapper, cache=cache)


def _class_of(cfg: ApplyConfiguration) -> type[Any]:
    if isinstance(cfg.object, dict):
        return Unstructured
    return Unstructured if isinstance(cfg.object, PartialObjectMetadata) else type(cfg.object)
