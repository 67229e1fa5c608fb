"""Which steps, inputs and packet paths a value reads (spec expressions 13)."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.expressions import references


def steps(value: Any) -> list[str]:
    return sorted({reference.step for reference in references(value) if reference.step})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{{ (index .steps "fetch-feed").output.body }}', ["fetch-feed"]),
        ("{{ .steps.myStep.output.result }}", ["myStep"]),
        ('{{ (index .steps "a").output.x }} and {{ (index .steps "b").output.y }}', ["a", "b"]),
        ('{{ (index .steps "x").output.body | toJson }}', ["x"]),
        ("{{ if .steps.x.output.ok }}{{ .steps.y.output.z }}{{ end }}", ["x", "y"]),
        ("{{ range .steps.l.output.items }}{{ .steps.q.output }}{{ end }}", ["l", "q"]),
        ("{{ .inputs.foo }}", []),
        ("plain", []),
        ("{{", []),
        ("{{ steps.a.output }}", ["a"]),
        ("{{ steps['a-b'].output }}", ["a-b"]),
        ('{{ get .steps "a" }}', ["a"]),
        ('{{ dig "a" "output" "none" .steps }}', ["a"]),
        ("{{ $.steps.a.output }}", ["a"]),
        ("{{ with steps.a }}{{ else }}{{ steps.b.x }}{{ end }}", ["a", "b"]),
        ("{{ $x := steps.a }}{{ print $x.output }}", ["a"]),
        ('{{ define "t" }}{{ steps.a.x }}{{ end }}', ["a"]),
        ("{{ print `{{ steps.a.x }}` }}", []),
        ("{{/* steps.a.x */}}", []),
    ],
)
def test_the_steps_of_a_text(text: str, names: list[str]) -> None:
    assert steps(text) == names


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('{{ steps["a"].output.items[0].name }}', [("steps", "a", "output", "items", 0, "name")]),
        ('{{ index .inputs "a" 1 "b" }}', [("inputs", "a", 1, "b")]),
        ("{{ index inputs.list (int inputs.n) }}", [("inputs", "list"), ("inputs", "n")]),
        ("{{ packet.seq }}{{ inputs.x }}", [("packet", "seq"), ("inputs", "x")]),
        ("{{ toJson steps }}", [("steps",)]),
        ('{{ (dig "a" "b" 0 .inputs) }}', [("inputs", "a", "b")]),
        ("{{ .other.x }}", []),
    ],
)
def test_the_whole_path_is_told(text: str, paths: list[tuple[Any, ...]]) -> None:
    assert [reference.path for reference in references(text)] == paths


def test_a_reference_knows_its_place() -> None:
    (reference,) = references({"body": ["x", "line\n  {{ upper steps.fetch.output.name }}"]})
    assert (reference.where, reference.line, reference.column) == ("$.body[1]", 2, 12)
    assert str(reference) == "steps.fetch.output.name"
    assert (reference.root, reference.step) == ("steps", "fetch")


def test_references_are_equal_when_their_paths_are() -> None:
    assert len({*references("{{ inputs.a }}{{ inputs.a }}")}) == 1
