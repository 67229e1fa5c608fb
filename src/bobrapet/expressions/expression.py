"""Values whose expressions are compiled ahead of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bobrapet.expressions.evaluator import LARGEST_CACHED, Evaluator, compiled_text
from bobrapet.expressions.functions import LIBRARY
from bobrapet.expressions.program import Program
from bobrapet.expressions.references import Reference, references, templates

_PLAIN = Evaluator()


def _program(text: str) -> Program:
    return compiled_text(text, False) if len(text) <= LARGEST_CACHED else Program(text, LIBRARY)


class Expression:
    """A JSON value that is known to parse. Immutable; may be shared between threads and evaluators."""

    __slots__ = ("_programs", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        # Holding the programs keeps what the shared cache might drop.
        self._programs: tuple[Program, ...] = tuple(_program(text) for _, text in templates(value))

    @property
    def is_constant(self) -> bool:
        """Whether the value holds no expression."""
        return not self._programs

    def resolve(self, context: Mapping[str, Any], evaluator: Evaluator = _PLAIN) -> Any:
        """Returns the value with every expression in it evaluated. Raises ExpressionError."""
        return evaluator.resolve(self.value, context)

    def references(self) -> list[Reference]:
        """What the value reads of the context."""
        return references(self.value)


def compile(value: Any) -> Expression:
    """Compiles every expression in a JSON value; raises ExpressionError of kind `parse` for the first that is wrong."""
    return Expression(value)
