"""Engram materialize: templates over data that the operator does not read."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.engrams.materialize import materialize
from bobrapet.sdk.testkit import Operator, Run

VARS = {"inputs": {"n": 2}, "steps": {"a": {"output": {"items": [1, 2, 3], "text": "{{ inputs.n }}"}}}}


def run(template: Any, mode: str = "object") -> Run:
    return Operator().run(materialize, {"template": template, "mode": mode, "vars": VARS})


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("{{ steps.a.output.items | len }}", 3),
        ({"first": "{{ steps.a.output.items[0] }}", "plain": True}, {"first": 1, "plain": True}),
        ("{{ steps.a.output.text }}", "{{ inputs.n }}"),
    ],
)
def test_a_template_gives_its_value_and_data_is_not_evaluated(template: Any, result: Any) -> None:
    assert run(template).output == {"result": result}


@pytest.mark.parametrize(
    ("template", "holds"), [("{{ gt (len steps.a.output.items) 2 }}", True), ("{{ false }}", False)]
)
def test_a_condition_is_true_or_false(template: str, holds: bool) -> None:
    assert run(template, "condition").output == {"result": holds}


@pytest.mark.parametrize(
    ("template", "mode"), [("{{ steps.a.output.nothing.at.all }}", "object"), ("maybe", "condition")]
)
def test_what_cannot_be_evaluated_is_terminal(template: str, mode: str) -> None:
    failed = run(template, mode)
    assert (failed.error["code"], failed.error["exitClass"]) == ("EXPRESSION_FAILED", "terminal")
