"""Requests for the owners of an object (HND-2)."""

from __future__ import annotations

from typing import Any

from bobrapet.runtime.client.apiutil import RESTMapper, gvk_for_class
from bobrapet.runtime.event import CreateEvent, DeleteEvent, GenericEvent, Metadata, UpdateEvent
from bobrapet.runtime.handler.eventhandler import RequestQueue, enqueue, priority_of_create, priority_of_update
from bobrapet.runtime.reconcile import Request
from bobrapet.runtime.scheme import GroupVersion, Scheme


class EnqueueRequestForOwner:
    """Asks for a reconcile of every owner of one kind, whatever its version. On an update of old and new owners."""

    def __init__(
        self, scheme: Scheme, mapper: RESTMapper, owner_cls: type[Any], *, only_controller_owner: bool = False
    ) -> None:
        self._gvk = gvk_for_class(owner_cls, scheme)
        self._mapper = mapper
        self._only_controller = only_controller_owner
        self._namespaced: bool | None = None

    async def create(self, event: CreateEvent[Any], queue: RequestQueue) -> None:
        await self._enqueue(queue, priority_of_create(event), event.metadata)

    async def update(self, event: UpdateEvent[Any], queue: RequestQueue) -> None:
        await self._enqueue(queue, priority_of_update(event), event.metadata_old, event.metadata_new)

    async def delete(self, event: DeleteEvent[Any], queue: RequestQueue) -> None:
        await self._enqueue(queue, None, event.metadata)

    async def generic(self, event: GenericEvent[Any], queue: RequestQueue) -> None:
        await self._enqueue(queue, None, event.metadata)

    async def _enqueue(self, queue: RequestQueue, priority: int | None, *objects: Metadata | None) -> None:
        requests: dict[Request, None] = {}
        for metadata in objects:
            for reference in (metadata.owner_references or ()) if metadata is not None else ():
                if reference.kind != self._gvk.kind or (self._only_controller and not reference.controller):
                    continue
                if GroupVersion.parse(reference.api_version).group != self._gvk.group:
                    continue
                if self._namespaced is None:
                    self._namespaced = (await self._mapper.rest_mapping(self._gvk)).namespaced
                assert metadata is not None
                requests[Request((metadata.namespace or "") if self._namespaced else "", reference.name)] = None
        for request in requests:
            enqueue(queue, request, priority)

    def __repr__(self) -> str:
        return f"EnqueueRequestForOwner({self._gvk.kind})"


def enqueue_request_for_owner(
    scheme: Scheme, mapper: RESTMapper, owner_cls: type[Any], *, only_controller_owner: bool = False
) -> EnqueueRequestForOwner:
    """A handler for the owners of an object that are of kind `owner_cls`."""
    return EnqueueRequestForOwner(scheme, mapper, owner_cls, only_controller_owner=only_controller_owner)
