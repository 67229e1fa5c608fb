"""The indexed store of one informer (client-go thread_safe_store, index).

Plain functions only: on one event loop a change of the store and of all its indexes is one step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.toolscache.record import Record

IndexFunc = Callable[[Record], Iterable[str]]
"""The values under which a record is found."""

log = logging.getLogger(__name__)


class IndexConflict(ControllerRuntimeError):
    """An index of this name exists already."""


class UnknownIndex(ControllerRuntimeError):
    """No index of this name exists."""


class _Index:
    """One index: value -> records, and the values of each record so that they can be taken away again."""

    __slots__ = ("by_key", "by_value", "errors", "extract", "name")

    def __init__(self, name: str, extract: IndexFunc) -> None:
        self.name = name
        self.extract = extract
        self.by_value: dict[str, dict[ObjectKey, Record]] = {}
        self.by_key: dict[ObjectKey, tuple[str, ...]] = {}
        self.errors: set[ObjectKey] = set()

    def put(self, record: Record) -> None:
        key = record.key
        try:
            values = tuple(dict.fromkeys(self.extract(record)))
        except Exception:
            self.discard(key)
            # One object that an index function cannot read must not stop the informer (CACHE-18).
            if key not in self.errors:
                self.errors.add(key)
                log.exception("index %r cannot be computed for %s; it is not found by this index", self.name, key)
            return
        if self.errors:
            self.errors.discard(key)
        if values == self.by_key.get(key):  # the usual case: what is indexed seldom changes
            for value in values:
                self.by_value[value][key] = record
            return
        self.discard(key)
        if values:
            self.by_key[key] = values
            for value in values:
                self.by_value.setdefault(value, {})[key] = record

    def discard(self, key: ObjectKey) -> None:
        for value in self.by_key.pop(key, ()):
            records = self.by_value[value]
            del records[key]
            if not records:
                del self.by_value[value]


class Indexer:
    """Records by key, by namespace, and by whatever indexes were added."""

    def __init__(self, indexers: Mapping[str, IndexFunc] | None = None) -> None:
        self._records: dict[ObjectKey, Record] = {}
        self._namespaces: dict[str, dict[ObjectKey, Record]] = {}
        self._indexes: dict[str, _Index] = {}
        self.add_indexers(indexers or {})

    def __len__(self) -> int:
        return len(self._records)

    # Changes

    def add(self, record: Record) -> None:
        """Stores a record in place of the one with the same key."""
        self._records[record.key] = record
        self._namespaces.setdefault(record.key.namespace, {})[record.key] = record
        for index in self._indexes.values():
            index.put(record)

    update = add

    def delete(self, key: ObjectKey) -> None:
        """Forgets a key; unknown keys are ignored."""
        if self._records.pop(key, None) is None:
            return
        records = self._namespaces[key.namespace]
        del records[key]
        if not records:
            del self._namespaces[key.namespace]
        for index in self._indexes.values():
            index.discard(key)
            index.errors.discard(key)

    def replace(self, records: Iterable[Record]) -> None:
        """Makes these records the whole content."""
        wanted = {record.key: record for record in records}
        for key in self._records.keys() - wanted.keys():
            self.delete(key)
        for record in wanted.values():
            if self._records.get(record.key) is not record:
                self.add(record)

    def add_indexers(self, indexers: Mapping[str, IndexFunc]) -> None:
        """Adds indexes; what is stored already is indexed now. Raises `IndexConflict` when a name is taken."""
        for name in indexers:
            if name in self._indexes:
                raise IndexConflict(f"an index named {name!r} exists already; two controllers may not share one name")
        for name, extract in indexers.items():
            index = self._indexes[name] = _Index(name, extract)
            for record in self._records.values():
                index.put(record)

    # Reads

    def get_by_key(self, key: ObjectKey) -> Record | None:
        return self._records.get(key)

    def list(self, namespace: str = "") -> list[Record]:
        """All records, or those of one namespace."""
        found: Mapping[ObjectKey, Record] = self._namespaces.get(namespace, {}) if namespace else self._records
        return [*found.values()]

    def list_keys(self) -> list[ObjectKey]:  # type: ignore[valid-type]  # the builtin; `list` is a method here
        return [*self._records]

    def by_index(self, name: str, value: str) -> dict[ObjectKey, Record]:
        """The records that an index has under `value`. Do not change the answer."""
        index = self._indexes.get(name)
        if index is None:
            known = ", ".join(sorted(self._indexes)) or "none"
            raise UnknownIndex(f"there is no index {name!r} (known: {known}); add it with index_field before reading")
        return index.by_value.get(value, {})

    def index(self, name: str, record: Record) -> dict[ObjectKey, Record]:
        """The records that share an index value with `record`."""
        index = self._indexes.get(name)
        if index is None:
            raise UnknownIndex(f"there is no index {name!r}")
        found: dict[ObjectKey, Record] = {}
        for value in index.extract(record):
            found.update(self.by_index(name, value))
        return found

    @property
    def index_errors(self) -> int:
        """Records that some index function cannot read."""
        return sum(len(index.errors) for index in self._indexes.values())

    @property
    def indexers(self) -> Mapping[str, Any]:
        return {name: index.extract for name, index in self._indexes.items()}
