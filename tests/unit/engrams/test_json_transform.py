"""Engram json-transform: one jq program, one value."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.engrams.json_transform import Config, Document, json_transform
from bobrapet.sdk import Context, TerminalError


def transform(payload: Any, program: str = ".", **variables: Any) -> Any:
    return json_transform(Document(payload=payload), Context(config=Config(program=program, vars=variables))).result


def failure(payload: Any, program: str) -> TerminalError:
    with pytest.raises(TerminalError) as caught:
        transform(payload, program)
    return caught.value


@pytest.mark.parametrize("payload", [{"a": [1, 2]}, '{"a": [1, 2]}'])
def test_a_value_and_its_text_are_the_same(payload: Any) -> None:
    assert transform(payload, ".a | add") == 3


def test_values_pass_through_unchanged() -> None:
    value = {"s": "line\nbreak \u2028 ", "n": None, "b": False, "f": 1.5, "i": 2**53}
    assert transform(value) == value


def test_variables_are_seen_by_the_program() -> None:
    assert transform([1, 5, 9], "map(select(. > $limit))", limit=4) == [5, 9]


@pytest.mark.parametrize("program", [".[]", "empty", "repeat(.)"])
def test_a_program_gives_exactly_one_value(program: str) -> None:
    assert failure([1, 2], program).code == "JQ_NOT_ONE_RESULT"


def test_a_payload_that_is_no_json_shows_how_it_begins() -> None:
    error = failure("<html>not found</html>", ".")
    assert error.code == "PAYLOAD_NOT_JSON"
    assert "<html>not found" in str(error)


@pytest.mark.parametrize("payload", ["", "1 2", '{"a":'])
def test_no_half_and_no_second_document_is_accepted(payload: str) -> None:
    assert failure(payload, ".").code == "PAYLOAD_NOT_JSON"


def test_a_syntax_error_and_a_failing_program_are_told_apart() -> None:
    assert failure({}, "{").code == "JQ_SYNTAX"
    error = failure({"a": 1}, ".a.b")
    assert error.code == "JQ_FAILED"
    assert "Cannot index number" in str(error)
