"""Which class stands for which kind (spec runtime OBJ-4 to OBJ-6)."""

from __future__ import annotations

from typing import Any

from bobrapet.runtime.errors import ClientError, NotRegistered
from bobrapet.runtime.scheme.schema import GroupVersionKind


class AmbiguousKind(ClientError):
    """A class is registered for several kinds: the runtime cannot know which resource to write."""


class Scheme:
    """A two-way table between model classes and kinds. Filled at start, read everywhere."""

    def __init__(self) -> None:
        self._classes: dict[GroupVersionKind, type[Any]] = {}
        self._list_classes: dict[GroupVersionKind, type[Any]] = {}
        self._kinds: dict[type[Any], list[GroupVersionKind]] = {}

    def add_known_type(self, gvk: GroupVersionKind, cls: type[Any], list_cls: type[Any] | None = None) -> None:
        """Registers `cls` for `gvk`. Repeating a registration is harmless; another class for the kind is an error."""
        known = self._classes.get(gvk)
        if known is not None and known is not cls:
            raise ClientError(f"{gvk} is registered for {_name(known)} already; {_name(cls)} cannot stand for it too")
        self._classes[gvk] = cls
        kinds = self._kinds.setdefault(cls, [])
        if gvk not in kinds:
            kinds.append(gvk)
        if list_cls is not None:
            self._list_classes[gvk] = list_cls

    def add_known_types(self, *classes: type[Any]) -> None:
        """Registers classes by their own constants `API_VERSION` and `KIND`."""
        for cls in classes:
            self.add_known_type(GroupVersionKind.parse(cls.API_VERSION, cls.KIND), cls)

    def gvk_for(self, cls: type[Any]) -> GroupVersionKind:
        """The kind of a class. Raises `NotRegistered` or `AmbiguousKind`."""
        kinds = self._kinds.get(cls)
        if not kinds:
            raise NotRegistered(
                f"{_name(cls)} is not registered in the scheme; call scheme.add_known_types({cls.__name__}) at start"
            )
        if len(kinds) > 1:
            raise AmbiguousKind(f"{_name(cls)} is registered for several kinds: {', '.join(map(str, sorted(kinds)))}")
        return kinds[0]

    def class_for(self, gvk: GroupVersionKind) -> type[Any]:
        """The class of a kind. Raises `NotRegistered`."""
        try:
            return self._classes[gvk]
        except KeyError:
            raise NotRegistered(f"no class is registered for {gvk}") from None

    def list_class_for(self, gvk: GroupVersionKind) -> type[Any] | None:
        """The list class of an item kind, where one was registered."""
        return self._list_classes.get(gvk)

    def recognizes(self, gvk: GroupVersionKind) -> bool:
        return gvk in self._classes

    def all_known_types(self) -> dict[GroupVersionKind, type[Any]]:
        return dict(self._classes)


def _name(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
