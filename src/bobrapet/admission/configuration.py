"""The objects that make an API server call our webhooks (spec admission A1)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Protocol

from bobrapet.admission.webhooks import WEBHOOKS, KindWebhooks


class Endpoint(Protocol):
    """Where the API server finds the webhook server."""

    def client_config(self, path: str) -> dict[str, Any]:
        """The `clientConfig` of the webhook at `path`."""


@dataclass(frozen=True, slots=True)
class Service:
    """A Service of the cluster."""

    namespace: str = "bobrapet-system"
    name: str = "bobrapet-webhook-service"
    port: int = 443
    ca_bundle: bytes = b""
    """PEM. Empty: somebody else fills it in, such as the injector of cert-manager."""

    def client_config(self, path: str) -> dict[str, Any]:
        service = {"namespace": self.namespace, "name": self.name, "path": path, "port": self.port}
        return {"service": service, **_bundle(self.ca_bundle)}


@dataclass(frozen=True, slots=True)
class Url:
    """A server outside of the cluster, or in the same process as the API server."""

    base: str
    """`https://host:port`, without a path."""

    ca_bundle: bytes = b""
    """PEM. Empty: the API server trusts the roots of its system."""

    def client_config(self, path: str) -> dict[str, Any]:
        return {"url": f"{self.base.rstrip('/')}{path}", **_bundle(self.ca_bundle)}


def webhook_configurations(endpoint: Endpoint, *, prefix: str = "bobrapet-") -> list[dict[str, Any]]:
    """A MutatingWebhookConfiguration and a ValidatingWebhookConfiguration for all webhooks.

    `annotations` and the like are for the caller to add; the dicts are new with every call.
    """
    mutating = [_webhook(row, row.mutating, row.mutating_path, endpoint) for row in WEBHOOKS if row.mutating]
    validating = [_webhook(row, row.validating, row.validating_path, endpoint) for row in WEBHOOKS]
    return [
        _configuration("MutatingWebhookConfiguration", f"{prefix}mutating-webhook-configuration", mutating),
        _configuration("ValidatingWebhookConfiguration", f"{prefix}validating-webhook-configuration", validating),
    ]


def _webhook(row: KindWebhooks, name: str, path: str, endpoint: Endpoint) -> dict[str, Any]:
    rule = {
        "apiGroups": [row.group],
        "apiVersions": [row.version],
        "operations": ["CREATE", "UPDATE"],
        "resources": [row.kind.PLURAL],
    }
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": endpoint.client_config(path),
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "rules": [rule],
    }


def _configuration(kind: str, name: str, webhooks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "webhooks": webhooks,
    }


def _bundle(pem: bytes) -> dict[str, str]:
    return {"caBundle": base64.b64encode(pem).decode("ascii")} if pem else {}
