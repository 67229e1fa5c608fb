"""The nodes of a parsed expression. The checker notes types and overloads in them; nothing else changes a node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bobrapet.local.apiserver.cel.types import DYN, Type

if TYPE_CHECKING:
    from bobrapet.local.apiserver.cel.functions import Overload


@dataclass(slots=True, eq=False)
class Node:
    """An expression at a place of the source."""

    offset: int
    type: Type = field(default=DYN, init=False)


@dataclass(slots=True, eq=False)
class Literal(Node):
    """A value as written."""

    value: Any


@dataclass(slots=True, eq=False)
class Ident(Node):
    """A variable, or the name of a type."""

    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    """`operand.field`; with `test` the question whether it is there, with `optional` `operand.?field`."""

    operand: Node
    name: str
    test: bool = False
    optional: bool = False


@dataclass(slots=True, eq=False)
class Call(Node):
    """A function or operator. `target` is what stands before the dot."""

    function: str
    target: Node | None
    args: tuple[Node, ...]
    overloads: tuple[Overload, ...] = field(default=(), init=False)

    @property
    def operands(self) -> tuple[Node, ...]:
        """The target and the arguments."""
        return self.args if self.target is None else (self.target, *self.args)


@dataclass(slots=True, eq=False)
class ListOf(Node):
    """`[a, ?b]`: the positions in `optional` are left out when absent."""

    elements: tuple[Node, ...]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class MapOf(Node):
    """`{key: value, ?key: value}`."""

    entries: tuple[tuple[Node, Node], ...]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Comprehension(Node):
    """A macro over a list or map, by its name; `second` is set when it has two variables."""

    macro: str
    range: Node
    first: str
    second: str | None
    test: Node | None
    """The condition: what `all`, `exists`, `exists_one` and `filter` decide, and the filter of a `map`."""
    result: Node | None = None
    """What `map` makes of an entry, and what `sortBy` sorts it by."""


@dataclass(slots=True, eq=False)
class OptionalMap(Node):
    """`target.optMap(name, body)`; `flat` when the body is an optional itself."""

    target: Node
    name: str
    body: Node
    flat: bool
