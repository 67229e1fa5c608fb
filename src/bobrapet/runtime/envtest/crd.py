"""CustomResourceDefinitions for a test (spec runtime ET-2)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from bobrapet.runtime.client.client import ApiClient, new
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.errors import AlreadyExists, ControllerRuntimeError, NoKindMatch, NotFound
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.retry import DEFAULT_BACKOFF, retry_on_conflict
from bobrapet.runtime.scheme import GroupVersionKind

Definition = Unstructured.of("apiextensions.k8s.io/v1", "CustomResourceDefinition")

POLL = 0.05
"""Seconds between two looks at a definition."""


class DefinitionNotEstablished(ControllerRuntimeError):
    """The API server does not serve a definition, and says why."""


def read_crds(*paths: str | Path) -> list[dict[str, Any]]:
    """The definitions in files and folders (`*.yaml`, `*.yml`, `*.json`, recursively), without other objects."""
    found = []
    for path in map(Path, paths):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.suffix in (".yaml", ".yml", ".json"):
                documents = yaml.safe_load_all(file.read_text(encoding="utf-8"))
                found += [raw for raw in documents if raw and raw.get("kind") == "CustomResourceDefinition"]
    return found


async def install_crds(
    config: RestConfig, definitions: Iterable[dict[str, Any] | str | Path], *, timeout: float = 60.0
) -> list[str]:
    """Creates or updates definitions (objects or paths) and waits until all are served. Returns their names.

    Raises `DefinitionNotEstablished` after `timeout` seconds.
    """
    objects: list[dict[str, Any]] = []
    for definition in definitions:
        objects += [definition] if isinstance(definition, dict) else read_crds(definition)
    names = [raw["metadata"]["name"] for raw in objects]
    async with new(config) as client:
        for raw in objects:
            await _put(client, raw)
        deadline = time.monotonic() + timeout
        for name in names:
            await _established(client, name, deadline)
    return names


async def uninstall_crds(config: RestConfig, names: Iterable[str], *, timeout: float = 60.0) -> None:
    """Deletes definitions with all their objects, and waits until they are gone."""
    async with new(config) as client, asyncio.timeout(timeout):
        for name in names:
            try:
                await client.delete(Definition({"metadata": {"name": name}}))
                while True:
                    await client.get(Definition, ObjectKey("", name))
                    await asyncio.sleep(POLL)
            except NotFound:
                continue


async def _put(client: ApiClient, raw: dict[str, Any]) -> None:
    try:
        await client.create(Definition(dict(raw)), field_validation="Strict")
    except AlreadyExists:
        await retry_on_conflict(partial(_replace, client, raw), DEFAULT_BACKOFF)  # the server writes the status


async def _replace(client: ApiClient, raw: dict[str, Any]) -> None:
    current = await client.get(Definition, ObjectKey("", raw["metadata"]["name"]))
    current.object["spec"] = raw["spec"]
    await client.update(current, field_validation="Strict")


async def _established(client: ApiClient, name: str, deadline: float) -> None:
    """Waits until the server says so, and until discovery shows it, which comes a moment later."""
    while True:
        found = await client.get(Definition, ObjectKey("", name))
        conditions = {entry["type"]: entry for entry in found.get("status", "conditions") or ()}
        if conditions.get("Established", {}).get("status") == "True" and await _discoverable(client, found):
            return
        if time.monotonic() > deadline:
            why = "; ".join(f"{kind}={entry['status']}: {entry.get('message')}" for kind, entry in conditions.items())
            raise DefinitionNotEstablished(f"{name} is not served ({why or 'no conditions yet'})")
        await asyncio.sleep(POLL)


async def _discoverable(client: ApiClient, definition: Unstructured) -> bool:
    group, kind = definition.get("spec", "group"), definition.get("spec", "names", "kind")
    for version in definition.get("spec", "versions", default=()):
        if version.get("served"):
            try:
                await client.rest_mapper.rest_mapping(GroupVersionKind(group, version["name"], kind))
            except NoKindMatch:
                return False
    return True
