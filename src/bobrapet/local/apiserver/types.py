"""The server's nouns: a served resource, its behaviour, and who asks for what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bobrapet.local.apiserver.schema import Schema
    from bobrapet.local.apiserver.strategy import Strategy

Object = dict[str, Any]
"""A decoded Kubernetes object."""

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. `path` is a JSONPath as CRDs write it, or a function of the object."""

    name: str
    type: str = "string"
    value: str | Callable[[Object], Any] = ""
    priority: int = 0
    format: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource in one version, as discovery announces it. Immutable: a changed CRD makes new ones."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    namespaced: bool
    strategy: Strategy
    """What this kind does beyond storing: defaults, checks, what a write may change."""

    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: frozenset[str] = frozenset()
    list_kind: str = ""
    stored_as: str = ""
    """The `apiVersion` of the stored objects; "" when it is this one."""

    storage: str = ""
    """The store's name of this resource; versions of one kind share it."""

    schema: Schema | None = None
    """The structural schema; None when nothing is known of the fields."""
    columns: tuple[Column, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    """Field selectors beyond metadata.name and metadata.namespace: label -> JSON path."""

    @property
    def api_version(self) -> str:
        """`group/version`, or `version` of the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`plural.group`, as messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True, slots=True)
class User:
    """Who sends a request."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
