"""From a kind to the resource that serves it, learned from the API server when asked (spec runtime OBJ-7, OBJ-8)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from bobrapet.runtime.errors import NoKindMatch, NotFound
from bobrapet.runtime.rest.interface import Rest
from bobrapet.runtime.scheme import GroupVersionKind, GroupVersionResource


@dataclass(frozen=True, slots=True)
class RESTMapping:
    """A kind, the name of its resource in URLs, and its scope."""

    gvk: GroupVersionKind
    resource: str
    """Plural, for example `jobs`."""

    namespaced: bool

    @property
    def gvr(self) -> GroupVersionResource:
        return GroupVersionResource(self.gvk.group, self.gvk.version, self.resource)

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection (no name), the object, or its subresource."""
        gvk = self.gvk
        parts = ["/apis" if gvk.group else "/api", gvk.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.resource)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


class RESTMapper(Protocol):
    """What client and cache need of a mapper."""

    async def rest_mapping(self, gvk: GroupVersionKind) -> RESTMapping:
        """Raises `NoKindMatch` when the server does not serve the kind, also after asking it again."""
        ...


class StaticRESTMapper:
    """A mapper over a fixed list, for tests and for kinds known beforehand."""

    def __init__(self, *mappings: RESTMapping) -> None:
        self._mappings = {mapping.gvk: mapping for mapping in mappings}

    @classmethod
    def from_classes(cls, *classes: type[Any]) -> StaticRESTMapper:
        """From models with the constants `API_VERSION`, `KIND`, `PLURAL` and `NAMESPACED`."""
        return cls(
            *(
                RESTMapping(GroupVersionKind.parse(model.API_VERSION, model.KIND), model.PLURAL, model.NAMESPACED)
                for model in classes
            )
        )

    def add(self, mapping: RESTMapping) -> None:
        self._mappings[mapping.gvk] = mapping

    async def rest_mapping(self, gvk: GroupVersionKind) -> RESTMapping:
        try:
            return self._mappings[gvk]
        except KeyError:
            raise NoKindMatch(gvk.group, gvk.kind, gvk.version) from None


class DynamicRESTMapper:
    """A mapper that reads the discovery documents of a group version when a kind of it is first needed.

    A kind that is not there is looked for once more by reading the document again: CRDs come and go. Concurrent misses
    of one group version share one request.
    """

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._known: dict[str, dict[str, RESTMapping]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def rest_mapping(self, gvk: GroupVersionKind) -> RESTMapping:
        mapping = self._known.get(gvk.api_version, {}).get(gvk.kind)
        if mapping is not None:
            return mapping
        return await self._look_up(gvk)

    async def _look_up(self, gvk: GroupVersionKind) -> RESTMapping:
        seen = self._known.get(gvk.api_version)
        async with self._locks.setdefault(gvk.api_version, asyncio.Lock()):
            # Somebody else may have read the document while this caller waited; its reading is as fresh as ours.
            if self._known.get(gvk.api_version) is seen:
                self._known[gvk.api_version] = await self._discover(gvk)
        try:
            return self._known[gvk.api_version][gvk.kind]
        except KeyError:
            raise NoKindMatch(gvk.group, gvk.kind, gvk.version) from None

    async def _discover(self, gvk: GroupVersionKind) -> dict[str, RESTMapping]:
        prefix = "/apis" if gvk.group else "/api"
        try:
            body = await self._rest.request("GET", f"{prefix}/{gvk.api_version}")
        except NotFound:
            return {}
        resources = msgspec.json.decode(body, type=_ResourceList).resources
        return {
            resource.kind: RESTMapping(
                GroupVersionKind(gvk.group, gvk.version, resource.kind), resource.name, resource.namespaced
            )
            for resource in resources
            if "/" not in resource.name
        }

    def reset(self) -> None:
        """Forgets everything, so that the next question goes to the server."""
        self._known.clear()


class _Resource(msgspec.Struct):
    name: str
    kind: str
    namespaced: bool = False


class _ResourceList(msgspec.Struct):
    resources: list[_Resource] = []
