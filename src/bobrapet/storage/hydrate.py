"""References are replaced by what they refer to (spec workloads 10.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from bobrapet.api.payloads import PayloadReference, SelectorError, select
from bobrapet.storage.dehydrate import DEFAULT_DEPTH
from bobrapet.storage.envelope import Content, read_content
from bobrapet.storage.errors import PayloadTooLarge, ReferenceRefused, SelectionFailed, StorageMissing
from bobrapet.storage.layout import check_path, shown
from bobrapet.storage.retries import Retries
from bobrapet.storage.store import Reading, Store

_NESTING: Final = 400  # what the interpreter's stack holds with room to spare


class Budget:
    """Bytes that may be read from a store, by one call of `hydrate` or by several that share it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit

    def spend(self, size: int, path: str) -> None:
        """Raises PayloadTooLarge when an object is more than what is left."""
        if size > self.left:
            raise PayloadTooLarge(
                f"{shown(path)} has {size} bytes; at most {self.limit} may be read here, {self.left} of them are left"
            )
        self.left -= size


def hydrate(
    value: Any,
    store: Store | None,
    *,
    depth: int = DEFAULT_DEPTH,
    budget: Budget | None = None,
    check: Callable[[str], None] = lambda path: None,
    retries: Retries | None = None,
) -> Any:
    """`value` with every storage reference in it resolved; what holds none is returned as it is, not copied.

    Args:
        depth: how far references may lead to objects that hold references.
        budget: how much may be read; None: any amount.
        check: called with every path before it is read; raises ReferenceRefused for one that the caller may not read.

    Raises:
        StorageMissing: there are references, and no store.
        ReferenceRefused, SelectionFailed, PayloadNotFound, PayloadTooLarge: this reference will never work.
        Retriable: the store failed, also after the retries.
    """
    return _Hydration(store, depth, budget, check, retries or Retries()).resolve(value)


def references(value: Any) -> Iterator[PayloadReference]:
    """Every storage reference inside a value."""
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, Mapping):
            reference = PayloadReference.parse(found)
            if reference is not None:
                yield reference
            else:
                pending.extend(found.values())
        elif isinstance(found, list):
            pending.extend(found)


class _Hydration:
    def __init__(
        self,
        store: Store | None,
        depth: int,
        budget: Budget | None,
        check: Callable[[str], None],
        retries: Retries,
    ) -> None:
        self._store, self._depth, self._budget = store, depth, budget
        self._check, self._retries = check, retries

    def resolve(self, value: Any) -> Any:
        return self._walk(value, 0, ())

    def _walk(self, value: Any, nesting: int, chain: tuple[str, ...]) -> Any:
        if isinstance(value, Mapping):
            reference = PayloadReference.parse(value)
            if reference is not None:
                return self._load(reference, nesting, chain)
            members: Any = value.items()
        elif isinstance(value, list):
            members = enumerate(value)
        else:
            return value
        if nesting > _NESTING:
            raise ReferenceRefused(f"the data is nested deeper than {_NESTING} levels")
        changed = {}
        for key, member in members:
            if isinstance(member, Mapping | list):
                resolved = self._walk(member, nesting + 1, chain)
                if resolved is not member:
                    changed[key] = resolved
        if not changed:
            return value
        if isinstance(value, Mapping):
            return {**value, **changed}
        return [changed.get(index, member) for index, member in enumerate(value)]

    def _load(self, reference: PayloadReference, nesting: int, chain: tuple[str, ...]) -> Any:
        path = check_path(reference.path)
        self._check(path)
        if path in chain:
            raise ReferenceRefused(f"the payload {shown(path)} refers to itself")
        if len(chain) >= self._depth:
            raise ReferenceRefused(f"more than {self._depth} payloads refer to one another, the last to {shown(path)}")
        content = self._retries.call(lambda: self._read(path))
        value = content.value
        if content.may_hold_references:
            value = self._walk(value, nesting + 1, (*chain, path))
        try:
            return select(value, reference.selector)
        except SelectorError as error:
            raise SelectionFailed(f"{shown(path)}: {error}") from error

    def _read(self, path: str) -> Content:
        if self._store is None:
            raise StorageMissing(
                f"the data has the storage reference {shown(path)}, and there is no storage; give the Story that reads "
                "it the storage policy of the one that wrote it"
            )
        with self._store.open(path) as reading:
            if self._budget is not None:
                self._budget.spend(reading.info.size, path)
            return read_content(self._timed(reading))

    def _timed(self, reading: Reading) -> Reading:
        """The same reading; it ends when the operation's time is up."""

        def pieces() -> Iterator[bytes]:
            for piece in reading:
                self._retries.check()
                yield piece

        return Reading(reading.info, pieces())
