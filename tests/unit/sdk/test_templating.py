"""Templates that the Go operator leaves to the component are evaluated, and nothing that a stranger wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bobrapet.sdk import Context, engram
from bobrapet.sdk.testkit import Operator, Run

BODY = {"$bubuStorageRef": "outputs/team-a/run1-fetch/body.json"}
CONTEXT = {
    "inputs": {"who": "{{ steps.fetch.output.body.secret }}"},
    "steps": {
        "fetch": {"output": {"status": 200, "body": BODY, "text": "{{ steps.fetch.output.body }}"}},
        "large": {"output": {"$bubuOmitted": True, "reason": "template_context_size_limit", "hasStorageRef": True}},
    },
}


@engram
def show(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
    return {"input": input, "config": ctx.config}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / BODY["$bubuStorageRef"]
    path.parent.mkdir(parents=True)
    data = {"items": [{"n": 1}, {"n": 2}], "secret": "hush", "text": "{{ inputs.who }}"}
    path.write_text(json.dumps({"contentType": "json", "data": data}))
    return tmp_path


def run(store: Path, input: dict[str, Any], config: dict[str, Any] | None = None, **environ: str) -> Run:
    environ = {
        "BUBU_SKIP_INPUT_TEMPLATING": "",
        "BUBU_TEMPLATE_CONTEXT": json.dumps(CONTEXT),
        "BUBU_STORAGE_PROVIDER": "file",
        "BUBU_STORAGE_PATH": str(store),
        "BUBU_MAX_INLINE_SIZE": "4096",
        **environ,
    }
    return Operator().run(show, input, config=config or {}, environ=environ)


def evaluated(store: Path, template: Any, **environ: str) -> Any:
    done = run(store, {"v": template}, {"v": template}, **environ)
    assert done.phase == "Succeeded", done.error
    assert done.output["input"] == done.output["config"]
    return done.output["input"]["v"]


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ steps.fetch.output.body.items }}", [{"n": 1}, {"n": 2}]),
        ("{{ .steps.fetch.output.body.items[1].n }}", 2),
        ("n is {{ steps.fetch.output.body.items[0].n }}", "n is 1"),
        ("{{ len steps.fetch.output.body.items }} items", "2 items"),
        ({"deep": ["{{ steps.fetch.output.body.secret }}"]}, {"deep": ["hush"]}),
    ],
)
def test_a_template_over_stored_data_is_evaluated_in_inputs_and_configuration(
    store: Path, template: Any, value: Any
) -> None:
    assert evaluated(store, template) == value


@pytest.mark.parametrize(
    "text",
    [
        "{{ inputs.who }}",
        "{{ steps.fetch.output.status }}",
        "{{ steps.fetch.output.text }}",
        "{{ now }}",
        "{{ not a template",
        "{{ steps.unknown.output.x }}",
    ],
)
def test_a_text_that_reads_no_stored_data_was_not_left_over_and_stays_as_it_is(store: Path, text: str) -> None:
    """It came out of an evaluation, and may be somebody's attempt to have it evaluated again."""
    assert evaluated(store, text) == text


def test_what_comes_out_of_storage_is_not_evaluated(store: Path) -> None:
    assert evaluated(store, "{{ steps.fetch.output.body.text }}") == "{{ inputs.who }}"
    assert evaluated(store, BODY)["text"] == "{{ inputs.who }}"


@pytest.mark.spec("workloads-21")
def test_fully_resolved_inputs_are_never_evaluated(store: Path) -> None:
    text = "{{ steps.fetch.output.body.secret }}"
    assert evaluated(store, text, BUBU_SKIP_INPUT_TEMPLATING="true") == text
    plain = json.dumps({"inputs": {}, "steps": {"fetch": {"output": {"body": {"secret": "hush"}}}}})
    assert evaluated(store, text, BUBU_TEMPLATE_CONTEXT=plain) == text


def test_a_template_that_cannot_be_evaluated_names_itself(store: Path) -> None:
    failed = run(store, {"v": "{{ steps.fetch.output.body.nothing.at.all }}"})
    assert (failed.phase, failed.error["type"]) == ("Failed", "validation_error")
    assert "input: a template over stored data cannot be evaluated" in failed.error["message"]
    failed = run(store, {}, {"v": "{{ steps.large.output.items }}"})
    assert failed.error["type"] == "initialization_error"


def test_a_malformed_context_is_named(store: Path) -> None:
    failed = run(store, {"v": "{{ x }}"}, BUBU_TEMPLATE_CONTEXT="{")
    assert "BUBU_TEMPLATE_CONTEXT is no JSON" in failed.error["message"]


def test_limits_of_templates_are_honoured(store: Path) -> None:
    failed = run(store, {"v": "{{ steps.fetch.output.body.secret }}!"}, BUBU_TEMPLATE_MAX_OUTPUT_BYTES="2")
    assert failed.phase == "Failed"
    failed = run(store, {"v": "{{ steps.fetch.output.body }}"}, BUBU_TEMPLATE_EVALUATION_TIMEOUT="soon")
    assert "limits of templates" in failed.error["message"]
