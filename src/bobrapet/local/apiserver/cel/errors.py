"""What can go wrong with an expression.

CelError
├── CompileError       the text is no expression, or its types do not fit; all faults with their places
└── EvaluationError    it failed on these values
    └── CostExceeded   it was stopped
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class CelError(Exception):
    """Root of the errors of expressions."""


@dataclass(frozen=True, slots=True, order=True)
class Issue:
    """One fault of an expression; `offset` counts characters from its start."""

    offset: int
    message: str


class CompileError(CelError):
    """An expression that is not accepted; the text shows each fault with its place."""

    def __init__(self, source: str, issues: Sequence[Issue]) -> None:
        self.issues = sorted(set(issues))
        super().__init__("\n".join(_shown(source, issue) for issue in self.issues))


class EvaluationError(CelError):
    """An evaluation that has no value: a missing key, an overflow, a division by zero."""

    cost = 0
    """What was spent before it failed."""


class CostExceeded(EvaluationError):
    """An evaluation that took more than it may. Never absorbed by `&&` and `||`."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


def no_such_overload() -> EvaluationError:
    """A function that does not exist for these values; types tell it early, values of type dyn only now."""
    return EvaluationError("no such overload")


def _shown(source: str, issue: Issue) -> str:
    before = source[: issue.offset]
    line = before.count("\n")
    column = issue.offset - (before.rfind("\n") + 1)
    text = source.split("\n")[line]
    return f"ERROR: <input>:{line + 1}:{column + 1}: {issue.message}\n | {text}\n | {'.' * column}^"
