"""Objects in one line each, for the tests of this folder."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import yaml

from bobrapet.api import KubernetesObject
from bobrapet.config.operator import parse
from bobrapet.validation import Findings, Objects, Scene, check_object
from bobrapet.validation.objects import kind_of

_VERSIONS = {
    "Story": "bubustack.io/v1alpha1",
    "Engram": "bubustack.io/v1alpha1",
    "Impulse": "bubustack.io/v1alpha1",
    "EngramTemplate": "catalog.bubustack.io/v1alpha1",
    "ImpulseTemplate": "catalog.bubustack.io/v1alpha1",
    "StoryRun": "runs.bubustack.io/v1alpha1",
    "StepRun": "runs.bubustack.io/v1alpha1",
    "StoryTrigger": "runs.bubustack.io/v1alpha1",
    "EffectClaim": "runs.bubustack.io/v1alpha1",
    "Transport": "transport.bubustack.io/v1alpha1",
    "TransportBinding": "transport.bubustack.io/v1alpha1",
    "ReferenceGrant": "policy.bubustack.io/v1alpha1",
}


def manifest(
    kind: str, spec: str | dict[str, Any], name: str = "x", namespace: str = "ns", **meta: Any
) -> dict[str, Any]:
    """A manifest; `spec` may be YAML."""
    return {
        "apiVersion": _VERSIONS[kind],
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **meta},
        "spec": yaml.safe_load(spec) if isinstance(spec, str) else spec,
    }


def typed(given: dict[str, Any]) -> KubernetesObject:
    kind = kind_of(given)
    assert kind is not None, given
    return kind.model_validate(given)


def story(*steps: str, name: str = "x", namespace: str = "ns", **spec: Any) -> dict[str, Any]:
    """A Story of steps in YAML flow form; a step without ref and type is a condition."""
    return manifest("Story", {"steps": [step(text) for text in steps], **spec}, name, namespace)


def step(text: str) -> dict[str, Any]:
    given: dict[str, Any] = yaml.safe_load("{" + text + "}")
    if "ref" not in given and "type" not in given:
        given["type"] = "condition"
    return given


def template(name: str = "t", **spec: Any) -> dict[str, Any]:
    return manifest("EngramTemplate", {"version": "1.0.0", "supportedModes": ["job"], "image": "i", **spec}, name)


def engram(name: str = "e", namespace: str = "ns", **spec: Any) -> dict[str, Any]:
    return manifest("Engram", {"templateRef": {"name": "t"}, **spec}, name, namespace)


def grant(
    to: dict[str, Any], namespace: str = "other", kind: str = "Story", group: str = "bubustack.io"
) -> dict[str, Any]:
    spec = {"from": [{"group": group, "kind": kind, "namespace": "ns"}], "to": [{"group": "bubustack.io", **to}]}
    return manifest("ReferenceGrant", spec, "g", namespace)


def scene(*objects: dict[str, Any], secrets: tuple[str, ...] = (), **config: str) -> Scene:
    """The surroundings; `config` are keys of the operator ConfigMap with `_` for every other character."""
    loaded = parse({_KEYS[key]: value for key, value in config.items()})
    assert loaded.is_usable
    return Scene(Objects(map(typed, objects), [("ns", name) for name in secrets]), loaded.config)


_KEYS = {
    "policy": "references.cross-namespace-policy",
    "max_retries": "retry.max-retries",
}


@dataclass(frozen=True)
class Judged:
    """What a test had judged: an object, what was around it, and the findings."""

    given: dict[str, Any]
    around: Scene
    old: dict[str, Any] | None
    found: Findings
    objects: tuple[KubernetesObject, ...]
    """What existed then; a test may add to the surroundings later."""
    secrets: tuple[tuple[str, str], ...]


RECORDS: list[Judged] = []
"""Everything that was judged, for tests that ask API servers about the same objects."""


def findings(given: dict[str, Any], around: Scene | None = None, old: dict[str, Any] | None = None) -> Findings:
    around = around or scene()
    found = check_object(typed(given), around, old=typed(old) if old else None)
    lookup = around.lookup
    assert isinstance(lookup, Objects)
    objects, secrets = tuple(lookup._objects.values()), tuple(sorted(lookup._secrets))
    RECORDS.append(Judged(copy.deepcopy(given), around, copy.deepcopy(old), found, objects, secrets))
    return found


def faults(given: dict[str, Any], around: Scene | None = None, old: dict[str, Any] | None = None) -> list[str]:
    return [str(fault) for fault in findings(given, around, old).faults]


def warnings(given: dict[str, Any], around: Scene | None = None) -> list[str]:
    """The warnings about an object that has no faults."""
    found = findings(given, around)
    assert [str(fault) for fault in found.faults] == []
    return list(found.warnings)


def one_fault(given: dict[str, Any], around: Scene | None = None, old: dict[str, Any] | None = None) -> str:
    """The only fault of an object."""
    found = faults(given, around, old)
    assert len(found) == 1, found
    return found[0]
