"""The shipped manifests and the example agree with the components and with each other."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from bobrapet.engrams import json_transform

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples/batch-etl"


def documents(folder: Path) -> list[dict[str, Any]]:
    return [document for file in sorted(folder.glob("*.yaml")) for document in yaml.safe_load_all(file.read_text())]


def find(kind: str, name: str) -> dict[str, Any]:
    (found,) = (d for d in documents(EXAMPLE) if d["kind"] == kind and d["metadata"]["name"] == name)
    return found


def shipped(name: str) -> dict[str, Any]:
    text = resources.files("bobrapet.engrams").joinpath(f"templates/{name}.yaml").read_text()
    template = yaml.safe_load(text)
    assert isinstance(template, dict)
    return template


@pytest.mark.parametrize("name", ["http-client", "json-transform"])
def test_every_shipped_template_has_an_image_that_an_installed_package_provides(name: str) -> None:
    image = shipped(name)["spec"]["image"].rpartition(":")[0]
    (entry,) = metadata.entry_points(group="bobrapet.images", name=image)
    argv = entry.load()()
    assert argv[:2] == [sys.executable, "-m"]
    assert subprocess.run(argv, env={"PATH": ""}, capture_output=True).returncode == 2, "no step around it"


@pytest.mark.parametrize(
    ("name", "module", "input_type"),
    [("http-client", "http_client", "Request"), ("json-transform", "json_transform", "Document")],
)
def test_the_schemas_of_a_template_name_what_its_component_takes(name: str, module: str, input_type: str) -> None:
    component = importlib.import_module(f"bobrapet.engrams.{module}")
    spec = shipped(name)["spec"]
    config_fields = {field.encode_name for field in msgspec.structs.fields(component.Config)}
    input_fields = {field.encode_name for field in msgspec.structs.fields(getattr(component, input_type))}
    assert set(spec["configSchema"]["properties"]) == config_fields
    assert input_fields <= set(spec["inputSchema"]["properties"]) <= input_fields | config_fields
    for schema in ("inputSchema", "outputSchema", "configSchema"):
        jsonschema.Draft7Validator.check_schema(spec[schema])


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
