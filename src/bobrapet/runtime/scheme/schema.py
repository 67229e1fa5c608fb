"""Names of kinds and resources: the tuples that everything else is keyed by."""

from __future__ import annotations

from typing import NamedTuple


class GroupKind(NamedTuple):
    """A kind without its version: what identifies an owner across upgrades."""

    group: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


class GroupVersion(NamedTuple):
    group: str
    version: str

    @classmethod
    def parse(cls, api_version: str) -> GroupVersion:
        """Reads `v1` or `batch/v1`."""
        group, _, version = api_version.rpartition("/")
        return cls(group, version)

    def __str__(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def with_kind(self, kind: str) -> GroupVersionKind:
        return GroupVersionKind(self.group, self.version, kind)


class GroupVersionKind(NamedTuple):
    """The full name of a kind, for example `GroupVersionKind("batch", "v1", "Job")`."""

    group: str
    version: str
    kind: str

    @classmethod
    def parse(cls, api_version: str, kind: str) -> GroupVersionKind:
        group, _, version = api_version.rpartition("/")
        return cls(group, version, kind)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_kind(self) -> GroupKind:
        return GroupKind(self.group, self.kind)

    @property
    def group_version(self) -> GroupVersion:
        return GroupVersion(self.group, self.version)

    def __str__(self) -> str:
        return f"{self.api_version}, Kind={self.kind}"


class GroupVersionResource(NamedTuple):
    """What the URL names, for example `GroupVersionResource("batch", "v1", "jobs")`."""

    group: str
    version: str
    resource: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.api_version}, Resource={self.resource}"
