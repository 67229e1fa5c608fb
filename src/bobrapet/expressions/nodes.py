"""The syntax tree of a template. Every node knows the position of its first character in the text."""

from __future__ import annotations

from typing import TypeAlias


class Node:
    """Base of all nodes."""

    __slots__ = ("pos",)

    def __init__(self, pos: int) -> None:
        self.pos = pos


class Dot(Node):
    """`.`, the current value."""

    __slots__ = ()


class Nil(Node):
    """`nil`."""

    __slots__ = ()


class Bool(Node):
    """`true` or `false`."""

    __slots__ = ("value",)

    def __init__(self, pos: int, value: bool) -> None:
        self.pos = pos
        self.value = value


class Number(Node):
    """A number literal: which of Go's kinds it can be is decided by where it stands."""

    __slots__ = ("as_complex", "as_float", "as_int", "text")

    def __init__(
        self, pos: int, text: str, as_int: int | None, as_float: float | None, as_complex: complex | None
    ) -> None:
        self.pos = pos
        self.text = text
        self.as_int = as_int
        self.as_float = as_float
        self.as_complex = as_complex


class String(Node):
    """A quoted or raw string; `value` is unescaped."""

    __slots__ = ("value",)

    def __init__(self, pos: int, value: str) -> None:
        self.pos = pos
        self.value = value


class Identifier(Node):
    """The name of a function."""

    __slots__ = ("name",)

    def __init__(self, pos: int, name: str) -> None:
        self.pos = pos
        self.name = name


class Field(Node):
    """`.a.b`: a chain of names that starts at the current value."""

    __slots__ = ("path",)

    def __init__(self, pos: int, path: tuple[str, ...]) -> None:
        self.pos = pos
        self.path = path


class Variable(Node):
    """`$x.a.b`; `name` includes the dollar."""

    __slots__ = ("name", "path")

    def __init__(self, pos: int, name: str, path: tuple[str, ...] = ()) -> None:
        self.pos = pos
        self.name = name
        self.path = path


class Index(Node):
    """`target["key"]` or `target[3]`: the same as `(index target "key")`."""

    __slots__ = ("key", "target")

    def __init__(self, pos: int, target: Operand, key: str | int) -> None:
        self.pos = pos
        self.target = target
        self.key = key


class Chain(Node):
    """`(pipeline).a.b`: names that follow something other than a field or a variable."""

    __slots__ = ("path", "target")

    def __init__(self, pos: int, target: Operand, path: tuple[str, ...]) -> None:
        self.pos = pos
        self.target = target
        self.path = path


class Command(Node):
    """An operand and its arguments."""

    __slots__ = ("args",)

    def __init__(self, pos: int, args: list[Operand]) -> None:
        self.pos = pos
        self.args = args


class Pipe(Node):
    """`$x, $y := command | command`."""

    __slots__ = ("assigns", "commands", "declares")

    def __init__(self, pos: int) -> None:
        self.pos = pos
        self.commands: list[Command] = []
        self.declares: list[str] = []
        self.assigns = False


class Text(Node):
    """What stands between actions, trimmed."""

    __slots__ = ("text",)

    def __init__(self, pos: int, text: str) -> None:
        self.pos = pos
        self.text = text


class Action(Node):
    """A pipeline whose value is printed, unless it declares variables."""

    __slots__ = ("pipe",)

    def __init__(self, pos: int, pipe: Pipe) -> None:
        self.pos = pos
        self.pipe = pipe


class Branch(Node):
    """What `if`, `with` and `range` share."""

    __slots__ = ("body", "orelse", "pipe")

    def __init__(self, pos: int, pipe: Pipe, body: list[Statement], orelse: list[Statement] | None) -> None:
        self.pos = pos
        self.pipe = pipe
        self.body = body
        self.orelse = orelse


class If(Branch):
    """`if`."""

    __slots__ = ()


class With(Branch):
    """`with`: the value becomes the dot."""

    __slots__ = ()


class Range(Branch):
    """`range`: each element becomes the dot."""

    __slots__ = ()


class TemplateCall(Node):
    """`template "name" pipeline`, also what a `block` leaves in its place."""

    __slots__ = ("name", "pipe")

    def __init__(self, pos: int, name: str, pipe: Pipe | None) -> None:
        self.pos = pos
        self.name = name
        self.pipe = pipe


class Break(Node):
    """`break`."""

    __slots__ = ()


class Continue(Node):
    """`continue`."""

    __slots__ = ()


Operand: TypeAlias = (
    Dot | Nil | Bool | Number | String | Identifier | Field | Variable | Index | Chain | Pipe
)  # what a command is made of
Statement: TypeAlias = Text | Action | If | With | Range | TemplateCall | Break | Continue


class Tree:
    """A parsed template: the statements of its root, and the templates that it defines."""

    __slots__ = ("defined", "functions", "has_comment", "root", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.root: list[Statement] = []
        self.defined: dict[str, list[Statement]] = {}
        self.functions: set[str] = set()
        """Names of all functions that the text uses."""
        self.has_comment = False
