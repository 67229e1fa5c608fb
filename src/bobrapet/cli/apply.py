"""Applying manifests to an API server, all of them, with every fault told at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bobrapet.api import (
    Engram,
    EngramTemplate,
    ImpulseTemplate,
    KubernetesObject,
    ReferenceGrant,
    Story,
    Transport,
)
from bobrapet.cli.errors import CliError, ManifestError
from bobrapet.cli.manifests import Manifest, apply_order
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.object import PartialObjectMetadata, Unstructured
from bobrapet.runtime.client.patch import ApplyConfiguration
from bobrapet.runtime.errors import AlreadyExists, ApiError, NoKindMatch, TransportError

FIELD_OWNER = "bobrapet"
_NAMESPACE = Unstructured.of("v1", "Namespace")


async def apply_all(client: ApiClient, manifests: Sequence[Manifest], namespace: str) -> list[Manifest]:
    """Applies manifests in dependency order and returns them as applied, with their namespaces filled in.

    Namespaces that they name are created. `namespace` is for namespaced manifests that name none.

    Raises:
        ManifestError: some were refused; all others are applied.
        CliError: the API server cannot be reached.
    """
    faults: list[str] = []
    placed: list[Manifest] = []
    for manifest in apply_order(manifests):
        try:
            placed.append(await _placed(client, manifest, namespace))
        except NoKindMatch:
            api_version = manifest.object["apiVersion"]
            faults.append(f"{manifest.at(('kind',))}: no resource serves {manifest.kind} of {api_version}")
    await _create_namespaces(client, placed)
    for manifest in placed:
        try:
            await client.apply(ApplyConfiguration(manifest.object), field_owner=FIELD_OWNER, force=True)
        except ApiError as error:
            faults.extend(refusals(manifest, error))
        except TransportError as error:
            raise CliError(f"the API server cannot be reached: {error}") from error
    if faults:
        raise ManifestError(faults)
    return placed


@dataclass(frozen=True)
class Existing:
    """What a control plane already holds that manifests may refer to."""

    objects: list[KubernetesObject]
    secrets: list[tuple[str, str]]


async def existing_objects(client: ApiClient) -> Existing:
    """Reads the definitions and the names of all Secrets."""
    objects: list[KubernetesObject] = []
    for kind in (EngramTemplate, ImpulseTemplate, Engram, Story, Transport, ReferenceGrant):
        objects += (await client.list(kind)).items
    secrets = await client.list(PartialObjectMetadata.of("v1", "Secret"))
    return Existing(objects, [(item.metadata.namespace or "", item.metadata.name or "") for item in secrets])


def refusals(manifest: Manifest, error: ApiError) -> list[str]:
    """One line for each cause that the API server gives, at the line of the manifest."""
    subject = f'{manifest.kind} "{manifest.name}"'
    causes = (error.details or {}).get("causes") or []
    if not causes:
        return [f"{manifest.at()}: {subject}: {error.message}"]
    lines = []
    for cause in causes:
        field = str(cause.get("field") or "")
        where = manifest.at(field_path(field)) if field else manifest.at()
        lines.append(f"{where}: {subject}: {field + ': ' if field else ''}{cause.get('message', error.message)}")
    return lines


def field_path(field: str) -> tuple[str | int, ...]:
    """`spec.steps[1].needs[0]` as a path of keys and indexes."""
    path: list[str | int] = []
    for part in field.split("."):
        name, *indexes = part.replace("]", "").split("[")
        if name:
            path.append(name)
        path += [int(index) if index.isdigit() else index.strip("\"'") for index in indexes]
    return tuple(path)


async def _placed(client: ApiClient, manifest: Manifest, namespace: str) -> Manifest:
    obj = Unstructured(copy.deepcopy(manifest.object))
    metadata = obj.object["metadata"]
    if await client.is_object_namespaced(obj):
        metadata.setdefault("namespace", namespace)
    else:
        metadata.pop("namespace", None)
    return Manifest(obj.object, manifest.source, manifest.document)


async def _create_namespaces(client: ApiClient, manifests: Iterable[Manifest]) -> None:
    named = {manifest.namespace for manifest in manifests} - {""}
    declared = {manifest.name for manifest in manifests if manifest.kind == "Namespace"}
    for name in sorted(named - declared):
        namespace: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        with suppress(AlreadyExists):
            await client.create(_NAMESPACE(namespace))
