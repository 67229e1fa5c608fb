"""Errors read like a good compiler's: kind, position, excerpt with caret, and the nearest known name."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from bobrapet.expressions import Evaluator, ExpressionError

CONTEXT: dict[str, Any] = {
    "inputs": {"name": "Ada", "n": 3, "list": [1, 2]},
    "steps": {"fetch": {"output": {"body": "hi", "items": []}}},
}


def error_of(template: Any) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        Evaluator().resolve(template, CONTEXT)
    return caught.value


@pytest.mark.parametrize(
    ("template", "kind", "suggestion", "under_caret"),
    [
        ("{{ steps.fetc.output.body }}", "blocked", "fetch", "fetc"),
        ("{{ steps['fetc'].output.body }}", "blocked", "fetch", "fetc"),
        ("{{ steps.fetch.output.bdoy }}", "blocked", "body", "bdoy"),
        ("x={{ steps.fetc.output.body }}", "exec", "fetch", "fetc"),
        ("{{ inputs.nmae }}", "missingKey", "name", "nmae"),
        ("{{ inputs.name | uper }}", "parse", "upper", "uper"),
        ("{{ input.name }}", "parse", "inputs", "input"),
        ("{{ $item := 1 }}{{ $itme }}", "parse", "$item", "$itme"),
        ("{{ (now).Yeer }}", "exec", "Year", "Yeer"),
        ('{{ define "row" }}{{ end }}{{ template "rwo" }}', "exec", "row", '"rwo"'),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_known_one(
    template: str, kind: str, suggestion: str, under_caret: str
) -> None:
    error = error_of(template)
    assert error.kind == kind
    assert f"did you mean “{suggestion}”?" in error.message
    assert error.position is not None
    assert template[error.position :].startswith(under_caret)


@pytest.mark.parametrize(
    ("template", "under_caret"),
    [
        ("{{ upper inputs.n }}", "inputs.n"),
        ("{{ inputs.nothing | upper }}", "inputs.nothing"),
        ("{{ if inputs.name }}x", "if"),
        ("{{ inputs.a-b }}", "-b"),
        ("{{ inputs.list[7] }}", "7"),
        ("{{ inputs.name.first }}", "first"),
        ("{{ 'ab' }}", "'ab'"),
        ("{{ add 1", "{{ add 1"),
        ('{{ "abc }}', '"abc'),
        ("{{ range inputs.n }}{{ end }}", "inputs.n"),
        ("{{ add 1 (div 1 0) }}", "div"),
    ],
)
def test_the_caret_is_below_what_is_wrong(template: str, under_caret: str) -> None:
    error = error_of(template)
    assert error.position is not None
    assert template[error.position :].startswith(under_caret)


def test_line_column_and_excerpt_tell_the_place_in_a_text_of_several_lines() -> None:
    error = error_of("first\nsecond {{ inputs.name | uper }} end\nthird")
    assert (error.line, error.column) == (2, 25)
    assert error.excerpt == "second {{ inputs.name | uper }} end\n" + " " * 24 + "^"
    assert str(error).endswith(error.excerpt)


def test_a_long_line_is_cut_around_the_place() -> None:
    error = error_of("x" * 500 + "{{ uper 1 }}" + "y" * 500)
    line, caret = error.excerpt.split("\n")
    assert len(line) <= 82
    assert line[caret.index("^") :].startswith("uper")


def test_an_error_in_a_container_names_the_element() -> None:
    error = error_of({"urls": ["a", {"to": "{{ inputs.nmae }}"}]})
    assert error.where == "urls[1].to"
    assert str(error).startswith("urls[1].to: missing key at inputs.nmae")


def test_an_error_without_a_text_has_no_place() -> None:
    error = error_of({"$bubuTemplate": 5})
    assert (error.kind, error.line, error.column, error.excerpt) == ("wrapper", 0, 0, "")


def test_a_function_that_wants_another_type_tells_how_to_convert() -> None:
    assert "convert it with int" in error_of('{{ trunc inputs.n "abc" }}').message
    assert "convert it with toString" in error_of("{{ upper inputs.n }}").message
    assert "write 3.0, or convert with int" in error_of("{{ eq inputs.n 3 }}").message
    assert "default" in error_of("{{ inputs.nothing | upper }}").message


def test_a_root_inside_a_loop_is_pointed_to_the_context() -> None:
    assert "write $.inputs" in error_of("{{ range inputs.list }}{{ inputs.name }}{{ end }}").message


def test_an_error_survives_a_process_boundary() -> None:
    error = error_of("{{ inputs.nmae }}")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.kind, str(copy)) == (error.kind, str(error))
