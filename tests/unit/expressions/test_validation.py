"""What admission refuses about expressions (spec expressions 12)."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.expressions import Scope, validate


def messages(value: Any, scope: Any = "batch-runtime") -> list[str]:
    return [str(problem) for problem in validate(value, scope)]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain {text}",
        "{{ inputs.a }}{{ steps.b.output }}",
        "{{ range $x := inputs.l }}{{ $x.id }}{{ $.anything }}{{ end }}",
        "{{ inputs.env }}",
        '{{ print "expandenv" }}',
        {"a": [1, None, "{{ inputs.x | default now }}"]},
        {"$bubuTemplate": "{{ .threshold }}", "$bubuTemplateVars": {"threshold": "{{ inputs.t }}"}},
        '{{ define "t" }}{{ inputs.a }}{{ end }}',
    ],
)
def test_good_values_have_no_problems(value: Any) -> None:
    assert messages(value) == []


@pytest.mark.parametrize(
    ("text", "scope", "message"),
    [
        ("{{ packet.x }}", "batch-runtime", "context 'packet' is not allowed for batch-runtime templates"),
        ("{{ steps.a.x }}", "realtime-static", "context 'steps' is not allowed for realtime-static templates"),
        ("{{ .foo.x }}", "story-output", "unknown context 'foo' is not allowed for story-output templates"),
        (
            "{{ .input.x }}",
            "story-output",
            "unknown context 'input' is not allowed for story-output templates; did you mean “inputs”?",
        ),
        ('{{ index . "foo" }}', "batch-runtime", "unknown context 'foo' is not allowed for batch-runtime templates"),
        ('{{ get . "packet" }}', "batch-runtime", "context 'packet' is not allowed for batch-runtime templates"),
        (
            '{{ dig "foo" "x" 1 . }}',
            "batch-runtime",
            "unknown context 'foo' is not allowed for batch-runtime templates",
        ),
        (
            "{{ range inputs.l }}{{ .id }}{{ end }}",
            "batch-runtime",
            "unknown context 'id' is not allowed for batch-runtime templates",
        ),
        ('{{ template "t" . }}', "batch-runtime", "template inclusion is not supported (t)"),
        ('{{ block "t" . }}{{ end }}', "batch-runtime", "template inclusion is not supported (t)"),
        (
            "{{ now }}",
            "realtime-static",
            "function “now” is not allowed for realtime-static templates: its result is not foreseeable",
        ),
        ('{{ env "HOME" }}', "batch-runtime", "function “env” is not defined"),
        ("{{ inputs.a", "batch-runtime", "unclosed action: no }} after {{"),
    ],
)
def test_what_a_scope_refuses(text: str, scope: str, message: str) -> None:
    assert messages(text, scope) == [message]


def test_all_problems_are_told_with_their_places() -> None:
    value = {"a": {"b": ["ok", "{{ packet.x }} {{ .foo }}"]}, "$bubuTemplate": 5}
    problems = validate(value, "batch-runtime")
    assert [str(problem) for problem in problems] == [
        "$.a.b[1]: context 'packet' is not allowed for batch-runtime templates",
        "$.a.b[1]: unknown context 'foo' is not allowed for batch-runtime templates",
        "$.$bubuTemplate must be a string",
    ]
    assert (problems[1].line, problems[1].column) == (1, 19)
    assert problems[1].excerpt.endswith("^")


def test_a_scope_of_ones_own_may_forbid_loops() -> None:
    scope = Scope("cache-key", frozenset({"inputs", "step"}), allows_random=False, allows_range=False)
    assert messages("{{ .step.id }}", scope) == []
    assert messages("{{ range $x := inputs.l }}{{ end }}", scope) == ["range is not allowed for cache-key templates"]


def test_large_and_deep_values_are_refused_unread() -> None:
    assert "at most 1048576" in messages(["x" * 1_048_577])[0]
    value: Any = "{{"
    for _ in range(200):
        value = [value]
    assert messages(value)[0].endswith("nested deeper than 128 levels")


def test_an_unknown_scope_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="did you mean “batch-runtime”"):
        validate("", "batch-runtim")  # type: ignore[arg-type]
