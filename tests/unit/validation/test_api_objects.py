"""The 98 example objects of the API specification: what is valid stays valid, what is wrong is refused."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bobrapet.api import KINDS, KubernetesObject
from bobrapet.validation import Objects, Scene, check_manifest, check_structure, with_schema_defaults
from bobrapet.validation.objects import kind_of

OBJECTS = json.loads((Path(__file__).parents[2] / "data/api-objects.json").read_text())
VALID = [(kind, variant, manifest) for kind, group in OBJECTS.items() for variant, manifest in group["valid"].items()]
INVALID = [(kind, edit) for kind, group in OBJECTS.items() for edit in group["invalid"]]

# What the examples say exists beside them.
SURROUNDINGS: list[dict[str, Any]] = [
    {
        "apiVersion": "bubustack.io/v1alpha1",
        "kind": "Story",
        "metadata": {"name": "deploy-app", "namespace": "workflows"},
        "spec": {"version": "3", "steps": [{"name": "a", "type": "condition"}]},
    },
    {
        "apiVersion": "bubustack.io/v1alpha1",
        "kind": "Engram",
        "metadata": {"name": "mailer", "namespace": "workflows"},
        "spec": {"version": "1.0.0", "templateRef": {"name": "http-client"}},
    },
    {
        "apiVersion": "runs.bubustack.io/v1alpha1",
        "kind": "StepRun",
        "metadata": {
            "name": "batch-etl-001-notify",
            "namespace": "workflows",
            "uid": "11111111-2222-3333-4444-555555555556",
        },
        "spec": {"storyRunRef": {"name": "batch-etl-001"}, "stepId": "notify"},
    },
]


def typed(manifest: dict[str, Any]) -> KubernetesObject:
    kind = kind_of(manifest)
    assert kind is not None
    return kind.model_validate(manifest)


def scene(variant: str) -> Scene:
    around = [group["valid"]["min"] for group in OBJECTS.values()]
    if variant == "full":
        around += [group["valid"]["full"] for group in OBJECTS.values()]
    around.append(OBJECTS["Transport"]["valid"]["full"])
    return Scene(Objects(map(typed, around + SURROUNDINGS)))


def edited(manifest: dict[str, Any], edit: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(manifest)
    for path, value in edit.get("set", {}).items():
        _put(result, path, value)
    for path in edit.get("unset", ()):
        _put(result, path, None, remove=True)
    return result


def _put(target: Any, path: str, value: Any, remove: bool = False) -> None:
    parts: list[str | int] = [
        int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", path)
    ]
    for part in parts[:-1]:
        target = target.setdefault(part, {}) if isinstance(target, dict) else target[part]
    last = parts[-1]
    if remove:
        del target[last]
    elif isinstance(target, list) and last == len(target):
        target.append(value)
    else:
        target[last] = value


def test_every_kind_has_its_examples() -> None:
    assert {kind.KIND for kind in KINDS} == set(OBJECTS)
    assert (len(VALID), len(INVALID)) == (25, 73)


@pytest.mark.parametrize(
    ("kind", "variant", "manifest"),
    [
        pytest.param(*case, marks=pytest.mark.spec(f"api-{case[0].lower()}-{case[1]}"), id=f"{case[0]}-{case[1]}")
        for case in VALID
    ],
)
def test_a_valid_object_is_accepted(kind: str, variant: str, manifest: dict[str, Any]) -> None:
    findings = check_manifest(with_schema_defaults(manifest), scene(variant))
    assert list(map(str, findings.faults)) == []
    assert typed(manifest).to_wire() == manifest


@pytest.mark.parametrize(
    ("kind", "edit"),
    [pytest.param(*case, marks=pytest.mark.spec(f"api-{case[1]['id']}"), id=case[1]["id"]) for case in INVALID],
)
def test_an_invalid_object_is_refused_by_the_layer_that_should(kind: str, edit: dict[str, Any]) -> None:
    good = OBJECTS[kind]["valid"]["min"]
    bad = edited(good, edit)
    assert bad != good
    structure = check_structure(with_schema_defaults(bad))
    if edit["layer"] in ("schema", "cel"):
        assert structure.faults
        return
    assert list(map(str, structure.faults)) == []
    old = good if edit["layer"] == "update" else None
    findings = check_manifest(bad, scene("min"), old=old)
    assert findings.faults
    for fault in findings.faults:
        assert fault.message
