"""The design document's own manifests are valid as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bobrapet.api import KINDS
from bobrapet.validation import check_manifest, with_defaults, with_schema_defaults
from tests.unit.validation.builders import engram, scene, template, typed

OBJECTS = list(yaml.safe_load_all((Path(__file__).parents[2] / "data/seed-objects.yaml").read_text()))
AROUND = [
    *OBJECTS,
    engram("speech-to-text", "workflows"),
    engram("intent-classifier", "workflows"),
    engram("json-transform", "workflows"),
    engram("http-client", "workflows", templateRef={"name": "http-client"}, secrets={"api": "s"}),
    template(),
]


@pytest.mark.parametrize("given", OBJECTS, ids=lambda given: f"{given['kind']}-{given['metadata']['name']}")
def test_an_example_of_the_design_is_valid(given: dict[str, Any]) -> None:
    around = scene(*AROUND)
    admitted = with_defaults(with_schema_defaults(given), around.config)
    findings = check_manifest(admitted, around)
    assert [str(fault) for fault in findings.faults] == []
    assert typed(given).to_wire() == given
    assert typed(admitted).to_wire() == admitted


def test_the_design_shows_every_kind_that_it_has() -> None:
    newer = {"StoryTrigger", "EffectClaim"}
    assert {given["kind"] for given in OBJECTS} == {kind.KIND for kind in KINDS} - newer
