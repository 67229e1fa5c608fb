"""The generated CRDs: up to date, structural, and as the specification lists them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest
import yaml

from bobrapet.api import KINDS, crd_manifests
from bobrapet.api.crd_builder import build_crds
from bobrapet.api.wire import LABEL_PATTERN

ROOT = Path(__file__).resolve().parents[3]
CRDS = {crd["spec"]["names"]["kind"]: crd for crd in crd_manifests()}

INVENTORY = """
Story            bubustack.io            stories           story      bubu,ai,workflows Namespaced
Engram           bubustack.io            engrams           engram     bubu,ai           Namespaced
Impulse          bubustack.io            impulses          imp        bubu,ai           Namespaced
EngramTemplate   catalog.bubustack.io    engramtemplates   etpl       bubu,ai,catalog   Cluster
ImpulseTemplate  catalog.bubustack.io    impulsetemplates  itpl       bubu,ai,catalog   Cluster
StoryRun         runs.bubustack.io       storyruns         srun       bubu,ai,runs      Namespaced
StepRun          runs.bubustack.io       stepruns          step       bubu,ai,runs      Namespaced
StoryTrigger     runs.bubustack.io       storytriggers     trig       bubu,ai,runs      Namespaced
EffectClaim      runs.bubustack.io       effectclaims      eff        bubu,ai,runs      Namespaced
Transport        transport.bubustack.io  transports        transport  bubu,ai           Cluster
TransportBinding transport.bubustack.io  transportbindings tb,tbind   bubu,transport    Namespaced
ReferenceGrant   policy.bubustack.io     referencegrants   refgrant   bubu,ai           Namespaced
"""


def version_of(kind: str) -> dict[str, Any]:
    (version,) = CRDS[kind]["spec"]["versions"]
    assert isinstance(version, dict)
    return version


def schema_of(kind: str, path: str = "") -> dict[str, Any]:
    schema: dict[str, Any] = version_of(kind)["schema"]["openAPIV3Schema"]
    for part in filter(None, path.split(".")):
        schema = schema["items"] if part == "[]" else schema["properties"][part]
    return schema


def nodes(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from nodes(schema[keyword], f"{path}[]")


ALL_NODES = [(kind, path, node) for kind in CRDS for path, node in nodes(schema_of(kind))]


def test_generated_files_are_up_to_date() -> None:
    loader = SourceFileLoader("generate", str(ROOT / "hack/generate"))
    spec = importlib.util.spec_from_loader("generate", loader)
    assert spec is not None
    generate = importlib.util.module_from_spec(spec)
    loader.exec_module(generate)
    for path, content in generate.crds():
        assert (ROOT / path).read_text() == content, f"{path} is stale; run hack/generate"


def test_yaml_and_package_data_say_the_same() -> None:
    files = [yaml.safe_load(file.read_text()) for file in sorted((ROOT / "manifests/crd").glob("*bubustack.io_*.yaml"))]
    by_name = {crd["metadata"]["name"]: crd for crd in build_crds()}
    assert {crd["metadata"]["name"]: crd for crd in files} == by_name
    assert len(files) == 12


@pytest.mark.parametrize("line", INVENTORY.strip().splitlines(), ids=lambda line: line.split()[0])
def test_names_are_those_of_the_inventory(line: str) -> None:
    kind, group, plural, short, categories, scope = line.split()
    crd = CRDS[kind]
    assert crd["metadata"]["name"] == f"{plural}.{group}"
    assert crd["spec"]["group"] == group
    assert crd["spec"]["scope"] == scope
    assert crd["spec"]["names"] == {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": short.split(","),
        "categories": categories.split(","),
    }
    version = version_of(kind)
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert version["subresources"] == {"status": {}}


def test_the_root_of_every_kind() -> None:
    for kind in CRDS:
        root = schema_of(kind)
        assert root["required"] == ["spec"]
        assert list(root["properties"]) == ["apiVersion", "kind", "metadata", "spec", "status"]
        assert root["properties"]["metadata"] == {"type": "object"}
        conditions = schema_of(kind, "status.conditions")
        assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


@pytest.mark.parametrize(
    ("kind", "columns", "selectable"),
    [
        ("Story", "Steps Status Usage Triggers Age", []),
        ("Engram", "Template Mode Status Usage Triggers Age", []),
        ("Impulse", "Template Story Phase Triggers Age", []),
        ("EngramTemplate", "Description Version Usage Status Age", []),
        ("ImpulseTemplate", "Description Version Usage Status Age", []),
        ("StoryTrigger", "Story Decision StoryRun Age", []),
        ("EffectClaim", "StepRun Effect Holder Phase Age", []),
        ("StoryRun", "Story Phase Duration Age", [".spec.storyRef.name", ".status.phase"]),
        (
            "StepRun",
            "StoryRun Step Phase Retries Age",
            [".spec.storyRunRef.name", ".spec.stepId", ".status.phase"],
        ),
        ("TransportBinding", "Transport Step Driver Endpoint Age", [".spec.transportRef", ".spec.storyRunRef.name"]),
        ("Transport", "", []),
        ("ReferenceGrant", "", []),
    ],
)
def test_columns_and_selectable_fields(kind: str, columns: str, selectable: list[str]) -> None:
    version = version_of(kind)
    found = version.get("additionalPrinterColumns", [])
    assert [column["name"] for column in found] == columns.split()
    assert all("priority" not in column for column in found)
    assert [field["jsonPath"] for field in version.get("selectableFields", [])] == selectable


def test_schemas_are_structural() -> None:
    forbidden = {"$ref", "title", "allOf", "oneOf", "nullable", "uniqueItems", "const", "patternProperties"}
    for kind, path, node in ALL_NODES:
        where = f"{kind}{path}"
        assert not forbidden & node.keys(), where
        if node.get("x-kubernetes-int-or-string"):
            assert "type" not in node, where
            continue
        assert node["type"] in {"object", "array", "string", "integer", "boolean"}, where
        assert not ("properties" in node and "additionalProperties" in node), where
        assert ("items" in node) == (node["type"] == "array"), where
        if node.get("x-kubernetes-list-type") == "map":
            for key in node["x-kubernetes-list-map-keys"]:
                assert key in node["items"]["required"], where
        assert set(node.get("required", ())) <= node.get("properties", {}).keys(), where


def test_every_field_says_what_it_does() -> None:
    for kind, path, node in ALL_NODES:
        if path.endswith("[]") or path in ("", ".metadata"):
            continue
        assert node["description"].endswith("."), f"{kind}{path}: {node.get('description')}"


def test_no_default_for_the_service_account_token() -> None:
    for _, path, node in ALL_NODES:
        if path.endswith("automountServiceAccountToken"):
            assert "default" not in node


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("Story", "spec.steps", {"minItems": 1, "maxItems": 1000, "x-kubernetes-list-type": "map"}),
        ("Story", "spec.compensations", {"maxItems": 50}),
        ("Story", "spec.steps.[].name", {"minLength": 1, "maxLength": 63, "pattern": LABEL_PATTERN}),
        ("Story", "spec.steps.[].with", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
        ("Story", "spec.steps.[].execution.retry.maxRetries", {"default": 3, "minimum": 0, "maximum": 10}),
        ("Story", "spec.steps.[].execution.retry.delay", {"default": "1s"}),
        ("Story", "spec.pattern", {"default": "batch", "enum": ["batch", "streaming", "realtime"]}),
        ("Story", "spec.policy.retries.continueOnStepFailure", {"default": False}),
        ("Impulse", "spec.workload.mode", {"enum": ["job", "deployment", "statefulset"]}),
        ("Impulse", "spec.workload.updateStrategy.rollingUpdate.maxSurge", {"type": "string"}),
        ("EngramTemplate", "spec.supportedModes", {"minItems": 1, "maxItems": 3}),
        ("StepRun", "status.signalEvents", {"maxItems": 256, "x-kubernetes-list-map-keys": ["seq"]}),
        ("StepRun", "status.error.version", {"default": "v1"}),
        ("EffectClaim", "spec.leaseDurationSeconds", {"minimum": 1, "format": "int32"}),
        ("StoryRun", "status.startedAt", {"type": "string", "format": "date-time"}),
        ("Transport", "spec.streaming.recording.mode", {"enum": ["off", "metadata", "payload"]}),
    ],
)
def test_limits_and_defaults(kind: str, path: str, expected: dict[str, Any]) -> None:
    node = schema_of(kind, path)
    assert {name: node.get(name) for name in expected} == expected


def test_an_impulse_has_no_default_mode() -> None:
    assert "default" not in schema_of("Impulse", "spec.workload.mode")


@pytest.mark.parametrize(
    ("kind", "path", "required"),
    [
        ("StepRun", "status", ["retries"]),
        ("StepRun", "status.error", ["message", "type", "version"]),
        ("Story", "spec", ["steps"]),
        ("Impulse", "spec.workload.statefulSet", ["serviceName"]),
        ("EngramTemplate", "spec.execution.service.ports.[]", ["port", "targetPort"]),
        ("Engram", "spec.overrides.storage.s3", ["authentication", "bucket"]),
        ("EngramTemplate", "spec.execution.storage.s3", ["bucket"]),
    ],
)
def test_required_members(kind: str, path: str, required: list[str]) -> None:
    assert schema_of(kind, path)["required"] == required


def test_rules_stand_where_the_specification_wants_them() -> None:
    rules = {
        kind: [len(schema_of(kind, "status").get("x-kubernetes-validations", ()))]
        for kind in ("StoryRun", "StepRun", "StoryTrigger", "EffectClaim", "Story")
    }
    assert rules == {"StoryRun": [4], "StepRun": [2], "StoryTrigger": [2], "EffectClaim": [2], "Story": [0]}
    (one,) = schema_of("Story", "spec.steps.[]")["x-kubernetes-validations"]
    assert one["rule"] == "has(self.ref) != has(self.type)"


def test_every_kind_has_a_crd() -> None:
    assert [kind.KIND for kind in KINDS] == list(CRDS)


def test_each_call_gives_fresh_manifests() -> None:
    crd_manifests()[0]["spec"]["group"] = "spoilt"
    assert crd_manifests()[0]["spec"]["group"] == "bubustack.io"
