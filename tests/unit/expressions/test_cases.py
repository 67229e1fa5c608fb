"""The 583 cases of spec expressions 17: results of the Go operator, and where this project differs on purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bobrapet.expressions import Evaluator, ExpressionError

DATA = Path(__file__).resolve().parents[2] / "data"
CONTEXTS = json.loads((DATA / "expression-contexts.json").read_text())
CASES = [json.loads(line) for line in (DATA / "expressions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case["id"], marks=pytest.mark.spec(f"expressions-{case['id']}")) for case in CASES],
)
def test_a_template_means_what_it_means_in_go(case: dict[str, Any]) -> None:
    context = CONTEXTS[case["c"]] if isinstance(case["c"], str) else case["c"]
    evaluator = Evaluator(
        deterministic=case.get("deterministic", False),
        max_output_bytes=case.get("maxOutputBytes"),
        timeout=case["timeoutMs"] / 1000 if "timeoutMs" in case else None,
    )
    evaluate = evaluator.condition if case["id"].startswith("X") else evaluator.resolve
    if "err" in case:
        with pytest.raises(ExpressionError) as caught:
            evaluate(case["t"], context)
        assert caught.value.kind == case["err"]
    else:
        result = evaluate(case["t"], context)
        assert result == case["out"]
        assert isinstance(result, bool) == isinstance(case["out"], bool)
