"""Requests for whole objects: a model goes out as JSON, the answer comes back as the same model.

Live only: no cache. The other projections derive from this one and change what differs.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import msgspec

from bobrapet.runtime.client.client_rest_resources import Resource, Resources
from bobrapet.runtime.client.object import ObjectKey, ObjectList, from_dict, to_dict
from bobrapet.runtime.client.options import Preconditions, delete_options, list_params, write_params
from bobrapet.runtime.client.patch import ApplyConfiguration, Patch
from bobrapet.runtime.client.watch import WatchEvent
from bobrapet.runtime.errors import (
    ApiError,
    ClientError,
    Expired,
    Gone,
    MissingResourceVersion,
    NamespaceMismatch,
    UnsupportedOperation,
    error_from_status,
)
from bobrapet.runtime.rest.interface import APPLY_PATCH, JSON, STRATEGIC_MERGE_PATCH, Rest
from bobrapet.runtime.scheme import GroupVersionKind

T = TypeVar("T")

PAGE_SIZE = 500
"""Objects a live list asks for at once: client-go's number; larger pages block the server's etcd range (CLI-22)."""

WATCH_GRACE = 5.0
"""Seconds of silence that a watch may last beyond the time limit that the server was given."""

BUILT_IN_GROUPS = frozenset({
    "", "apps", "autoscaling", "batch", "extensions", "policy",
    "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "authentication.k8s.io",
    "authorization.k8s.io", "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io",
    "flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io", "networking.k8s.io", "node.k8s.io",
    "rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io", "storagemigration.k8s.io",
})  # fmt: skip
"""Groups whose kinds have Go types in the API server, and with them strategic merge patch (CLI-6)."""

log = logging.getLogger(__name__)


class WriteListener(Protocol):
    """Told what was written, so that later reads of a lagging cache can wait for it (CACHE-24)."""

    def written(self, gvk: GroupVersionKind, key: ObjectKey, resource_version: str) -> None:
        """The server stored this version (or found that it was stored already)."""
        ...

    def deleted(self, gvk: GroupVersionKind, key: ObjectKey, uid: str) -> None:
        """The server accepted the deletion and kept nothing."""
        ...


class TypedClient:
    """One request per verb; the meaning of the options is that of `interfaces.Writer` and `interfaces.Reader`."""

    accept = JSON
    accept_list = JSON

    def __init__(
        self,
        rest: Rest,
        resources: Resources,
        *,
        fence: Callable[[], None] | None = None,
        listener: WriteListener | None = None,
    ) -> None:
        self._rest = rest
        self._resources = resources
        self._fence = fence
        self._listener = listener

    # Reads

    async def get(self, cls: type[T], key: ObjectKey, *, resource_version: str | None = None) -> T:
        resource = await self._resources.of_class(cls)
        params = list_params(resource_version=resource_version)
        return self._decode(
            cls, resource, await self._rest.request("GET", resource.path(key), params, accept=self.accept)
        )

    async def list(
        self,
        cls: type[T],
        *,
        namespace: str | None = None,
        labels: Any = None,
        fields: Any = None,
        limit: int | None = None,
        continue_: str | None = None,
        resource_version: str | None = None,
    ) -> ObjectList[T]:
        """Pages are fetched and joined, unless `limit` or `continue_` ask for single ones, or a version is named.

        A continue token that expires on the way leads to one list without pages.
        """
        resource = await self._resources.of_class(cls)
        path = resource.collection(namespace)
        params = list_params(
            labels=labels, fields=fields, limit=limit, continue_=continue_, resource_version=resource_version
        )
        if limit is not None or continue_ or resource_version:
            return await self._page(cls, resource, path, params)
        try:
            return await self._all_pages(cls, resource, path, params)
        except (Expired, Gone):
            log.debug("list of %s: the continue token expired, reading everything at once", resource.gvk.kind)
            return await self._page(cls, resource, path, params)

    @asynccontextmanager
    async def watch(
        self,
        cls: type[T],
        *,
        namespace: str | None = None,
        labels: Any = None,
        fields: Any = None,
        resource_version: str | None = None,
        allow_bookmarks: bool = False,
        timeout_seconds: int | None = None,
    ) -> AsyncIterator[AsyncIterator[WatchEvent[T]]]:
        resource = await self._resources.of_class(cls)
        params = {"watch": "true", **list_params(labels=labels, fields=fields, resource_version=resource_version)}
        if allow_bookmarks:
            params["allowWatchBookmarks"] = "true"
        if timeout_seconds is not None:
            params["timeoutSeconds"] = str(timeout_seconds)
        # A server that has hung up does not always say so; after its own time limit it can only be gone.
        idle = None if timeout_seconds is None else timeout_seconds + WATCH_GRACE
        path = resource.collection(namespace)
        async with self._rest.stream(path, params, accept=self.accept, idle_timeout=idle) as lines:
            yield self._events(cls, resource, lines.__aiter__())

    async def get_subresource(self, name: str, obj: Any, cls: type[T]) -> T:
        owner = await self._resources.of_object(obj)
        body = await self._rest.request("GET", owner.path(ObjectKey.of(obj), name), accept=JSON)
        return from_dict(cls, msgspec.json.decode(body))

    # Writes

    async def create(self, obj: T, **options: Any) -> T:
        resource = await self._resources.of_object(obj)
        key = ObjectKey.of(obj)
        resource.check_namespace(key)
        path = resource.collection(key.namespace)
        answer = await self._send("POST", path, write_params(**options), self._encode(resource, obj))
        return self._stored(resource, obj, answer, options)

    async def create_subresource(self, name: str, obj: Any, body: T, **options: Any) -> T:
        """Creates `body`, for example an Eviction or a TokenRequest, under `obj`. Some servers answer with a Status."""
        owner = await self._resources.of_object(obj)
        path = owner.path(ObjectKey.of(obj), name)
        raw = to_dict(body)
        answer = msgspec.json.decode(await self._send("POST", path, write_params(**options), msgspec.json.encode(raw)))
        return body if answer.get("kind") == "Status" else from_dict(type(body), answer)

    async def update(self, obj: T, *, subresource: str = "", unconditional: bool = False, **options: Any) -> T:
        resource = await self._resources.of_object(obj)
        key = ObjectKey.of(obj)
        path = resource.path(key, subresource)
        if not unconditional and not obj.metadata.resource_version:  # type: ignore[attr-defined]  # all have it
            raise MissingResourceVersion(
                f"{resource.gvk.kind} {key}: an update needs metadata.resourceVersion as it was read, or it could undo "
                "what others wrote since; pass unconditional=True to overwrite whatever is there"
            )
        answer = await self._send("PUT", path, write_params(**options), self._encode(resource, obj))
        return self._stored(resource, obj, answer, options)

    async def patch(self, obj: T, patch: Patch, *, subresource: str = "", **options: Any) -> T:
        resource = await self._resources.of_object(obj)
        key = ObjectKey.of(obj)
        if patch.content_type == STRATEGIC_MERGE_PATCH and resource.gvk.group not in BUILT_IN_GROUPS:
            raise UnsupportedOperation(
                f"{resource.gvk.kind} {key}: custom resources know no strategic merge patch; use merge_from or apply"
            )
        data = patch.body(obj)
        if data is None:
            return obj
        if patch.content_type != APPLY_PATCH:
            options.pop("force", None)
        path = resource.path(key, subresource)
        answer = await self._send("PATCH", path, write_params(**options), data, patch.content_type)
        return self._stored(resource, obj, answer, options)

    async def apply(
        self, cls: type[T], cfg: ApplyConfiguration, *, subresource: str = "", force: bool = False, **options: Any
    ) -> T:
        raw = cfg.to_dict()
        resource = await self._resources.of_object(from_dict(cls, raw))
        raw = {"apiVersion": resource.gvk.api_version, "kind": resource.gvk.kind, **raw}
        key = ObjectKey(raw["metadata"].get("namespace") or "", raw["metadata"].get("name") or "")
        if not options.get("field_owner"):
            raise ClientError(
                f"apply of {resource.gvk.kind} {key} needs a field_owner: the name under which the server remembers "
                "which fields are yours"
            )
        params = write_params(**options, force=force)
        params["fieldValidation"] = "Strict"
        answer = await self._send(
            "PATCH", resource.path(key, subresource), params, msgspec.json.encode(raw), APPLY_PATCH
        )
        stored = self._decode(cls, resource, answer)
        if not options.get("dry_run"):
            self._tell(resource, stored)
        return stored

    async def delete(
        self,
        obj: Any,
        *,
        grace_period_seconds: int | None = None,
        preconditions: Preconditions | None = None,
        propagation_policy: str | None = None,
        dry_run: bool = False,
    ) -> None:
        resource = await self._resources.of_object(obj)
        key = ObjectKey.of(obj)
        body = delete_options(
            grace_period_seconds=grace_period_seconds,
            preconditions=preconditions,
            propagation_policy=propagation_policy,
            dry_run=dry_run,
        )
        answer = await self._send("DELETE", resource.path(key), None, msgspec.json.encode(body))
        if self._listener is not None and not dry_run:
            raw = msgspec.json.decode(answer)
            if raw.get("kind") == "Status":
                self._listener.deleted(resource.gvk, key, (raw.get("details") or {}).get("uid") or "")
            elif (raw.get("metadata") or {}).get("deletionTimestamp"):
                self._listener.written(resource.gvk, key, raw["metadata"].get("resourceVersion") or "")

    async def delete_all_of(
        self,
        cls: type[Any],
        *,
        namespace: str | None = None,
        labels: Any = None,
        fields: Any = None,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        dry_run: bool = False,
    ) -> None:
        resource = await self._resources.of_class(cls)
        if resource.mapping.namespaced and not namespace:
            raise NamespaceMismatch(
                f"delete_all_of {resource.gvk.kind} needs a namespace: the API server deletes within one only"
            )
        body = delete_options(
            grace_period_seconds=grace_period_seconds, propagation_policy=propagation_policy, dry_run=dry_run
        )
        params = list_params(labels=labels, fields=fields)
        await self._send("DELETE", resource.collection(namespace), params, msgspec.json.encode(body))

    # Encoding and decoding

    def _encode(self, resource: Resource, obj: Any) -> bytes:
        raw = to_dict(obj)
        return msgspec.json.encode({**raw, "apiVersion": resource.gvk.api_version, "kind": resource.gvk.kind})

    def _decode(self, cls: type[T], resource: Resource, body: bytes) -> T:
        return self._wrap(cls, resource, msgspec.json.decode(body))

    def _wrap(self, cls: type[T], resource: Resource, raw: dict[str, Any]) -> T:
        # The items of a list of built-in kinds come without their kind.
        raw.setdefault("apiVersion", resource.gvk.api_version)
        raw.setdefault("kind", resource.gvk.kind)
        return from_dict(cls, raw)

    def _stored(self, resource: Resource, obj: T, answer: bytes, options: dict[str, Any]) -> T:
        stored = self._decode(type(obj), resource, answer)
        if not options.get("dry_run"):
            self._tell(resource, stored)
        return stored

    def _tell(self, resource: Resource, stored: Any) -> None:
        if self._listener is not None:
            self._listener.written(resource.gvk, ObjectKey.of(stored), stored.metadata.resource_version or "")

    async def _send(
        self, method: str, path: str, params: dict[str, str] | None, body: bytes, content_type: str = JSON
    ) -> bytes:
        return await self._rest.request(
            method, path, params, body, content_type, accept=self.accept, before_send=self._fence
        )

    async def _all_pages(self, cls: type[T], resource: Resource, path: str, params: dict[str, str]) -> ObjectList[T]:
        result = await self._page(cls, resource, path, {**params, "limit": str(PAGE_SIZE)})
        while result.continue_:
            page = await self._page(
                cls, resource, path, {**params, "limit": str(PAGE_SIZE), "continue": result.continue_}
            )
            result.items += page.items
            result.continue_ = page.continue_
        result.remaining_item_count = None
        return result

    async def _page(self, cls: type[T], resource: Resource, path: str, params: dict[str, str]) -> ObjectList[T]:
        body = await self._rest.request("GET", path, params, accept=self.accept_list)
        page = msgspec.json.decode(body, type=_Page)
        return ObjectList(
            items=[self._wrap(cls, resource, raw) for raw in page.items or ()],
            resource_version=page.metadata.resource_version,
            continue_=page.metadata.continue_,
            remaining_item_count=page.metadata.remaining_item_count,
        )

    async def _events(
        self, cls: type[T], resource: Resource, lines: AsyncIterator[bytes]
    ) -> AsyncIterator[WatchEvent[T]]:
        async for line in lines:
            try:
                event = msgspec.json.decode(line, type=_Event)
            except msgspec.DecodeError as error:
                raise ApiError(f"watch of {resource.gvk.kind}: the server sent something that is no event") from error
            if event.type == "ERROR":
                raise error_from_status(event.object)
            yield WatchEvent(event.type, self._wrap(cls, resource, event.object))  # type: ignore[arg-type]


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: int | None = None


class _Page(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[dict[str, Any]] | None = None


class _Event(msgspec.Struct):
    type: str
    object: dict[str, Any]
