"""Writes a configuration as a kubeconfig, for programs that read one."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import yaml

from bobrapet.runtime.rest.config import RestConfig


def write_kubeconfig(path: Path, config: RestConfig, *, namespace: str = "default") -> None:
    """Writes `path`, readable by its owner only, with one context of the name `envtest`."""
    cluster: dict[str, Any] = {"server": config.host}
    if config.ca_data:
        cluster["certificate-authority-data"] = base64.b64encode(config.ca_data).decode()
    elif config.ca_file:
        cluster["certificate-authority"] = config.ca_file
    if config.insecure_skip_tls_verify:
        cluster["insecure-skip-tls-verify"] = True
    user: dict[str, Any] = {}
    if config.token:
        user["token"] = config.token
    if config.token_file:
        user["tokenFile"] = config.token_file
    if config.cert_data and config.key_data:
        user["client-certificate-data"] = base64.b64encode(config.cert_data).decode()
        user["client-key-data"] = base64.b64encode(config.key_data).decode()
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "envtest", "cluster": cluster}],
        "users": [{"name": "envtest", "user": user}],
        "contexts": [{"name": "envtest", "context": {"cluster": "envtest", "user": "envtest", "namespace": namespace}}],
        "current-context": "envtest",
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        yaml.safe_dump(content, file)
