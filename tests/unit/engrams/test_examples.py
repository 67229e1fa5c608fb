"""The shipped manifests and the example agree with the components and with each other."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from bobrapet.engrams import json_transform
from bobrapet.validation import Objects, Scene, check_manifest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples/batch-etl"


def documents(folder: Path) -> list[dict[str, Any]]:
    return [document for file in sorted(folder.glob("*.yaml")) for document in yaml.safe_load_all(file.read_text())]


def find(kind: str, name: str) -> dict[str, Any]:
    (found,) = (d for d in documents(EXAMPLE) if d["kind"] == kind and d["metadata"]["name"] == name)
    return found


def shipped(name: str) -> dict[str, Any]:
    template = yaml.safe_load((ROOT / f"manifests/engrams/{name}.yaml").read_text())
    assert isinstance(template, dict)
    return template


SHIPPED = sorted(file.stem for file in (ROOT / "manifests/engrams").glob("*.yaml"))


def test_every_component_of_the_house_ships() -> None:
    assert {"http-client", "json-filter", "json-transform", "map-reduce", "shell"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_template_has_an_image_that_an_installed_package_provides(name: str) -> None:
    image = shipped(name)["spec"]["image"].rpartition(":")[0]
    (entry,) = metadata.entry_points(group="bobrapet.images", name=image)
    argv = entry.load()()
    assert argv[:2] == [sys.executable, "-m"]
    assert subprocess.run(argv, env={"PATH": ""}, capture_output=True).returncode == 2, "no step around it"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_template_is_accepted_with_its_schemas_and_without_a_warning(name: str) -> None:
    template = shipped(name)
    for schema in ("inputSchema", "outputSchema", "configSchema"):
        if schema in template["spec"]:
            jsonschema.Draft7Validator.check_schema(template["spec"][schema])
    findings = check_manifest(template, Scene(Objects()))
    assert (findings.faults, findings.warnings) == ([], [])


def test_the_example_ships_the_same_json_transform_template() -> None:
    assert find("EngramTemplate", "json-transform") == shipped("json-transform")


def test_engrams_and_story_of_the_example_fit_together() -> None:
    for step in find("Story", "batch-etl")["spec"]["steps"]:
        engram = find("Engram", step["ref"]["name"])
        template = find("EngramTemplate", engram["spec"]["templateRef"]["name"])
        jsonschema.validate(engram["spec"]["with"], template["spec"]["configSchema"])
        required = {name for name, secret in template["spec"].get("secretSchema", {}).items() if secret["required"]}
        assert required <= set(engram["spec"].get("secrets", {}))
        assert all(find("Secret", secret) for secret in engram["spec"].get("secrets", {}).values())


def test_the_program_of_the_example_reports_the_week_of_the_hualien_earthquake() -> None:
    config = msgspec.convert(find("Engram", "json-transform")["spec"]["with"], json_transform.Config)
    payload = (ROOT / "examples/data/earthquakes.json").read_text()
    report = json_transform.json_transform(
        json_transform.Document(payload=payload), json_transform.Context(config=config)
    ).result
    assert (report["recorded"], report["strong"]) == (297, 85)
    assert report["strongest"]["place"] == "22km NNE of Hualian, Taiwan"
    assert report["regions"][0] == {
        "region": "Taiwan",
        "count": 20,
        "strongest": 6.4,
        "deepestKm": 12.54,
        "tsunamiAlerts": 0,
    }
    assert len(report["regions"]) == 8
