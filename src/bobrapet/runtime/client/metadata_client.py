"""Requests for the metadata of objects only: the server leaves the rest out of its answers."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from bobrapet.runtime.client.client_rest_resources import Resource
from bobrapet.runtime.client.object import from_dict
from bobrapet.runtime.client.unstructured_client import UnstructuredClient
from bobrapet.runtime.errors import UnsupportedOperation
from bobrapet.runtime.rest.interface import METADATA_ONLY, METADATA_ONLY_LIST

T = TypeVar("T")


class MetadataClient(UnstructuredClient):
    """Reads, patches and deletes. Create and update would erase the rest of the object, so they raise (CLI-5)."""

    accept = METADATA_ONLY
    accept_list = METADATA_ONLY_LIST

    async def create(self, obj: T, **options: Any) -> T:
        _refuse("create", obj)

    async def update(self, obj: T, *, subresource: str = "", unconditional: bool = False, **options: Any) -> T:
        _refuse("update", obj)

    def _wrap(self, cls: type[T], resource: Resource, raw: dict[str, Any]) -> T:
        # The answer says PartialObjectMetadata; what matters to everybody is the kind that was asked for (CACHE-10).
        raw["apiVersion"] = resource.gvk.api_version
        raw["kind"] = resource.gvk.kind
        return from_dict(cls, raw)


def _refuse(verb: str, obj: Any) -> NoReturn:
    raise UnsupportedOperation(f"{verb} of {obj!r}: it holds metadata only and would erase the rest; use patch")
