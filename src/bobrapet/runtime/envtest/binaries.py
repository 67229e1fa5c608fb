"""Where the programs of a control plane are."""

from __future__ import annotations

import os
from pathlib import Path

from bobrapet.runtime.errors import ConfigError

DEFAULT_ASSETS = "/usr/local/kubebuilder/bin"


def find_assets(assets: str | None = None) -> Path:
    """The folder with `etcd` and `kube-apiserver`: given, or named by `KUBEBUILDER_ASSETS`, or the usual one.

    Raises `ConfigError` saying which program is missing where.
    """
    folder = Path(assets or os.environ.get("KUBEBUILDER_ASSETS") or DEFAULT_ASSETS)
    missing = [name for name in ("etcd", "kube-apiserver") if not os.access(folder / name, os.X_OK)]
    if missing:
        raise ConfigError(
            f"no {' and no '.join(missing)} in {folder}; set KUBEBUILDER_ASSETS to a folder with the programs of a "
            "Kubernetes control plane"
        )
    return folder
