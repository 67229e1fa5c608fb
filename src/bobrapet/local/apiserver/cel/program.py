"""An expression that can be evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bobrapet.local.apiserver.cel.ast import Call, Ident, Literal, Node
from bobrapet.local.apiserver.cel.checker import check, children
from bobrapet.local.apiserver.cel.compiler import Frame, build
from bobrapet.local.apiserver.cel.errors import CompileError, EvaluationError, Issue
from bobrapet.local.apiserver.cel.parser import parse
from bobrapet.local.apiserver.cel.types import Type

CALL_LIMIT = 1_000_000
"""Cost of one evaluation: about a tenth of a second in a kube-apiserver."""


class Program:
    """A compiled expression. Safe to share: an evaluation has its own frame."""

    def __init__(self, source: str, variables: Mapping[str, Type]) -> None:
        """Raises CompileError."""
        self.source = source
        try:
            self.root = parse(source)
            check(source, self.root, variables)
            self._step = build(self.root)
        except RecursionError:
            raise CompileError(source, [Issue(0, "expression recursion limit exceeded")]) from None

    def constant_failure(self) -> str:
        """Why the conversion of a literal fails, which is found before any evaluation; "" if none does."""
        return _constant_failure(self.root)

    @property
    def type(self) -> Type:
        """What an evaluation gives."""
        return self.root.type

    def uses(self, variable: str) -> bool:
        """Whether the expression reads this variable."""
        return _uses(self.root, variable)

    def evaluate(self, variables: Mapping[str, Any], limit: int = CALL_LIMIT) -> tuple[Any, int]:
        """The value, and what it cost. Raises EvaluationError; its `cost` says what was spent until then."""
        frame = Frame(variables, limit)
        try:
            value = self._step(frame)
        except RecursionError:
            raise EvaluationError("expression recursion limit exceeded") from None
        except EvaluationError as error:
            error.cost = frame.cost
            raise
        return value, frame.cost


def _uses(node: Node, variable: str) -> bool:
    if isinstance(node, Ident):
        return node.name == variable
    return any(_uses(child, variable) for child in children(node))


_CONVERSIONS = frozenset(("bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"))


def _constant_failure(node: Node) -> str:
    if isinstance(node, Call) and node.function in _CONVERSIONS and all(isinstance(arg, Literal) for arg in node.args):
        try:
            build(node)(Frame({}, CALL_LIMIT))
        except EvaluationError as error:
            return str(error)
    return next((found for child in children(node) if (found := _constant_failure(child))), "")
