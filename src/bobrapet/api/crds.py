"""The CustomResourceDefinitions of the package, as `hack/generate` built them from the models (`crds.json`)."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

PACKAGE_DATA: Final = "crds.json"


def crd_manifests() -> list[dict[str, Any]]:
    """The twelve CRDs, ready to be applied; each call gives fresh dicts."""
    crds: list[dict[str, Any]] = json.loads(resources.files("bobrapet.api").joinpath(PACKAGE_DATA).read_bytes())
    return crds
