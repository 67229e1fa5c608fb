"""Templates and what Go 1.26's text/template with Sprig 3.3 made of them (recorded; hostile and random by design).

`go_results.jsonl` was written by a program around text/template: the functions of spec expressions 6, missing-key
option "zero", local zone UTC. Each line holds a template and the text, or the kind of error, that came out.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bobrapet.expressions import Evaluator, ExpressionError

HERE = Path(__file__).parent
CONTEXT = json.loads((HERE / "go_context.json").read_text())
RESULTS = [json.loads(line) for line in (HERE / "go_results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("portion", range(20))
def test_the_text_is_that_of_go(portion: int) -> None:
    evaluator = Evaluator(timeout=240)  # of a clock that goes on while the process waits for its turn
    wrong = []
    for case in RESULTS[portion::20]:
        # The leading mark makes the result text, whatever type it would have.
        try:
            result = {"out": evaluator.resolve("~" + case["t"], CONTEXT)[1:]}
        except ExpressionError as problem:
            result = {"err": problem.kind}
        expected = {key: case[key] for key in ("out", "err") if key in case}
        if result != expected:
            wrong.append((case["t"], expected, result))
    assert not wrong
