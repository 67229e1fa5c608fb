"""Admission webhooks that run in the test process (spec runtime ET-2)."""

from __future__ import annotations

import base64
import copy
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bobrapet.runtime.client.client import new
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.envtest.certificates import Authority
from bobrapet.runtime.envtest.ports import PortLease
from bobrapet.runtime.errors import AlreadyExists
from bobrapet.runtime.rest.config import RestConfig

KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


@dataclass(frozen=True, slots=True)
class LocalServing:
    """Where the webhook server of a test listens, with certificates of an authority made for it."""

    host: str
    port: int
    cert_dir: Path
    """Holds `tls.crt` and `tls.key`, as a webhook server expects them."""

    ca: bytes

    @classmethod
    def prepare(cls, folder: Path, ports: PortLease, host: str = "127.0.0.1") -> LocalServing:
        """Takes a port and writes certificates into `folder`."""
        authority = Authority("envtest-webhooks")
        pair = authority.serving(host, "localhost")
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in (("tls.crt", pair.certificate), ("tls.key", pair.key)):
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
        return cls(host, ports.take(), folder, authority.certificate)

    def localized(self, configuration: dict[str, Any]) -> dict[str, Any]:
        """A copy of a webhook configuration that calls this server instead of a Service."""
        configuration = copy.deepcopy(configuration)
        for webhook in configuration.get("webhooks") or ():
            service = webhook.get("clientConfig", {}).get("service") or {}
            path = service.get("path") or "/"
            webhook["clientConfig"] = {
                "url": f"https://{self.host}:{self.port}/{path.lstrip('/')}",
                "caBundle": base64.b64encode(self.ca).decode("ascii"),
            }
        return configuration


def read_webhooks(*paths: str | Path) -> list[dict[str, Any]]:
    """The webhook configurations in files and folders (`*.yaml`, `*.yml`, `*.json`, recursively)."""
    found = []
    for path in map(Path, paths):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.suffix in (".yaml", ".yml", ".json"):
                documents = yaml.safe_load_all(file.read_text(encoding="utf-8"))
                found += [raw for raw in documents if raw and raw.get("kind") in KINDS]
    return found


async def install_webhooks(
    config: RestConfig, serving: LocalServing, configurations: Iterable[dict[str, Any]]
) -> list[Unstructured]:
    """Creates or replaces webhook configurations that call `serving`. They count from the next write on, nearly."""
    installed = []
    async with new(config) as client:
        for configuration in configurations:
            obj = Unstructured(serving.localized(configuration))
            try:
                installed.append(await client.create(obj))
            except AlreadyExists:
                cls = Unstructured.of(obj.gvk)
                current = await client.get(cls, ObjectKey("", obj.metadata.name))
                obj.metadata.resource_version = current.metadata.resource_version
                installed.append(await client.update(obj))
    return installed


async def uninstall_webhooks(config: RestConfig, installed: Iterable[Unstructured]) -> None:
    """Deletes what `install_webhooks` returned."""
    async with new(config) as client:
        for obj in installed:
            await client.delete(obj)
