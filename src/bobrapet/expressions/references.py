"""Which values of the context an expression reads (spec expressions 13)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from bobrapet.expressions import nodes
from bobrapet.expressions.errors import ExpressionError
from bobrapet.expressions.functions import LIBRARY
from bobrapet.expressions.parser import ROOTS, parse
from bobrapet.expressions.plain_path import Path, plain_path


class Reference:
    """A path of the context that an expression reads: `("steps", "fetch", "output", "items", 0)`.

    The path ends where the expression goes on by other means than names and literal keys, so it may be shorter than
    what is read in the end. References are equal when their paths are.
    """

    __slots__ = ("is_plain", "path", "position", "template", "where")

    def __init__(self, path: Path, template: str, position: int, where: str = "$", *, is_plain: bool = False) -> None:
        """`where` is the element of the container that holds the template: `$.body.items[0]`. The template of a plain
        reference is nothing but the path, and gives the value itself."""
        self.path = path
        self.template = template
        self.position = position
        self.where = where
        self.is_plain = is_plain

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"Reference({self}, where={self.where!r}, line={self.line}, column={self.column})"

    @property
    def root(self) -> str:
        """`inputs`, `steps` or `packet`."""
        return str(self.path[0])

    @property
    def step(self) -> str | None:
        """The step that is read; None for other roots, and for `steps` as a whole."""
        if self.path[0] == "steps" and len(self.path) > 1:
            return str(self.path[1])
        return None

    @property
    def line(self) -> int:
        return self.template.count("\n", 0, self.position) + 1

    @property
    def column(self) -> int:
        return self.position - self.template.rfind("\n", 0, self.position)

    def __str__(self) -> str:
        first, *rest = self.path
        return str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)


def references(value: Any) -> list[Reference]:
    """Returns what the expressions in a JSON value read of `inputs`, `steps` and `packet`, in order of appearance.

    Text that does not parse reads nothing: admission has refused it, or will.
    """
    found: list[Reference] = []
    for where, text in templates(value):
        paths, is_plain = _paths(text)
        for path, position in paths:
            found.append(Reference(path, text, position, where, is_plain=is_plain))
    return found


def templates(value: Any, where: str = "$") -> Iterator[tuple[str, str]]:
    """Goes through the strings of a JSON value that hold expressions, with their places."""
    if isinstance(value, str):
        if "{{" in value:
            yield where, value
    elif isinstance(value, dict):
        for key, element in value.items():
            yield from templates(element, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, element in enumerate(value):
            yield from templates(element, f"{where}[{index}]")


@lru_cache(1000)
def _paths(text: str) -> tuple[tuple[tuple[Path, int], ...], bool]:
    """The paths that a text reads, and whether it is one of them and nothing else."""
    try:
        tree = parse(text, LIBRARY)
    except ExpressionError:
        return (), False
    return paths_read(tree), plain_path(tree) is not None


def paths_read(tree: nodes.Tree) -> tuple[tuple[Path, int], ...]:
    """The paths that a template reads, each with its position, in order of appearance."""
    bodies = [tree.root, *tree.defined.values()]
    found = [(path, position) for body in bodies for path, position in _read_paths(body) if path[0] in ROOTS]
    return tuple(sorted(found, key=lambda item: item[1]))


def _read_paths(statements: Sequence[nodes.Statement]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    inner: set[int] = set()
    for operand in operands(statements):
        if id(operand) in inner:
            continue
        path = path_of(operand)
        if path:
            # The parts of a longer path are no references of their own.
            inner.update(id(part) for part in _parts(operand))
            yield path, operand.pos


def path_of(node: nodes.Operand) -> Path | None:
    """Returns the path from the context that a node stands for; None when it is no path."""
    match node:
        case nodes.Field():
            return node.path
        case nodes.Variable(name="$"):
            return node.path or None
        case nodes.Index():
            before = path_of(node.target)
            return (*before, node.key) if before else None
        case nodes.Chain():
            before = path_of(node.target)
            return (*before, *node.path) if before else None
        case nodes.Pipe(commands=[command]):
            return _path_of_call(command.args)
    return None


def _path_of_call(args: list[nodes.Operand]) -> Path | None:
    """The path that `index` and `get` with literal keys, or a lone path in parentheses, stand for."""
    match args:
        case [nodes.Identifier(name="index" | "get"), target, *keys]:
            path = path_of(target)
            for key in keys if path else ():
                match key:
                    case nodes.String(value=name):
                        path = (*path, name) if path else None
                    case nodes.Number(as_int=int(position)):
                        path = (*path, position) if path else None
                    case _:
                        break
            return path
        case [nodes.Identifier(name="dig"), *keys, _, target] if keys:
            path = path_of(target)
            for key in keys if path else ():
                if not isinstance(key, nodes.String):
                    break
                path = (*path, key.value) if path else None
            return path
        case [only]:
            return path_of(only)
    return None


def _parts(node: nodes.Operand) -> Iterator[nodes.Operand]:
    pending = [node]
    while pending:
        part = pending.pop()
        yield part
        match part:
            case nodes.Index() | nodes.Chain():
                pending.append(part.target)
            case nodes.Pipe():
                for command in part.commands:
                    pending += [arg for arg in command.args if path_of(arg)]


def step_names(tree: nodes.Tree) -> tuple[tuple[str, int], ...]:
    """Returns the steps that a template names, each with the first position, sorted (13.2)."""
    found: dict[str, int] = {}
    for operand in operands(tree.root):
        match operand:
            case nodes.Field(path=("steps", name, *_)):
                found.setdefault(name, operand.pos)
            case nodes.Index(target=nodes.Field(path=("steps",)), key=str(name)):
                found.setdefault(name, operand.pos)
            case nodes.Pipe():
                for command in operand.commands:
                    match command.args:
                        case [
                            nodes.Identifier(name="index"),
                            nodes.Field(path=("steps",)),
                            nodes.String(value=name),
                            *_,
                        ]:
                            found.setdefault(name, command.pos)
    return tuple(sorted(found.items()))


def operands(statements: Sequence[nodes.Statement]) -> Iterator[nodes.Operand]:
    """Goes through every pipeline and operand, outermost first."""
    pending: list[nodes.Statement] = list(reversed(statements))
    while pending:
        statement = pending.pop()
        match statement:
            case nodes.Action() | nodes.TemplateCall():
                if statement.pipe:
                    yield from _inside(statement.pipe)
            case nodes.If() | nodes.With() | nodes.Range():
                yield from _inside(statement.pipe)
                pending += reversed(statement.orelse or ())
                pending += reversed(statement.body)


def _inside(pipe: nodes.Pipe) -> Iterator[nodes.Operand]:
    pending: list[nodes.Operand] = [pipe]
    while pending:
        operand = pending.pop()
        yield operand
        match operand:
            case nodes.Pipe():
                for command in reversed(operand.commands):
                    pending += reversed(command.args)
            case nodes.Chain() | nodes.Index():
                pending.append(operand.target)
