"""Copies the operator's storage Secret into the namespaces whose steps use the operator's store (workloads 10.5).

Only that one Secret is ever copied, and only over a copy of the same origin. A Secret of the name that a user has put
there himself is left alone: it is used when it has the keys, and refused when it has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from bobrapet.api import env, labels
from bobrapet.config.storage import StorageSettings
from bobrapet.reconcilers import apply
from bobrapet.reconcilers.builtin import Secret
from bobrapet.reconcilers.operator import Operator
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.storage import AccessDenied

FRESH_FOR: Final = timedelta(minutes=1)
"""How long a copy counts as right without looking; new credentials reach new steps within this time."""

KEYS: Final = (env.AWS_ACCESS_KEY_ID, env.AWS_SECRET_ACCESS_KEY)


class StorageSecrets:
    """Remembers which copies were looked at a moment ago."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], datetime] = {}

    async def ensure(self, operator: Operator, settings: StorageSettings | None, namespace: str) -> None:
        """Makes the Secret that a step's pods read. Raises AccessDenied, saying what to do, when it cannot be."""
        source_namespace = operator.stores.config_namespace
        if settings is None or not settings.is_operator_secret or namespace == source_namespace:
            return
        place, now = (namespace, settings.secret_name), operator.clock.now()
        if place in self._seen and now - self._seen[place] < FRESH_FOR:
            return
        await _ensure(operator, ObjectKey(source_namespace, settings.secret_name), namespace)
        self._seen[place] = now


async def _ensure(operator: Operator, source: ObjectKey, namespace: str) -> None:
    found = await get_or_none(operator.live, Secret, source)
    if found is None:
        raise AccessDenied(
            f'Secret "{source}" with the credentials of the operator\'s storage does not exist; create it, or correct '
            "controller.storage.s3.auth-secret-name"
        )
    wanted = _copy(found.object, source, namespace)
    key = ObjectKey(namespace, source.name)
    existing = await get_or_none(operator.live, Secret, key)
    if existing is None:
        if await apply.create(operator.client, Secret(wanted)):
            return
        existing = await operator.live.get(Secret, key)
    annotations = existing.metadata.annotations or {}
    if annotations.get(labels.ANNOTATION_MANAGED_STORAGE_SECRET) != "true":
        if not all((existing.object.get("data") or {}).get(name) for name in KEYS):
            raise AccessDenied(
                f'Secret "{key}" is not a copy of the operator\'s storage Secret and lacks {" and ".join(KEYS)}; '
                "add the keys, or delete it so that the copy can take its place"
            )
        return
    origin = annotations.get(labels.ANNOTATION_MANAGED_STORAGE_SECRET_SOURCE)
    if origin != str(source):
        raise AccessDenied(f'Secret "{key}" is a copy of "{origin}", not of "{source}"; delete it')
    if existing.object.get("type") != wanted["type"]:
        # A type cannot be changed, and deleting Secrets is a right that the operator does without.
        raise AccessDenied(f'Secret "{key}" is a copy of "{source}", which has another type by now; delete the copy')
    if existing.object.get("data") != wanted["data"]:
        gone = dict.fromkeys(set(existing.object.get("data") or {}) - set(wanted["data"]))
        await operator.client.patch(existing, apply.merge_patch({"data": {**gone, **wanted["data"]}}))


def _copy(source: Mapping[str, Any], origin: ObjectKey, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": origin.name,
            "namespace": namespace,
            "labels": {labels.APP_NAME: "bobrapet"},
            "annotations": {
                labels.ANNOTATION_MANAGED_STORAGE_SECRET: "true",
                labels.ANNOTATION_MANAGED_STORAGE_SECRET_SOURCE: str(origin),
            },
        },
        "type": source.get("type") or "Opaque",
        "data": dict(source.get("data") or {}),
    }
