"""How a container reaches the API server: the token volume that admission would add, and a kubeconfig of its own."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bobrapet.runtime.rest.config import RestConfig

from .volumes import DEFAULT_TOKEN_SECONDS, ROOT_CA_CONFIG_MAP, TOKEN_FOLDER, File

TOKEN_VOLUME = "kube-api-access"
KUBECONFIG = "kubeconfig"  # beside the token


def with_token_volume(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The pod as the ServiceAccount admission plugin leaves it: every container has the token mounted.

    Where the API server did that already, or the pod does not want a token, the pod is answered as it is.
    """
    result: dict[str, Any] = copy.deepcopy(dict(pod))
    spec = result["spec"]
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    bare = [entry for entry in containers if not _has_token(entry)]
    if spec.get("automountServiceAccountToken") is False or len(bare) < len(containers):
        return result
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    ca = {"key": "ca.crt", "path": "ca.crt"}
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": DEFAULT_TOKEN_SECONDS}},
        {"configMap": {"name": ROOT_CA_CONFIG_MAP, "items": [ca]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    volume = {"name": TOKEN_VOLUME, "projected": {"sources": sources}}
    spec["volumes"] = [*(spec.get("volumes") or ()), volume]
    for entry in bare:
        mount = {"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": True}
        entry["volumeMounts"] = [*(entry.get("volumeMounts") or ()), mount]
    return result


def token_volume(pod: Mapping[str, Any]) -> str | None:
    """The volume that is mounted where clients look for their token."""
    for entry in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
        for mount in entry.get("volumeMounts") or ():
            if mount["mountPath"].rstrip("/") == TOKEN_FOLDER:
                return str(mount["name"])
    return None


def authority(config: RestConfig) -> bytes:
    """The certificate authority by which the node itself trusts the API server; empty when it is the system's."""
    if config.ca_data:
        return config.ca_data
    return Path(config.ca_file).read_bytes() if config.ca_file else b""


def kubeconfig(config: RestConfig, ca: bytes, namespace: str) -> File:
    """A kubeconfig that uses the token beside it: relative, and by file, so that it follows the renewed token."""
    cluster: dict[str, Any] = {"server": config.host}
    if config.insecure_skip_tls_verify:
        cluster["insecure-skip-tls-verify"] = True
    elif ca:
        cluster["certificate-authority-data"] = base64.b64encode(ca).decode()
    if config.tls_server_name:
        cluster["tls-server-name"] = config.tls_server_name
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": "pod", "user": {"tokenFile": "token"}}],
        "contexts": [{"name": "pod", "context": {"cluster": "local", "user": "pod", "namespace": namespace}}],
        "current-context": "pod",
    }
    return File(KUBECONFIG, json.dumps(content, indent=2).encode(), 0o600)


def service_environment(config: RestConfig) -> dict[str, str]:
    """The variables by which every container finds the API server."""
    address = urlsplit(config.host)
    port = address.port or (443 if address.scheme == "https" else 80)
    host = address.hostname or ""
    return {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": str(port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
    }


def _has_token(container: Mapping[str, Any]) -> bool:
    return any(mount["mountPath"].rstrip("/") == TOKEN_FOLDER for mount in container.get("volumeMounts") or ())
