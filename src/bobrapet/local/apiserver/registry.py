"""Which resources are served at this moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bobrapet.local.apiserver.types import Resource


class Registry:
    """Resources by group, version and plural. Changes (CRDs come and go) take effect with the next request."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, dict[str, Resource]]] = {}
        self._storages: dict[str, Resource] = {}
        self._storages_generation = -1
        self.generation = 0
        """Counts changes, so that what is derived (discovery, OpenAPI) can be cached."""

    def add(self, resource: Resource) -> None:
        """Serves a resource, in place of one with the same path."""
        versions = self._groups.setdefault(resource.group, {})
        versions.setdefault(resource.version, {})[resource.plural] = resource
        self.generation += 1

    def replace(self, group: str, plural: str, resources: Iterable[Resource]) -> None:
        """Serves exactly these versions of `plural` in `group`."""
        versions = self._groups.setdefault(group, {})
        for version in list(versions):
            versions[version].pop(plural, None)
            if not versions[version]:
                del versions[version]
        for resource in resources:
            versions.setdefault(resource.version, {})[plural] = resource
        if not versions:
            del self._groups[group]
        self.generation += 1

    def get(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource of a path."""
        return self._groups.get(group, {}).get(version, {}).get(plural)

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object."""
        group, _, version = api_version.rpartition("/")
        for resource in self._groups.get(group, {}).get(version, {}).values():
            if resource.kind == kind:
                return resource
        return None

    def by_storage(self, storage: str) -> Resource | None:
        """The resource, in its stored version, that is kept under this name."""
        if self._storages_generation != self.generation:
            self._storages = {resource.storage: resource for resource in self.stored()}
            self._storages_generation = self.generation
        return self._storages.get(storage)

    def groups(self) -> list[str]:
        """All groups, the core group ("") included."""
        return list(self._groups)

    def versions(self, group: str) -> list[str]:
        """The versions of a group, the preferred one first."""
        return sorted(self._groups.get(group, {}), key=_priority)

    def resources(self, group: str, version: str) -> list[Resource]:
        """The resources of a group version, by name; empty when there is no such version."""
        found = self._groups.get(group, {}).get(version, {})
        return [found[plural] for plural in sorted(found)]

    def all(self) -> Iterator[Resource]:
        """Every resource in every version."""
        for versions in self._groups.values():
            for resources in versions.values():
                yield from resources.values()

    def stored(self) -> Iterator[Resource]:
        """One resource per store name, in the version that is stored."""
        return (resource for resource in self.all() if resource.storage and not resource.stored_as)


def _priority(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions: v10, v2, v1, v11beta2, v10beta3, v1alpha1, anything else by name."""
    rest = version[1:] if version.startswith("v") else ""
    digits = len(rest) - len(rest.lstrip("0123456789"))
    if not digits:
        return (3, 0, 0, version)
    major, suffix = int(rest[:digits]), rest[digits:]
    if not suffix:
        return (0, -major, 0, version)
    for rank, word in ((1, "beta"), (2, "alpha")):
        if suffix.startswith(word) and suffix[len(word) :].isdecimal():
            return (rank, -major, -int(suffix[len(word) :]), version)
    return (3, 0, 0, version)
