"""Values too large to stand inline are written to the store, and a reference takes their place (workloads 10.3).

`plan_dehydration` decides without writing: depth first, the smallest values that are over the limit go, and the
container as a whole when what would remain is too large still. `dehydrate` writes what was decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from bobrapet.api.env import STORAGE_REF
from bobrapet.api.payloads import CONTENT_JSON, CONTENT_TEXT, PayloadReference
from bobrapet.storage.body import PIECE_BYTES, Body
from bobrapet.storage.envelope import json_pieces, raw_pieces
from bobrapet.storage.errors import PayloadTooLarge, ReferenceRefused
from bobrapet.storage.layout import REMAINDER_NAME, ROOT_NAME, check_prefix, part_path
from bobrapet.storage.retries import Retries
from bobrapet.storage.store import Store

DEFAULT_INLINE: Final = 1024  # for a component whose operator does not say
DEFAULT_DEPTH: Final = 32
MAX_REMAINDER: Final = 256 * 1024
_EMPTY: Final = ("", None)
_FLAT_MEMBERS: Final = 64
_FLAT_TEXT: Final = 1024
_FLAT_KINDS: Final = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """From where on values are offloaded."""

    inline: int = DEFAULT_INLINE
    """Bytes that one value may have inline; 0: none, except for empty ones."""
    depth: int = DEFAULT_DEPTH
    """Nesting below which a value is offloaded whole, whatever its size."""
    remainder: int = MAX_REMAINDER
    """Bytes that a container may have after parts of it were offloaded."""


@dataclass(frozen=True, slots=True)
class SchemaIdentity:
    """What the references say about the form of the data."""

    name: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """An object to store."""

    reference: PayloadReference
    value: Any = field(repr=False)
    heavy: frozenset[int] = field(default=frozenset(), repr=False)

    def body(self) -> Body:
        """The stored form, measured."""
        if self.reference.content_type == CONTENT_TEXT:
            return Body.measured(lambda: raw_pieces(self.value), CONTENT_JSON)
        return Body.measured(lambda: json_pieces(self.value, self.heavy), CONTENT_JSON)


@dataclass(frozen=True, slots=True)
class Dehydrated:
    """A value with references in it, and what must be stored before anybody sees them."""

    value: Any
    writes: tuple[Write, ...] = ()


def dehydrate(
    value: Any,
    store: Store | None,
    prefix: str,
    limits: Limits | None = None,
    *,
    schema: SchemaIdentity | None = None,
    is_input: bool = False,
    retries: Retries | None = None,
) -> Any:
    """`value` with everything over the limit stored below `prefix` and replaced by references.

    Args:
        is_input: inputs must come under the limit as a whole, so the rest is offloaded too if need be.

    Raises:
        PayloadTooLarge: something is over the limit, and there is no store.
        Retriable: the store failed, also after the retries.
    """
    limits = limits or Limits()
    planned = plan_dehydration(value, prefix, limits, schema=schema, is_input=is_input)
    if not planned.writes:
        return planned.value
    if store is None:
        raise PayloadTooLarge(
            f"{_place(planned.writes[0])} has more than {limits.inline} bytes, the limit of an inline value, "
            "and there is no storage; give the Story a storage policy, or raise execution.maxInlineSize"
        )
    retries = retries or Retries()
    for write in planned.writes:
        body = write.body()
        retries.call(lambda path=write.reference.path, body=body: store.put(path, body))  # type: ignore[misc]
    return planned.value


def plan_dehydration(
    value: Any, prefix: str, limits: Limits, *, schema: SchemaIdentity | None = None, is_input: bool = False
) -> Dehydrated:
    """Decides what goes to the store. Pure."""
    planner = _Planner(check_prefix(prefix), limits, schema or SchemaIdentity())
    try:
        inline, size = planner.visit(value, 0)
        if is_input and size > limits.inline and inline is not value:
            inline = planner.offload_remainder(inline)
        elif is_input and size > limits.inline and PayloadReference.parse(inline) is None:
            inline, _ = planner.offload(inline)
    except RecursionError as error:
        raise ReferenceRefused("the value is nested too deep to be stored") from error
    return Dehydrated(inline, tuple(planner.writes))


class _Planner:
    """One walk through a value. Values that stay as they are keep their identity, so nothing is copied for them."""

    def __init__(self, prefix: str, limits: Limits, schema: SchemaIdentity) -> None:
        self.writes: list[Write] = []
        self._prefix, self._limits, self._schema = prefix, limits, schema
        self._keys: list[str | int] = []
        self._heavy: set[int] = set()
        self._references = 0

    def visit(self, value: Any, depth: int) -> tuple[Any, int]:
        """What stands inline for `value`, and its bytes of JSON."""
        if isinstance(value, str):
            size = _text_size(value, self._heavy)
            # In bytes of the text itself; its JSON is longer by two quotes and the escapes.
            is_over = size - 2 > self._limits.inline and _utf8_size(value) > self._limits.inline
            return self.offload(value) if is_over else (value, size)
        if isinstance(value, Mapping | list | tuple):
            if not value:
                return value, 2
            flat = _flat_size(value) if depth < self._limits.depth else None
            if flat is not None and flat <= self._limits.inline:
                return value, flat
            return self._container(value, depth)
        size = len(msgspec.json.encode(value))
        return self.offload(value) if size > self._limits.inline and value not in _EMPTY else (value, size)

    def offload(self, value: Any, root_name: str = ROOT_NAME) -> tuple[Any, int]:
        """Plans to store the value that the walk is at."""
        is_text = isinstance(value, str)
        path = part_path(self._prefix, self._keys, root_name)
        taken = {write.reference.path for write in self.writes} if root_name == REMAINDER_NAME else ()
        if path in taken:  # a part whose key is the name of the rest
            path = part_path(self._prefix, ["", root_name])
        reference = PayloadReference(
            path=path,
            content_type=CONTENT_TEXT if is_text else CONTENT_JSON,
            schema=self._schema.name,
            schema_version=self._schema.version,
        )
        self.writes.append(Write(reference, value, frozenset(self._heavy)))
        self._references += 1
        wire = reference.to_wire()
        return wire, len(msgspec.json.encode(wire))

    def offload_remainder(self, value: Any) -> Any:
        """Plans to store what is left of inputs after parts of them went."""
        return self.offload(value, REMAINDER_NAME)[0]

    def _container(self, value: Any, depth: int) -> tuple[Any, int]:
        if PayloadReference.parse(value) is not None:  # one that a component passes on
            self._references += 1
            return value, len(msgspec.json.encode(value))
        if depth >= self._limits.depth:
            return self.offload(value)
        writes, references = len(self.writes), self._references
        changed: dict[str | int, Any] = {}
        total = 1
        for key, member in _members(value):
            self._keys.append(key)
            inline, size = self.visit(member, depth + 1)
            self._keys.pop()
            total += size + 1 + (0 if isinstance(key, int) else _text_size(key, None) + 1)
            if inline is not member:
                changed[key] = inline
        is_partial = self._references > references
        is_over = total > (self._limits.remainder if is_partial else self._limits.inline)
        holds_heavy = bool(self._heavy) and any(id(member) in self._heavy for _, member in _members(value))
        if total > PIECE_BYTES or holds_heavy:
            self._heavy.add(id(value))
        if is_over:
            del self.writes[writes:]  # the parts go with the whole
            return self.offload(value)
        if not changed:
            return value, total
        if isinstance(value, Mapping):
            return {**value, **changed}, total
        return [changed.get(index, member) for index, member in enumerate(value)], total


def _flat_size(value: Any) -> int | None:
    """Bytes of JSON of a container that holds short scalars only, in one go; None: it has to be walked through.

    Most containers of a large value are such records, so this is what makes large values fast.
    """
    members = value.values() if isinstance(value, Mapping) else value
    if len(value) > _FLAT_MEMBERS or STORAGE_REF in value:
        return None
    for member in members:
        kind = type(member)
        if kind not in _FLAT_KINDS or (kind is str and len(member) > _FLAT_TEXT):
            return None
    return len(msgspec.json.encode(value))


def _place(write: Write) -> str:
    """Which value it is, told by the name of its object."""
    name = write.reference.path.rpartition("/")[2].removesuffix(".json")
    return "the whole value" if name == ROOT_NAME else name


def _members(value: Any) -> Iterator[tuple[str | int, Any]]:
    return iter(value.items()) if isinstance(value, Mapping) else enumerate(value)


def _text_size(text: str, heavy: set[int] | None) -> int:
    """Bytes of JSON, counted in pieces."""
    if len(text) <= PIECE_BYTES:
        return len(msgspec.json.encode(text))
    if heavy is not None:
        heavy.add(id(text))
    starts = range(0, len(text), PIECE_BYTES)
    return 2 + sum(len(msgspec.json.encode(text[start : start + PIECE_BYTES])) - 2 for start in starts)


def _utf8_size(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(len(text[start : start + PIECE_BYTES].encode()) for start in range(0, len(text), PIECE_BYTES))
