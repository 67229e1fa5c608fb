"""Templates in Stories are checked when they are written (spec admission A10, 37 to 50)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet import expressions
from bobrapet.validation import Findings
from bobrapet.validation.templates import Scope, Templates, read_template
from tests.unit.validation.builders import engram, faults, one_fault, scene, story, template, warnings

COMPONENTS = scene(engram(), template())
FETCH = "name: fetch"


@pytest.mark.spec("admission-37")
def test_a_condition_may_read_what_it_needs() -> None:
    written = story(FETCH, 'name: b, needs: [fetch], if: "{{ eq .steps.fetch.output.ok true }}"')
    assert warnings(written) == []


@pytest.mark.spec("admission-38")
def test_an_unknown_step_in_a_template_warns_with_its_place() -> None:
    assert warnings(story(FETCH, 'name: b, if: "{{ eq .steps.fetc.output.ok true }}"')) == [
        "spec.steps[1].if: step 'b' references unknown step 'fetc' in template expression; did you mean \"fetch\"?"
    ]


@pytest.mark.spec("admission-39")
def test_a_step_that_is_not_upstream_warns() -> None:
    written = story(FETCH, 'name: b, ref: {name: e}, with: {a: [x, "{{ steps.fetch.outputs.id }}"]}')
    assert warnings(written, COMPONENTS) == [
        "spec.steps[1].with.a[1]: step 'b' references step 'fetch' which is not in its upstream dependency chain; "
        "add it to needs"
    ]


def test_an_alias_and_a_branch_are_known_names() -> None:
    fan = "name: fan-out, type: parallel, with: {steps: [{name: mail, ref: {name: e}}]}"
    reader = 'name: b, needs: [fan-out], if: "{{ and steps.fan_out.output steps.mail.output }}"'
    assert warnings(story(fan, reader), COMPONENTS) == []


def test_a_cycle_through_a_template_is_refused() -> None:
    written = story('name: a, if: "{{ steps.b.output.ok }}"', "name: b, needs: [a]")
    assert "a needs b needs a (templates that read a step count)" in one_fault(written)
    own = story('name: a, if: "{{ steps.a.output.ok }}"')
    assert "a needs a" in one_fault(own)


@pytest.mark.spec("admission-40", "admission-41", "admission-42", "admission-43")
@pytest.mark.parametrize(
    ("pattern", "field", "words"),
    [
        ("batch", 'with: {a: "{{ packet.x }}"}', "context 'packet' is not allowed"),
        ("streaming", 'with: {a: "{{ steps.fetch.output }}"}', "context 'steps' is not allowed"),
        ("streaming", 'with: {a: "{{ now }}"}', "“now” is not"),
        ("streaming", 'runtime: {a: "{{ packet.x }}"}', None),
        ("batch", 'with: {a: "{{ now }}"}', None),
        ("batch", 'with: {a: "{{ nope.x }}"}', "nope"),
    ],
)
def test_a_place_decides_what_may_be_read(pattern: str, field: str, words: str | None) -> None:
    found = faults(story(FETCH, f"name: b, ref: {{name: e}}, {field}", pattern=pattern), COMPONENTS)
    if words is None:
        assert found == []
    else:
        (fault,) = found
        assert words in fault
        assert fault.startswith("spec.steps[1].with.a: ")


@pytest.mark.spec("admission-48")
def test_a_denied_function_is_named() -> None:
    fault = one_fault(story("name: a, if: '{{ env \"HOME\" }}'"))
    assert fault.startswith("spec.steps[0].if: template expression uses disallowed function 'env' (column ")


@pytest.mark.spec("admission-49")
def test_a_template_that_does_not_parse_is_refused_with_its_column() -> None:
    fault = one_fault(story('name: a, idempotencyKeyTemplate: "{{ inputs.id"'))
    assert fault.startswith("spec.steps[0].idempotencyKeyTemplate: ")
    assert "column" in fault


@pytest.mark.spec("admission-50")
def test_policy_inputs_are_checked() -> None:
    fault = one_fault(story("name: a", policy={"with": {"a": {"b": '{{ expandenv "x" }}'}}}))
    assert fault.startswith("spec.policy.with.a.b: template expression uses disallowed function 'expandenv'")


def test_output_and_post_execution_are_checked() -> None:
    written = story(
        "name: a, ref: {name: e}, postExecution: {condition: '{{ steps.a.output.ok'}", output={"x": "{{ packet.y }}"}
    )
    assert [fault.split(":")[0] for fault in faults(written, COMPONENTS)] == [
        "spec.output.x",
        "spec.steps[0].postExecution.condition",
    ]


_pieces = st.sampled_from(
    [
        *("{{ inputs.a }}", "{{.steps.a.output.b}}", "{{ steps.a }}", "{{ steps.if.output }}", "{{ packet.x }}"),
        *("{{inputs}}", "{{ foo.a }}", "{{ .inputs.a.end }}", "{{- inputs.a }}", "{{ inputs.1 }}", "{{ now }}"),
        *("{{ steps.a-b.output }}", "{{ inputs.é }}", "{{ inputs.nil.true }}", "{{ . }}", "{{ inputs. a }}"),
        *("text }} ", "{ ", "{{", "{{\n.inputs.x }}"),
    ]
)


@given(st.lists(_pieces, max_size=3).map("".join), st.sampled_from(list(Scope)))
def test_a_quick_look_at_paths_finds_what_parsing_finds(text: str, scope: Scope) -> None:
    found, steps = Findings(), dict[str, str]()
    read_template(found, "at", text, scope, steps)
    parsed = expressions.validate(text, expressions.SCOPES[scope])
    assert [fault.value for fault in found.faults] == [problem.template for problem in parsed]
    assert list(steps) == list(dict.fromkeys(r.step for r in expressions.references(text) if r.step))


def test_templates_are_found_in_any_depth_and_beside_variables() -> None:
    deep: dict[str, Any] = {"x": "{{ steps.deep.output }} {{ .foo }}"}
    for _ in range(40):
        deep = {"a": [deep]}
    wrapped = {"$bubuTemplate": "{{ .mine.a }} {{ steps.w.output }}", "$bubuTemplateVars": {"mine": {"a": 1}}}
    found, steps = Findings(), dict[str, str]()
    Templates("at", {"deep": deep, "wrapped": wrapped}).read(found, Scope.BATCH_RUNTIME, steps)
    assert set(steps) == {"deep", "w"}
    assert ["foo" in fault.message for fault in found.faults] == [True]
