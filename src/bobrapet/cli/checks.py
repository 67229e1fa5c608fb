"""Refusing before anything starts: the checks that admission makes, on manifests, with their lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from bobrapet.api import Engram, EngramTemplate, KubernetesObject, Story
from bobrapet.cli.apply import field_path
from bobrapet.cli.errors import ManifestError
from bobrapet.cli.manifests import Manifest
from bobrapet.local.node.errors import NodeError
from bobrapet.reconcilers.references import engram_keys, story_keys
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


def check_images(
    manifests: Sequence[Manifest], story: Manifest, namespace: str, command_of: Callable[[str], object]
) -> None:
    """Checks that this machine knows what to start for every image that a run of `story` needs: it learns of no other
    while the run goes on. `command_of` is `ImageResolver.resolve`.

    Raises:
        ManifestError: with every image that has no command.
    """
    typed = [(manifest, _typed(_placed(manifest, namespace))) for manifest in manifests]
    stories = {_key(obj): obj for _, obj in typed if isinstance(obj, Story)}
    engrams = {_key(obj): obj for _, obj in typed if isinstance(obj, Engram)}
    home = story.object["metadata"].get("namespace", namespace)
    reached, new = set[str](), {f"{home}/{story.name}"}
    while new:
        reached |= new
        new = {key for name in new if name in stories for key in story_keys(stories[name])} - reached
    named = {key for name in reached if name in stories for key in engram_keys(stories[name])}
    used = {engrams[key].spec.template_ref.name.strip() for key in named if key in engrams}
    faults = []
    for manifest, obj in typed:
        if isinstance(obj, EngramTemplate) and obj.metadata.name in used:
            try:
                command_of(obj.spec.image or "")
            except NodeError as error:
                faults.append(f'{manifest.at(("spec", "image"))}: {manifest.kind} "{manifest.name}": {error}')
    if faults:
        raise ManifestError(faults)


def _key(obj: KubernetesObject) -> str:
    return f"{obj.metadata.namespace}/{obj.metadata.name}"


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
