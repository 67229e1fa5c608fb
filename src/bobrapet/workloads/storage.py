"""How the payload store of a step reaches its process (spec workloads 10.1)."""

from __future__ import annotations

from typing import Any, Final

from bobrapet.api import env
from bobrapet.config.storage import StorageSettings

VOLUME: Final = "bubu-storage"


def storage_environment(storage: StorageSettings) -> list[dict[str, Any]]:
    """The variables of the store. Credentials come twice, under the AWS names and under ours, from the same Secret:
    clients of the Go ecosystem look at one or the other."""
    if storage.provider == "file":
        return [_plain(env.STORAGE_PROVIDER, "file"), _plain(env.STORAGE_PATH, storage.path)]
    variables = [_plain(env.STORAGE_PROVIDER, "s3")]
    for name, value in (
        (env.STORAGE_S3_BUCKET, storage.bucket),
        (env.STORAGE_S3_REGION, storage.region),
        (env.STORAGE_S3_ENDPOINT, storage.endpoint),
    ):
        if value:
            variables.append(_plain(name, value))
    if storage.secret_name:
        for ours, key in _CREDENTIALS:
            for name in (key, ours):
                reference: dict[str, Any] = {"name": storage.secret_name, "key": key}
                if key == "AWS_SESSION_TOKEN":
                    reference["optional"] = True
                variables.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    if storage.use_path_style:
        variables.append(_plain(env.S3_FORCE_PATH_STYLE, "true"))
    return variables


def storage_volume(storage: StorageSettings) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The volume of a file store and its mount; None for S3."""
    if storage.provider != "file":
        return None
    source: dict[str, Any]
    if storage.volume_claim_name:
        source = {"persistentVolumeClaim": {"claimName": storage.volume_claim_name}}
    else:
        source = {"emptyDir": dict(storage.empty_dir)}
    return {"name": VOLUME, **source}, {"name": VOLUME, "mountPath": storage.path}


_CREDENTIALS: Final = (
    (env.S3_ACCESS_KEY_ID, "AWS_ACCESS_KEY_ID"),
    (env.S3_SECRET_ACCESS_KEY, "AWS_SECRET_ACCESS_KEY"),
    (env.S3_SESSION_TOKEN, "AWS_SESSION_TOKEN"),
)


def _plain(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value}
