"""How functions are declared, and how a call finds its implementation.

A function has overloads that differ in the types they take. The checker picks those that fit the types of a call; the
evaluation picks one by the classes of the values, and remembers it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bobrapet.local.apiserver.cel.errors import no_such_overload
from bobrapet.local.apiserver.cel.types import DYN, Type
from bobrapet.local.apiserver.cel.values import KINDS, size

Cost = Callable[[Sequence[Any], Any], int]
"""What a call costs, of its arguments and its result."""


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One way to call a function."""

    id: str
    params: tuple[Type, ...]
    result: Type
    call: Callable[..., Any]
    member: bool
    cost: Cost | None
    """None: 1."""

    def takes(self, classes: Sequence[type]) -> bool:
        """Whether values of these classes fit."""
        return len(classes) == len(self.params) and all(
            param == DYN or param.is_parameter or (kind := KINDS.get(given)) is None or kind.name == param.name
            for given, param in zip(classes, self.params, strict=True)
        )


class Function:
    """A name with its overloads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.overloads: list[Overload] = []
        self._found: dict[tuple[bool, tuple[type, ...]], Overload] = {}

    def resolve(self, member: bool, classes: tuple[type, ...]) -> Overload:
        """The overload for values of these classes. Raises EvaluationError."""
        found = self._found.get((member, classes))
        if found is None:
            for overload in self.overloads:
                if overload.member == member and overload.takes(classes):
                    found = self._found[member, classes] = overload
                    break
            else:
                raise no_such_overload()
        return found


class Functions:
    """A set of functions by name."""

    def __init__(self) -> None:
        self._functions: dict[str, Function] = {}

    def get(self, name: str) -> Function | None:
        """The function of this name."""
        return self._functions.get(name)

    def add(
        self,
        name: str,
        id: str,
        params: tuple[Type, ...],
        result: Type,
        call: Callable[..., Any],
        *,
        member: bool = False,
        cost: Cost | None = None,
    ) -> None:
        """Declares one overload."""
        function = self._functions.setdefault(name, Function(name))
        function.overloads.append(Overload(id, params, result, call, member, cost))

    def method(
        self,
        name: str,
        id: str,
        params: tuple[Type, ...],
        result: Type,
        call: Callable[..., Any],
        cost: Cost | None = None,
    ) -> None:
        """Declares one overload that is called on its first argument."""
        self.add(name, id, params, result, call, member=True, cost=cost)


STRING_FACTOR = 0.1
"""Cost of one character that is looked at."""
REGEX_FACTOR = 0.25
"""Cost of one character of a pattern."""


def traversal(args: Sequence[Any], _result: Any) -> int:
    """Looks once at every character of the first argument."""
    return math.ceil(size(args[0]) * STRING_FACTOR)


def double_traversal(args: Sequence[Any], _result: Any) -> int:
    """Reads the first argument and writes as much."""
    return math.ceil(size(args[0]) * 2 * STRING_FACTOR)


def matching(args: Sequence[Any], _result: Any) -> int:
    """Matches the first argument against the second, a pattern."""
    return math.ceil((1 + size(args[0])) * STRING_FACTOR) * math.ceil(size(args[1]) * REGEX_FACTOR)
