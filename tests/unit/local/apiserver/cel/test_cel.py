"""Expressions: what they mean, what is refused, and what they may cost."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.local.apiserver.cel.declarations import declare, value_of
from bobrapet.local.apiserver.cel.errors import CompileError, CostExceeded, EvaluationError
from bobrapet.local.apiserver.cel.program import Program
from bobrapet.local.apiserver.cel.types import BOOL, DYN, INT, Type, list_of
from bobrapet.local.apiserver.schema import structural
from tests.unit.local.apiserver.cel.corpus import FAILING, FALSE, REFUSED, SAMPLE, SCHEMA, TRUE

_SCHEMA = structural(SCHEMA)
_DECLARED = declare(_SCHEMA)
assert _DECLARED is not None
_VARIABLES: dict[str, Type] = {"self": _DECLARED.type}
_SELF = {"self": value_of(_SCHEMA, SAMPLE)}


def outcome(expression: str) -> Any:
    try:
        return Program(expression, _VARIABLES).evaluate(_SELF)[0]
    except EvaluationError as error:
        return str(error)


def is_condition(expression: str) -> bool:
    try:
        program = Program(expression, _VARIABLES)
    except CompileError:
        return False
    return program.type == BOOL and not program.constant_failure()


@pytest.mark.parametrize("expression", TRUE)
def test_what_holds(expression: str) -> None:
    assert outcome(expression) is True


@pytest.mark.parametrize("expression", FALSE)
def test_what_does_not_hold(expression: str) -> None:
    assert outcome(expression) is False


@pytest.mark.parametrize(("expression", "why"), FAILING.items())
def test_what_fails_says_why(expression: str, why: str) -> None:
    assert outcome(expression) == why


@pytest.mark.parametrize("expression", REFUSED)
def test_what_is_no_condition_on_this_object_is_refused_before_it_is_asked(expression: str) -> None:
    assert not is_condition(expression)


def test_a_refusal_shows_every_fault_with_its_place() -> None:
    with pytest.raises(CompileError) as caught:
        Program("self.zz > 1 &&\n  self.i == 'a'", _VARIABLES)
    assert str(caught.value).splitlines() == [
        "ERROR: <input>:1:5: undefined field 'zz'",
        " | self.zz > 1 &&",
        " | ....^",
        "ERROR: <input>:2:10: found no matching overload for '_==_' applied to '(int, string)'",
        " |   self.i == 'a'",
        " | .........^",
    ]


def test_an_evaluation_is_stopped_when_it_costs_too_much() -> None:
    program = Program("l.all(a, l.all(b, a + b > 0))", {"l": list_of(INT)})
    with pytest.raises(CostExceeded):
        program.evaluate({"l": [1] * 1000})


def test_a_cost_that_is_exceeded_is_no_failure_that_or_absorbs() -> None:
    program = Program("l.all(a, l.all(b, a + b > 0)) || true", {"l": list_of(INT)})
    with pytest.raises(CostExceeded):
        program.evaluate({"l": [1] * 1000})


@pytest.mark.parametrize("text", ["(" * 140 + "1" + ")" * 140, "+".join(["1"] * 150), " && ".join(["true"] * 5000)])
def test_long_and_deep_expressions_work(text: str) -> None:
    Program(text, {}).evaluate({})


@pytest.mark.parametrize("text", ["(" * 5000 + "1" + ")" * 5000, "-" * 5000 + "x", "[" * 5000, "+".join(["1"] * 20000)])
def test_what_is_too_deep_is_refused_and_does_not_break_the_server(text: str) -> None:
    with pytest.raises(CompileError):
        Program(text, {})


def test_a_variable_of_a_macro_hides_one_outside_and_gives_it_back() -> None:
    program = Program("[1, 2].map(x, [x].map(x, x + 10)[0]) == [11, 12] && x == 5", {"x": INT})
    assert program.evaluate({"x": 5})[0] is True


def test_an_evaluation_leaves_no_trace_in_the_next() -> None:
    program = Program("[1].all(x, x == 1) && y", {"y": DYN})
    assert program.evaluate({"y": True})[0] is True
    assert program.evaluate({"y": False})[0] is False
