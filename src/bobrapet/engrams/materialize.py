"""Engram `materialize`: evaluates a template over data that lies in storage, for the operator.

The operator starts it by itself when a template applies functions to offloaded data (templating.offloaded-data-policy).
References in `vars` are resolved before this code runs, and a large result is offloaded after it, so the data passes
through this process and never through the operator.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bobrapet.expressions import Evaluator, ExpressionError
from bobrapet.sdk import TerminalError, engram


class Question(msgspec.Struct, kw_only=True):
    template: Any
    """Any JSON value; the templates in its texts are evaluated."""

    mode: Literal["condition", "object"] = "object"
    """condition: the template must give true or false."""

    vars: dict[str, Any] = {}
    """The roots that the template reads: `inputs` and `steps`."""


class Answer(msgspec.Struct):
    result: Any
    """What the template gives."""


@engram(version="1.0.0", image="ghcr.io/bubustack/materialize-engram:1.0.0")
def materialize(input: Question) -> Answer:
    """Evaluates a template over data that lies in storage, for the operator."""
    evaluator = Evaluator()
    try:
        if input.mode == "condition":
            return Answer(evaluator.condition(input.template, input.vars))
        return Answer(evaluator.resolve(input.template, input.vars))
    except ExpressionError as error:
        raise TerminalError(str(error), code="EXPRESSION_FAILED", details={"kind": error.kind}) from error


if __name__ == "__main__":
    materialize.main()
