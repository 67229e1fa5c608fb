"""Go templates and Sprig in Python: what glues the steps of a Story together.

    Evaluator().resolve("{{ steps.fetch.output.body | upper }}", {"steps": {"fetch": {"output": {"body": "hi"}}}})

The language is Go's text/template with the functions of docs/expressions.md. This package knows nothing else of
bobrapet, reads no file, no environment and no network, and raises ExpressionError only.
"""

from __future__ import annotations

from bobrapet.expressions.errors import ExpressionError
from bobrapet.expressions.evaluator import Evaluator, cache_hits
from bobrapet.expressions.expression import Expression, compile
from bobrapet.expressions.references import Reference, references
from bobrapet.expressions.validation import SCOPES, Problem, Scope, look, validate
from bobrapet.expressions.values import Absent

__all__ = [
    "SCOPES",
    "Absent",
    "Evaluator",
    "Expression",
    "ExpressionError",
    "Problem",
    "Reference",
    "Scope",
    "cache_hits",
    "compile",
    "look",
    "references",
    "validate",
]
