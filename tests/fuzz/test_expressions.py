"""Hostile templates on hostile data: nothing but ExpressionError comes out, in time, and results are JSON."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bobrapet.expressions import Absent, Evaluator, ExpressionError, compile, references, validate
from bobrapet.expressions.functions import LIBRARY

LIMIT = 0.2
"""Seconds that an evaluation is given."""

GRACE = 0.1
"""Seconds that it may take longer, of its own thread's time."""

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(10**15, 10**400)
plain = st.none() | st.booleans() | numbers | st.text(max_size=20)
scalars = plain | st.just(Absent)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5) | st.sampled_from("abk"), inner),
    max_leaves=12,
)
contexts = st.fixed_dictionaries(
    {
        "inputs": st.fixed_dictionaries(
            {"s": st.text(max_size=40), "l": st.lists(values, max_size=6)}, optional={"v": values}
        )
        | values,
        "steps": st.dictionaries(st.sampled_from(["a", "b-c", "$bubuStorageRef"]), values) | values,
    },
    optional={"packet": values, "x": values},
)

paths = st.sampled_from(
    [
        "inputs",
        "inputs.s",
        "inputs.l",
        "inputs.v",
        "steps.a",
        'steps["b-c"].output',
        "inputs.l[0]",
        ".",
        "$",
        "$x",
        ".k",
        "packet.a.b",
    ]
)
literals = (
    st.integers(-(2**70), 2**70).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.text(max_size=12).map(lambda text: json.dumps(text, ensure_ascii=False))
    | st.sampled_from(
        ["nil", "true", "'x'", "`raw`", "1i", "0x1p-2", '"%[3]*.[2]*[1]f"', '"2006-01-02T15:04:05Z07:00"', '">=1 <2"']
    )
)
functions = st.sampled_from([*LIBRARY, "nosuch"])
operands = st.recursive(
    paths | literals,
    lambda inner: st.builds(
        lambda name, args, tail: f"({name} {' '.join(args)}){tail}",
        functions,
        st.lists(inner, max_size=4),
        st.sampled_from(["", "", ".k", "[0]", '["k"]', ".Format"]),
    ),
    max_leaves=6,
)
pipelines = st.builds(
    lambda name, args, more: f"{name} {' '.join(args)}" + "".join(f" | {word}" for word in more),
    functions,
    st.lists(operands, max_size=4),
    st.lists(functions, max_size=2),
)
statements = st.recursive(
    st.text(max_size=6)
    | pipelines.map(lambda text: f"{{{{ {text} }}}}")
    | pipelines.map(lambda text: f"{{{{ $x := {text} }}}}")
    | st.sampled_from(
        ["{{ break }}", "{{ continue }}", '{{ template "t" . }}', "{{/* c */}}", "{{", "}}", "{{- end -}}"]
    ),
    lambda inner: st.builds(
        lambda word, pipe, body, orelse: f"{{{{ {word} {pipe} }}}}{body}{{{{ else }}}}{orelse}{{{{ end }}}}",
        st.sampled_from(["if", "with", "range", "range $i, $x :=", "range $x =", 'block "t"', 'define "t"']),
        operands,
        inner,
        inner,
    ),
    max_leaves=5,
)
templates = st.lists(statements, min_size=1, max_size=4).map(lambda parts: "{{ $x := 1 }}" + "".join(parts))
fragments = st.lists(
    st.sampled_from(
        [
            "{{",
            "}}",
            "{{-",
            "-}}",
            " ",
            "\n",
            "inputs",
            ".s",
            "(",
            ")",
            "|",
            '"',
            "`",
            "'",
            "[",
            "]",
            "$x",
            ":=",
            "=",
            ",",
            "/*",
            "*/",
        ]
    )
    | st.sampled_from(
        [
            "if",
            "else",
            "end",
            "range",
            "with",
            "define",
            "1",
            "0x",
            "e9",
            "\\",
            "é",
            "\x00",
            "\ud800",
            "²",
            "steps",
            "index",
        ]
    )
    | st.characters(),
    max_size=25,
).map(lambda parts: "{{" + "".join(parts))


def survives(template: Any, context: Any, **limits: Any) -> None:
    """Evaluates; whatever comes of it must be JSON or an ExpressionError that can be shown."""
    # Other processes of the machine only ever add to what a try takes: one try in time is proof.
    assert any(_takes(template, context, limits) < LIMIT + GRACE for _ in range(5))


def _takes(template: Any, context: Any, limits: dict[str, Any]) -> float:
    started = time.thread_time()
    try:
        result = Evaluator(timeout=LIMIT, **limits).resolve(template, context)
        json.dumps(result, allow_nan=False).encode()
        if isinstance(result, str) and result is not template:
            result.encode()
    except ExpressionError as problem:
        str(problem).encode("utf-8", "surrogatepass")
    return time.thread_time() - started


@given(fragments, contexts)
def test_any_text_is_refused_politely_or_means_something(template: str, context: dict[str, Any]) -> None:
    survives(template, context)


@given(templates, contexts, st.sampled_from([None, 64, 65536]), st.booleans())
def test_any_template_on_any_data_ends_in_time(
    template: str, context: dict[str, Any], max_output_bytes: int | None, deterministic: bool
) -> None:
    survives(template, context, max_output_bytes=max_output_bytes, deterministic=deterministic)


@given(pipelines, contexts)
def test_any_call_of_any_function_ends_in_time(pipeline: str, context: dict[str, Any]) -> None:
    survives(f"{{{{ $x := inputs }}}}{{{{ {pipeline} }}}}", context)


@given(
    st.recursive(
        templates | plain,
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["a", "$bubuTemplate", "$bubuTemplateVars"]), inner)
        ),
    ),
    contexts,
)
@settings(max_examples=50)
def test_any_container_is_resolved_validated_and_searched(value: Any, context: dict[str, Any]) -> None:
    survives(value, context)
    for problem in validate(value, "realtime-runtime"):
        str(problem)
    for reference in references(value):
        assert reference.path
        assert reference.line >= 1
    with suppress(ExpressionError):
        compile(value)


@pytest.mark.soak
@given(templates, contexts)
@settings(max_examples=20_000)
def test_many_more_templates(template: str, context: dict[str, Any]) -> None:
    survives(template, context)
