"""A manifest against its CRD: exact paths, all faults, the nearest known name."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.api import crd_manifests
from bobrapet.validation import check_manifest, check_structure, with_schema_defaults
from bobrapet.validation.structure import _RULES
from tests.unit.validation.builders import manifest, scene, story


def said(given: dict[str, Any], **options: bool) -> list[str]:
    return [str(fault) for fault in check_structure(given, **options).faults]


def test_an_unknown_field_names_the_nearest() -> None:
    given = story("name: a, ned: [b], execution: {retry: {maxRetrys: 1}}", inputSchema={})
    assert said(given) == [
        'spec.steps[0].ned: unknown field "ned"; did you mean "needs"?',
        'spec.steps[0].execution.retry.maxRetrys: unknown field "maxRetrys"; did you mean "maxRetries"?',
        'spec.inputSchema: unknown field "inputSchema"; did you mean "inputsSchema"?',
    ]
    assert said(given, unknown_fields=False) == []


def test_free_objects_are_free() -> None:
    assert said(story("name: a, with: {anything: {goes: [null, 1]}}", inputsSchema={"x": 1})) == []


def test_a_missing_field_that_is_misspelt_is_told() -> None:
    given = manifest("StoryRun", {"storyref": {"name": "s"}})
    assert said(given)[0] == 'spec.storyRef: required; is "storyref" meant?'


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"steps": {}}, "spec.steps: must be a list, is an object"),
        ({"steps": []}, "spec.steps: must have at least 1 entry"),
        ({"steps": [{"name": "A b", "type": "sleep"}]}, 'spec.steps[0].name: "A b" must consist of lower-case letters'),
        ({"steps": [{"name": "", "type": "sleep"}]}, "spec.steps[0].name: must not be empty"),
        ({"steps": [{"name": "a" * 64, "type": "sleep"}]}, "spec.steps[0].name: must have at most 63 characters"),
        (
            {"steps": [{"name": "a", "type": "executestory"}]},
            'spec.steps[0].type: unknown value "executestory"; must be one of condition, parallel',
        ),
        ({"steps": [{"name": "a", "type": "sleep", "if": True}]}, "spec.steps[0].if: must be a string, is a boolean"),
        ({"steps": [{"name": "a", "type": "sleep", "allowFailure": "yes"}]}, "spec.steps[0].allowFailure: must be"),
        (
            {"steps": [{"name": "a", "type": "sleep"}], "policy": {"priority": -1}},
            "spec.policy.priority: must be at least 0, is -1",
        ),
        (
            {"steps": [{"name": "a", "type": "sleep", "execution": {"retry": {"maxRetries": 11}}}]},
            "spec.steps[0].execution.retry.maxRetries: must be between 0 and 10, is 11",
        ),
        (
            {"steps": [{"name": "a", "type": "sleep"}, {"name": "a", "type": "sleep"}]},
            'spec.steps[1].name: duplicate name "a"',
        ),
        ({"steps": [None]}, "spec.steps[0]: must be an object, is null"),
        ({"steps": None}, "spec.steps: required"),
    ],
)
def test_faults_are_told_in_words(spec: dict[str, Any], words: str) -> None:
    (fault,) = said(manifest("Story", spec))
    assert fault.startswith(words)


def test_a_null_for_a_field_means_that_it_is_absent_but_is_data_in_a_free_object() -> None:
    given = story("name: a, needs: null, secrets: {k: null}, with: {x: null}", pattern=None, policy=None)
    assert said(given) == []
    filled = with_schema_defaults(given)["spec"]
    assert filled == {
        "steps": [{"name": "a", "type": "condition", "secrets": {}, "with": {"x": None}}],
        "pattern": "batch",
    }
    assert check_manifest(given, scene()).faults == []


@pytest.mark.parametrize(
    ("api_version", "kind", "words"),
    [
        ("bubustack.io/v1alpha1", "Storry", 'has no kind "Storry"; did you mean "Story"?'),
        ("bubustack.io/v1", "Story", "its apiVersion is bubustack.io/v1alpha1"),
        ("bubustack.io/v1alpha1", "StoryRun", "its apiVersion is runs.bubustack.io/v1alpha1"),
    ],
)
def test_a_wrong_kind_or_version_is_told(api_version: str, kind: str, words: str) -> None:
    assert words in said({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}})[0]


def test_other_kinds_are_not_our_matter() -> None:
    assert said({"apiVersion": "v1", "kind": "Secret", "whatever": 1}) == []


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        (None, "metadata.name"),
        ({}, "metadata.name"),
        ({"name": "A"}, "metadata.name"),
        ({"name": "x", "nmespace": "y"}, "metadata.nmespace"),
        ({"name": "x", "labels": {"a": 1}}, "metadata.labels[a]"),
        ({"name": "x", "labels": {"a": "b c"}}, "metadata.labels[a]"),
        ({"name": "x", "annotations": []}, "metadata.annotations"),
    ],
)
def test_metadata_is_checked(metadata: Any, field: str) -> None:
    given = {**story("name: a"), "metadata": metadata}
    assert [fault.field for fault in check_structure(given).faults] == [field]


def test_every_rule_of_the_crds_is_known() -> None:
    def rules(schema: Any) -> set[str]:
        if isinstance(schema, list):
            return set().union(*map(rules, schema)) if schema else set()
        if not isinstance(schema, dict):
            return set()
        own = {rule["rule"] for rule in schema.get("x-kubernetes-validations", ()) if isinstance(rule, dict)}
        return own.union(*map(rules, schema.values())) if schema else own

    assert rules(crd_manifests()) == set(_RULES)


def test_defaults_of_the_crd_are_filled_in_only_where_their_parent_is() -> None:
    given = story("name: a, execution: {retry: {}}", policy={"retries": {}}, concurrency={})
    filled = with_schema_defaults(given)["spec"]
    assert filled["steps"][0]["execution"]["retry"] == {"maxRetries": 3, "delay": "1s"}
    assert filled["policy"]["retries"] == {"continueOnStepFailure": False}
    assert filled["concurrency"] == {"mode": "parallel", "scope": "storyrun"}
    assert filled["pattern"] == "batch"
    assert "execution" not in with_schema_defaults(story("name: a"))["spec"]["steps"][0]


@pytest.mark.parametrize("levels", [200, 400, 5_000, 50_000])
def test_a_value_that_is_nested_too_deeply_is_told_and_does_no_harm(levels: int) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]
    around = scene(story("name: a", name="s", inputsSchema={"type": "object"}))
    block = manifest("Story", {"steps": [{"name": "a", "type": "condition", "with": {"x": deep}}]})
    run = manifest("StoryRun", {"storyRef": {"name": "s"}, "inputs": {"x": deep}})
    for given, path in ((block, "spec.steps[0].with"), (run, "spec.inputs")):
        found = check_manifest(given, around, old=given)
        assert found.faults[0].field == path
        assert "nested deeper than 128 levels" in found.faults[0].message
