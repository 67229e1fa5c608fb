"""What a client can do, as protocols: take the smallest one that serves (spec runtime section 7).

`T` is a class registered in the scheme, `Unstructured.of(...)` or `PartialObjectMetadata.of(...)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar, runtime_checkable

from bobrapet.runtime.client.apiutil.restmapper import RESTMapper
from bobrapet.runtime.client.object import ObjectKey, ObjectList
from bobrapet.runtime.client.options import Fields, FieldValidation, Labels, Preconditions, PropagationPolicy
from bobrapet.runtime.client.patch import ApplyConfiguration, Patch
from bobrapet.runtime.client.watch import WatchEvent
from bobrapet.runtime.errors import AlreadyExists, NotFound
from bobrapet.runtime.scheme import GroupVersionKind, Scheme

T = TypeVar("T")


class Reader(Protocol):
    """Reads objects: from a cache or live."""

    async def get(
        self, cls: type[T], key: ObjectKey, *, resource_version: str | None = None, unsafe_disable_copy: bool = False
    ) -> T:
        """One object. Raises `NotFound`."""
        ...

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
        """All matching objects; `namespace` None or "" means everywhere."""
        ...


async def get_or_none(reader: Reader, cls: type[T], key: ObjectKey) -> T | None:
    """One object, or None where there is none."""
    try:
        return await reader.get(cls, key)
    except NotFound:
        return None


class Writer(Protocol):
    """Writes objects. Every verb returns what the server stored and leaves its argument as it was (CLI-3)."""

    async def create(
        self,
        obj: T,
        *,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
    ) -> T:
        """Raises `AlreadyExists`, `Invalid`."""
        ...

    async def update(
        self,
        obj: T,
        *,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
        unconditional: bool = False,
    ) -> T:
        """Replaces the object if it is still at `metadata.resourceVersion`, else raises `Conflict`."""
        ...

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
        """Applies a patch to the object that `obj` names. An empty difference is not sent (CLI-8)."""
        ...

    async def apply(
        self,
        cfg: ApplyConfiguration,
        *,
        field_owner: str | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> Any:
        """Server-side apply of what `field_owner` wants. Raises `Conflict` naming the other managers."""
        ...

    async def delete(
        self,
        obj: Any,
        *,
        grace_period_seconds: int | None = None,
        preconditions: Preconditions | None = None,
        propagation_policy: PropagationPolicy | None = None,
        dry_run: bool = False,
    ) -> None:
        """Raises `NotFound`, and `Conflict` when a precondition does not hold."""
        ...

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
    ) -> None: ...


class SubResourceReader(Protocol):
    async def get(self, obj: Any, cls: type[T]) -> T:
        """The subresource of `obj`, as `cls`."""
        ...


class SubResourceWriter(Protocol):
    """Writes one subresource. What is created is of another kind than its object, for example an Eviction."""

    async def create(
        self,
        obj: Any,
        body: T,
        *,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
    ) -> T: ...

    async def update(
        self,
        obj: T,
        *,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
        unconditional: bool = False,
    ) -> T: ...

    async def patch(
        self,
        obj: T,
        patch: Patch,
        *,
        force: bool | None = None,
        dry_run: bool = False,
        field_owner: str | None = None,
        field_validation: FieldValidation | None = None,
    ) -> T: ...

    async def apply(
        self,
        cfg: ApplyConfiguration,
        *,
        field_owner: str | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> Any: ...


class SubResourceClient(SubResourceReader, SubResourceWriter, Protocol):
    """Both directions of one subresource."""


class StatusClient(Protocol):
    def status(self) -> SubResourceClient:
        """Writer of `/status`; the same as `sub_resource("status")`."""
        ...


class Client(Reader, Writer, StatusClient, Protocol):
    """The whole client."""

    def sub_resource(self, name: str) -> SubResourceClient: ...

    @property
    def scheme(self) -> Scheme: ...

    @property
    def rest_mapper(self) -> RESTMapper: ...

    def group_version_kind_for(self, obj: Any) -> GroupVersionKind:
        """The kind of an object or of a class."""
        ...

    async def is_object_namespaced(self, obj: Any) -> bool:
        """Whether the kind of an object or class lives in namespaces, by the mapper (OBJ-8)."""
        ...


@runtime_checkable
class WithWatch(Client, Protocol):
    """A client that can also watch. Controllers use informers instead."""

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
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[T]]]: ...


class FieldIndexer(Protocol):
    """Adds an index to the informer of a class."""

    async def index_field(self, cls: type[T], field: str, extract: Callable[[T], list[str]]) -> None: ...


class ignore_not_found:
    """Context manager: a `NotFound` inside it is no error.

    >>> with ignore_not_found():
    ...     await client.delete(pod)
    """

    _ignored: tuple[type[Exception], ...] = (NotFound,)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, self._ignored)


class ignore_already_exists(ignore_not_found):
    """Context manager: an `AlreadyExists` inside it is no error."""

    _ignored = (AlreadyExists,)
