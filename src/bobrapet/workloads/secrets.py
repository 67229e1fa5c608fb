"""How the Secrets of a step reach its process: variables, files, and the markers that tell where (spec workloads 9)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api.enums import SecretMountType
from bobrapet.api.names import compose

if TYPE_CHECKING:
    from bobrapet.api.catalog import SecretDefinition

MOUNT_ROOT: Final = "/etc/bubu/secrets"


@dataclass(slots=True)
class SecretBindings:
    """The parts of a pod that deliver Secrets. Sorted by logical name, so that two builds are alike."""

    env: list[dict[str, Any]] = field(default_factory=list)
    env_from: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)


def bind_secrets(schema: Mapping[str, SecretDefinition], bound: Mapping[str, str]) -> SecretBindings:
    """Delivers each Secret as its definition asks.

    Args:
        schema: `EngramTemplate.spec.secretSchema`.
        bound: logical name -> name of the Secret in the pod's namespace (Engram.spec.secrets, overlaid by the
            step's). A logical name that the schema does not have is ignored (R-9.1).
    """
    bindings = SecretBindings()
    for logical in sorted(bound):
        definition = schema.get(logical)
        if definition is not None and bound[logical]:
            _bind(bindings, logical, bound[logical], definition)
    return bindings


def _bind(bindings: SecretBindings, logical: str, secret: str, definition: SecretDefinition) -> None:
    kind = definition.mount_type or SecretMountType.ENV
    # The prefix is taken as written, without separator; without one it is "<logical>_" (decision 10).
    prefix = definition.env_prefix or f"{logical}_"
    path = definition.mount_path or f"{MOUNT_ROOT}/{logical}"
    marker = f"BUBU_SECRET_{logical}"
    if kind is not SecretMountType.ENV:
        volume = _volume_name(bindings, logical)
        bindings.volumes.append({"name": volume, "secret": {"secretName": secret}})
        bindings.mounts.append({"name": volume, "mountPath": path, "readOnly": True})
    if kind is SecretMountType.FILE:
        bindings.env.append({"name": marker, "value": f"file:{path}"})
        return
    if definition.expected_keys:
        bindings.env.extend(
            {"name": f"{prefix}{key}", "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
            for key in definition.expected_keys
        )
    else:
        bindings.env_from.append({"prefix": prefix, "secretRef": {"name": secret}})
    bindings.env.append({"name": marker, "value": f"env:{prefix}"})
    if kind is SecretMountType.ENV or not definition.expected_keys:
        bindings.env.append({"name": f"{marker}_NAME", "value": secret})


def _volume_name(bindings: SecretBindings, logical: str) -> str:
    """A DNS label; logical names that differ only in case or signs get different ones."""
    name = compose("secret", logical)
    if any(volume["name"] == name for volume in bindings.volumes):
        return compose("secret", logical, hashlib.sha256(logical.encode()).hexdigest()[:8])
    return name
