"""From a class or object to the URL of its resource."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bobrapet.runtime.client.apiutil import RESTMapper, RESTMapping, gvk_for_class, gvk_for_object
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import ClientError, NamespaceMismatch
from bobrapet.runtime.scheme import GroupVersionKind, Scheme


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind and where it is served."""

    mapping: RESTMapping

    @property
    def gvk(self) -> GroupVersionKind:
        return self.mapping.gvk

    def collection(self, namespace: str | None) -> str:
        """URL path of all objects, or of those in a namespace."""
        return self.mapping.path(quote(namespace or "", safe=""))

    def path(self, key: ObjectKey, subresource: str = "") -> str:
        """URL path of one object. Raises `ClientError` for a key that names none."""
        if not key.name:
            raise ClientError(f"{self.gvk.kind} without a name: set metadata.name")
        self.check_namespace(key)
        return self.mapping.path(quote(key.namespace, safe=""), quote(key.name, safe=""), subresource)

    def check_namespace(self, key: ObjectKey) -> None:
        """A namespaced kind needs a namespace; an empty one does not make it cluster-scoped (OBJ-8)."""
        if self.mapping.namespaced and not key.namespace:
            raise NamespaceMismatch(
                f"{self.gvk.kind} {key.name!r} lives in a namespace, but names none; set metadata.namespace"
            )


class Resources:
    """Finds the resource of classes and objects. The mapper remembers, so this does not have to."""

    def __init__(self, scheme: Scheme, mapper: RESTMapper) -> None:
        self.scheme = scheme
        self.mapper = mapper

    async def of_class(self, cls: type[Any]) -> Resource:
        return Resource(await self.mapper.rest_mapping(gvk_for_class(cls, self.scheme)))

    async def of_object(self, obj: Any) -> Resource:
        return Resource(await self.mapper.rest_mapping(gvk_for_object(obj, self.scheme)))
