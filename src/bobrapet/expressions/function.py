"""How a function tells the compiler what it takes.

A signature is one letter per parameter, with `*` after the last letter for any number of further arguments:

    a  anything         s  string            b  bool
    i  int              f  float64           m  map[string]interface {}
    t  a time

The names are those of Go's types because that is what decides: an `i` takes an int, and no JSON number, which is a
float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Body = Callable[..., Any]
_Body = TypeVar("_Body", bound=Body)


class Function:
    """A template function: `takes_run` functions get the `Run` as first argument."""

    __slots__ = ("call", "minimum", "name", "params", "rest", "takes_run")

    def __init__(self, name: str, signature: str, call: Body, takes_run: bool) -> None:
        self.name = name
        self.rest = signature[-2] if signature.endswith("*") else ""
        self.params = signature[:-2] if self.rest else signature
        self.minimum = len(self.params)
        self.call = call
        self.takes_run = takes_run

    def kind_of(self, position: int) -> str:
        """The parameter kind of the argument at `position`."""
        return self.params[position] if position < len(self.params) else self.rest


class Library(dict[str, Function]):
    """A family of functions by name."""

    def add(self, names: str, signature: str, *, takes_run: bool = False) -> Callable[[_Body], _Body]:
        """Registers the decorated body under one or more names, separated by spaces."""

        def register(body: _Body) -> _Body:
            for name in names.split():
                self[name] = Function(name, signature, body, takes_run)
            return body

        return register
