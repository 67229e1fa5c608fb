"""Reading for commands that look at a control plane once: live over its API, or from a data dir that nobody serves.

Reconcilers read from a cache with indexes (`reconcilers.indexes`). These readers answer the same questions without
one, by looking through what a list gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from bobrapet.api import labels
from bobrapet.api.names import label
from bobrapet.reconcilers import indexes
from bobrapet.runtime.client.interfaces import Reader
from bobrapet.runtime.client.object import ObjectKey, ObjectList, from_dict, to_dict
from bobrapet.runtime.client.options import Fields, Labels
from bobrapet.runtime.client.selectors import LabelSelector
from bobrapet.runtime.errors import NotFound

T = TypeVar("T")
Extract = Callable[[Any], list[str]]

_EXTRACT: Final[Mapping[tuple[str, str], tuple[type[Any], Extract]]] = {
    (kind.KIND, field): (kind, extract) for kind, field, extract in indexes.INDEXES
}

_LABELLED: Final[Mapping[str, Callable[[str], Labels]]] = {
    indexes.STEPRUN_RUN: lambda value: {labels.STORYRUN: label(value.rpartition("/")[2])},
    indexes.STORYRUN_PARENT: lambda value: {labels.PARENT_STORYRUN: label(value)},
    indexes.POD_STEPRUN: lambda value: {labels.STEPRUN: value},
}
"""Index fields of objects that carry a label for the same thing: the API server finds them faster than we do."""


class Indexed:
    """Answers lists by index field, on top of a reader that knows only namespaces and labels."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def get(self, cls: type[T], key: ObjectKey, **options: Any) -> T:
        return await self._reader.get(cls, key)

    async def list(
        self,
        cls: type[T],
        *,
        namespace: str | None = None,
        labels: Labels = None,
        fields: Fields = None,
        **options: Any,
    ) -> ObjectList[T]:
        if not fields:
            return await self._reader.list(cls, namespace=namespace, labels=labels)
        assert isinstance(fields, Mapping)
        ((field, value),) = fields.items()
        kind, extract = _EXTRACT[_kind(cls)[1], field]
        labels = _LABELLED[field](value) if field in _LABELLED else labels
        found = await self._reader.list(kind, namespace=namespace, labels=labels)
        return ObjectList(items=[from_dict(cls, to_dict(obj)) for obj in found if value in extract(obj)])


class Stored:
    """Reads what a store holds."""

    def __init__(self, objects: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        """`objects`: those of each resource, as `local.store.read` gives them."""
        self._objects: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for found in objects.values():
            for obj in found:
                self._objects.setdefault((obj.get("apiVersion", ""), obj.get("kind", "")), []).append(obj)

    async def get(self, cls: type[T], key: ObjectKey, **options: Any) -> T:
        for obj in self._of(cls):
            metadata = obj["metadata"]
            if metadata["name"] == key.name and (metadata.get("namespace") or "") == key.namespace:
                return from_dict(cls, obj)
        raise NotFound(f'{_kind(cls)[1]} "{key}" not found')

    async def list(
        self, cls: type[T], *, namespace: str | None = None, labels: Labels = None, **options: Any
    ) -> ObjectList[T]:
        selector = LabelSelector.parse(labels)
        return ObjectList(
            items=[
                from_dict(cls, obj)
                for obj in self._of(cls)
                if (not namespace or obj["metadata"].get("namespace") == namespace)
                and selector.matches(obj["metadata"].get("labels") or {})
            ]
        )

    def _of(self, cls: type[Any]) -> Sequence[dict[str, Any]]:
        return self._objects.get(_kind(cls), ())


def _kind(cls: type[Any]) -> tuple[str, str]:
    return cls.API_VERSION, cls.KIND
