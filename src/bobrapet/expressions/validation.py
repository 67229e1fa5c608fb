"""What admission refuses about expressions (spec expressions 12)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from bobrapet.expressions import nodes
from bobrapet.expressions.errors import ExpressionError, nearest
from bobrapet.expressions.functions import DETERMINISTIC_LIBRARY, LIBRARY, UNFORESEEABLE
from bobrapet.expressions.parser import NESTING_LIMIT, ROOTS, parse
from bobrapet.expressions.references import operands, paths_read, references
from bobrapet.expressions.wrapper import TEMPLATE_KEY, VARIABLES_KEY

DOCUMENT_LIMIT = 1024 * 1024
"""Bytes of all text in a value; larger ones are refused unread."""

ScopeName = Literal["batch-runtime", "realtime-static", "realtime-runtime", "story-output"]


class Scope(NamedTuple):
    """What an expression in one place of a Story may use."""

    name: str
    roots: frozenset[str]
    allows_random: bool = True
    allows_range: bool = True


SCOPES: dict[str, Scope] = {
    scope.name: scope
    for scope in (
        Scope("batch-runtime", frozenset({"inputs", "steps"})),
        Scope("realtime-static", frozenset({"inputs"}), allows_random=False),
        Scope("realtime-runtime", frozenset({"inputs", "steps", "packet"})),
        Scope("story-output", frozenset({"inputs", "steps"})),
    )
}


class Problem(NamedTuple):
    """Why a value is refused. `where` is the place in the value, such as `$.body[0]`; `$` for the value itself."""

    message: str
    where: str = "$"
    template: str = ""
    position: int | None = None

    @property
    def line(self) -> int:
        return self.error.line

    @property
    def column(self) -> int:
        return self.error.column

    @property
    def excerpt(self) -> str:
        return self.error.excerpt

    @property
    def error(self) -> ExpressionError:
        """The problem as the error that evaluation would raise."""
        return ExpressionError("parse", self.message, template=self.template, position=self.position)

    def __str__(self) -> str:
        return self.message if self.where == "$" else f"{self.where}: {self.message}"


def validate(value: Any, scope: ScopeName | Scope) -> list[Problem]:
    """Returns everything that is wrong with the expressions of a JSON value in this scope; empty when all is well."""
    if isinstance(scope, str):
        if scope not in SCOPES:
            raise ValueError(f"no scope is named {scope!r}{nearest(scope, SCOPES)}; known: {', '.join(SCOPES)}")
        scope = SCOPES[scope]
    size = _text_size(value)
    if size > DOCUMENT_LIMIT:
        return [Problem(f"holds {size} bytes of text; at most {DOCUMENT_LIMIT} are checked")]
    return list(_check(value, scope, "$", 0))


def look(text: str, scope: ScopeName | Scope) -> tuple[list[Problem], list[str]]:
    """Returns what is wrong with one template in this scope, and the names of the steps that it reads.

    As `validate` and `references` say it, for the price of one parse.
    """
    if isinstance(scope, str):
        scope = SCOPES[scope]
    try:
        tree = parse(text, LIBRARY if scope.allows_random else DETERMINISTIC_LIBRARY)
    except ExpressionError:
        return validate(text, scope), list(dict.fromkeys(found.step for found in references(text) if found.step))
    steps = dict.fromkeys(str(path[1]) for path, _ in paths_read(tree) if path[0] == "steps" and len(path) > 1)
    return list(_problems_of(tree, scope, "$", text)), list(steps)


def _text_size(value: Any) -> int:
    size = 0
    pending = [value]
    while pending and size <= DOCUMENT_LIMIT:
        part = pending.pop()
        if isinstance(part, str):
            size += len(part.encode("utf-8", "surrogatepass"))
        elif isinstance(part, dict):
            pending += part
            pending += part.values()
        elif isinstance(part, (list, tuple)):
            pending += part
    return size


def _check(value: Any, scope: Scope, where: str, depth: int) -> Iterator[Problem]:
    if isinstance(value, str):
        if "{{" in value:
            yield from _check_text(value, scope, where)
        return
    if not isinstance(value, (dict, list, tuple)):
        return
    if depth >= NESTING_LIMIT:
        yield Problem(f"nested deeper than {NESTING_LIMIT} levels", where)
        return
    if not isinstance(value, dict):
        for index, element in enumerate(value):
            yield from _check(element, scope, f"{where}[{index}]", depth + 1)
        return
    variables = value.get(VARIABLES_KEY)
    for key, element in value.items():
        place = f"{where}.{key}"
        if key != TEMPLATE_KEY:
            yield from _check(element, scope, place, depth + 1)
        elif not isinstance(element, str):
            yield Problem(f"{place} must be a string")
        else:
            # The variables of a wrapper are roots of its template.
            names = frozenset(map(str, variables)) if isinstance(variables, dict) else frozenset()
            inner = Scope(scope.name, scope.roots | names, scope.allows_random, scope.allows_range)
            yield from _check(element, inner, place, depth + 1)


def _check_text(text: str, scope: Scope, where: str) -> Iterator[Problem]:
    functions = LIBRARY if scope.allows_random else DETERMINISTIC_LIBRARY
    try:
        tree = parse(text, functions)
    except ExpressionError as problem:
        message = problem.message
        for name in UNFORESEEABLE:
            if f"function “{name}” is not defined" in message:
                message = f"function “{name}” is not allowed for {scope.name} templates: its result is not foreseeable"
        yield Problem(message, where, text, problem.position)
        return
    yield from _problems_of(tree, scope, where, text)


def _problems_of(tree: nodes.Tree, scope: Scope, where: str, text: str) -> Iterator[Problem]:
    bodies: list[Sequence[nodes.Statement]] = [tree.root, *tree.defined.values()]
    found = [problem for body in bodies for problem in _check_tree(body, scope)]
    seen: set[tuple[str, int]] = set()
    for message, position in sorted(found, key=lambda item: item[1]):
        if (message, position) not in seen:
            seen.add((message, position))
            yield Problem(message, where, text, position)


def _check_tree(statements: Sequence[nodes.Statement], scope: Scope) -> Iterator[tuple[str, int]]:
    for operand in operands(statements):
        if isinstance(operand, nodes.Field) and operand.path[0] not in scope.roots:
            yield _refused_root(operand.path[0], scope), operand.pos
        elif isinstance(operand, nodes.Pipe):
            for command in operand.commands:
                path = _keyed_dot(command.args)
                if path is not None and path not in scope.roots:
                    yield _refused_root(path, scope), command.pos
        elif isinstance(operand, nodes.Index) and isinstance(operand.target, nodes.Dot):
            root = str(operand.key)
            if root not in scope.roots:
                yield _refused_root(root, scope), operand.pos
    yield from _check_statements(statements, scope)


def _keyed_dot(args: list[nodes.Operand]) -> str | None:
    """The root that `index . "x"`, `get . "x"` or `dig "x" ... .` names."""
    match args:
        case [nodes.Identifier(name="index" | "get"), nodes.Dot(), nodes.String(value=root), *_]:
            return root
        case [nodes.Identifier(name="dig"), nodes.String(value=root), *_, nodes.Dot()]:
            return root
    return None


def _check_statements(statements: Sequence[nodes.Statement], scope: Scope) -> Iterator[tuple[str, int]]:
    for statement in statements:
        match statement:
            case nodes.TemplateCall():
                yield f"template inclusion is not supported ({statement.name})", statement.pos
            case nodes.If() | nodes.With() | nodes.Range():
                if isinstance(statement, nodes.Range) and not scope.allows_range:
                    yield f"range is not allowed for {scope.name} templates", statement.pos
                yield from _check_statements(statement.body, scope)
                yield from _check_statements(statement.orelse or (), scope)


def _refused_root(root: str, scope: Scope) -> str:
    if root in ROOTS:
        return f"context '{root}' is not allowed for {scope.name} templates"
    return f"unknown context '{root}' is not allowed for {scope.name} templates{nearest(root, scope.roots)}"
