"""Refusing before anything starts: the checks that admission makes, on manifests, with their lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from bobrapet.api import KubernetesObject
from bobrapet.cli.apply import field_path
from bobrapet.cli.errors import ManifestError
from bobrapet.cli.manifests import Manifest
from bobrapet.validation.defaults import with_schema_defaults
from bobrapet.validation.objects import check_manifest, kind_of
from bobrapet.validation.scene import Absent, Objects, Scene
from bobrapet.validation.structure import unknown_kind


def check_manifests(
    manifests: Sequence[Manifest],
    namespace: str,
    *,
    absent: Absent = Absent.REFUSES,
    existing: Iterable[KubernetesObject] = (),
    secrets: Iterable[tuple[str, str]] = (),
) -> list[str]:
    """Checks all manifests together, as if they had been applied; returns the warnings.

    `namespace` is for manifests that name none. `absent` says what a reference means that neither the manifests nor
    `existing` and `secrets` (namespace, name) fulfil.

    Raises:
        ManifestError: with every fault of every manifest.
    """
    objects = Objects(existing, secrets)
    placed = [_placed(manifest, namespace) for manifest in manifests]
    for obj in placed:
        if obj.get("apiVersion") == "v1" and obj.get("kind") == "Secret":
            objects.add_secret(obj["metadata"].get("namespace", namespace), obj["metadata"]["name"])
        elif (typed := _typed(obj)) is not None:
            objects.add(typed)
    scene = Scene(lookup=objects, absent=absent)
    faults: list[str] = []
    warnings: list[str] = []
    for manifest, obj in zip(manifests, placed, strict=True):
        subject = f'{manifest.kind} "{manifest.name}"'
        if (unknown := unknown_kind(str(obj["apiVersion"]), manifest.kind)) is not None:
            faults.append(f"{manifest.at(('kind',))}: {unknown}")
            continue
        findings = check_manifest(obj, scene)
        faults += [f"{manifest.at(field_path(fault.field))}: {subject}: {fault}" for fault in findings.faults]
        warnings += [f"{manifest.at()}: {subject}: {warning}" for warning in findings.warnings]
    if faults:
        raise ManifestError(faults)
    return warnings


def check_inputs(story: Manifest, namespace: str, inputs: dict[str, Any]) -> None:
    """Checks the inputs of a run against the Story's inputsSchema.

    Raises:
        ManifestError: with every fault.
    """
    obj = _placed(story, namespace)
    typed = _typed(obj)
    home = obj["metadata"].get("namespace", namespace)
    run = {
        "apiVersion": "runs.bubustack.io/v1alpha1",
        "kind": "StoryRun",
        "metadata": {"name": "inputs", "namespace": home},
        "spec": {"storyRef": {"name": story.name}, "inputs": inputs},
    }
    findings = check_manifest(run, Scene(lookup=Objects([typed] if typed is not None else [])))
    if findings.faults:
        raise ManifestError([str(fault).replace("spec.inputs", "inputs", 1) for fault in findings.faults])


def _placed(manifest: Manifest, namespace: str) -> dict[str, Any]:
    """The object as the API server will see it: with a namespace, where its kind has one, and defaults."""
    kind = kind_of(manifest.object)
    obj = {**manifest.object, "metadata": dict(manifest.object["metadata"])}
    if kind is None:
        return obj
    if kind.NAMESPACED:
        obj["metadata"].setdefault("namespace", namespace)
    return with_schema_defaults(obj)


def _typed(obj: dict[str, Any]) -> KubernetesObject | None:
    """The object as a model; None when it is not ours, or too wrong to be read (which its own check will say)."""
    kind = kind_of(obj)
    if kind is None:
        return None
    try:
        return kind.model_validate(obj)
    except ValidationError:
        return None
