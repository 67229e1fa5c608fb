"""Plain paths give the stored value; storage references, absent steps (spec expressions 4, 9; decisions 3, 8)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bobrapet.expressions import Absent, Evaluator, ExpressionError

REF = {"$bubuStorageRef": "outputs/big.json"}
CONTEXT: dict[str, Any] = {
    "inputs": {"obj": {"k": [1, {"x": 2}]}, "digits": 9007199254740993, "blob": {**REF, "$bubuStoragePath": "p[0]"}},
    "steps": {
        "big": {"output": {**REF, "contentType": "application/json", "$bubuStoragePath": "old"}},
        "part": {"output": {"small": "ok", "large": {**REF, "$bubuStoragePath": "a.b"}}},
        "skipped": Absent,
        "half": {"output": Absent},
        "done": {"output": {"body": "hi"}},
    },
}


def resolve(template: Any) -> Any:
    return Evaluator().resolve(template, CONTEXT)


def test_the_value_itself_is_given_not_a_copy() -> None:
    assert resolve("{{ inputs.obj }}") is CONTEXT["inputs"]["obj"]
    assert resolve(' {{ inputs["obj"].k[1] }}\n') is CONTEXT["inputs"]["obj"]["k"][1]


def test_integers_keep_all_digits() -> None:
    assert resolve("{{ inputs.digits }}") == 9007199254740993
    assert resolve("{{ 9007199254740993 }}") == 9007199254740993
    assert resolve("n={{ inputs.digits }}") == "n=9.007199254740992e+15"


def test_a_path_below_an_offloaded_output_is_a_new_reference() -> None:
    assert resolve("{{ steps.big.output.items[0].name }}") == {**REF, "$bubuStoragePath": "items[0].name"}
    assert resolve('{{ (index .steps "big").output["a b"] }}') == {**REF, "$bubuStoragePath": "a b"}


def test_a_path_below_a_reference_inside_continues_its_path() -> None:
    assert resolve("{{ steps.part.output.large.c[2] }}") == {**REF, "$bubuStoragePath": "a.b.c[2]"}
    assert resolve("{{ inputs.blob.q }}") == {**REF, "$bubuStoragePath": "p[0].q"}
    assert resolve("{{ steps.part.output.small }}") == "ok"


@pytest.mark.parametrize("template", ["x{{ steps.big.output.a }}", "{{ steps.part.output.small | upper }}"])
def test_a_template_over_a_step_with_offloaded_data_is_offloaded(template: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        resolve(template)
    assert caught.value.kind == "offloaded"


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("{{ steps.skipped }}", None),
        ("{{ steps.skipped.output.a.b }}", None),
        ('{{ steps["skipped"].output[0].b }}', None),
        ("{{ steps.half.output }}", None),
        ("{{ steps.half }}", {"output": None}),
        ("{{ steps.half.output.a[3] }}", None),
        ("x={{ steps.skipped.output.a.b }}", "x=<no value>"),
        ('x={{ (index .steps "skipped").output.a }}', "x=<no value>"),
        ("{{ steps.skipped.output.a | default 5 }}", "5"),
        ("{{ if steps.skipped }}y{{ else }}n{{ end }}", "n"),
        ("{{ exists steps.skipped.output }}", "false"),
        ("{{ toJson steps.half }}", '{"output":null}'),
        ("{{ eq steps.skipped nil }}", True),
        ("{{ type_of steps.skipped }}", "null"),
        ('{{ dig "skipped" "output" "a" "d" .steps }}', "d"),
        (
            "{{ range $name, $step := pick .steps `skipped` }}{{ $name }}={{ $step.output.x }}{{ end }}",
            "skipped=<no value>",
        ),
    ],
)
def test_an_absent_step_reads_as_null_at_any_depth(template: str, result: Any) -> None:
    assert resolve(template) == result


def test_absent_never_leaves() -> None:
    steps = resolve("{{ steps }}")
    assert steps["skipped"] is None
    assert steps["half"] == {"output": None}
    assert CONTEXT["steps"]["skipped"] is Absent


def test_absent_stays_itself_when_contexts_are_copied() -> None:
    assert copy.deepcopy(CONTEXT)["steps"]["skipped"] is Absent


def test_the_missing_key_error_names_the_keys_that_exist() -> None:
    with pytest.raises(ExpressionError, match="known: body") as caught:
        resolve("{{ steps.done.output.status }}")
    assert caught.value.kind == "blocked"


def test_the_context_is_only_read() -> None:
    before = copy.deepcopy(CONTEXT)
    resolve(
        {
            "$bubuTemplate": "{{ .x }}{{ append inputs.obj.k 1 }}",
            "$bubuTemplateVars": {"x": 1, "inputs": CONTEXT["inputs"]},
        }
    )
    assert before == CONTEXT


def test_compiled_values_give_what_the_evaluator_gives() -> None:
    from bobrapet.expressions import compile

    value = {"a": ["{{ inputs.obj.k }}", "{{ steps.done.output.body | upper }}"], "b": 1}
    compiled = compile(value)
    assert compiled.resolve(CONTEXT) == resolve(value)
    assert not compiled.is_constant
    assert compile({"a": 1}).is_constant
    assert [str(reference) for reference in compiled.references()] == ["inputs.obj.k", "steps.done.output.body"]
    with pytest.raises(ExpressionError):
        compile(["{{ nosuch }}"])
