"""Keeps the account that a Story's step pods run under (spec workloads 12, decision 19)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from bobrapet.api import Story, labels
from bobrapet.reconcilers.apply import merge_patch
from bobrapet.reconcilers.builtin import Role, RoleBinding, ServiceAccount
from bobrapet.reconcilers.metrics import Meter
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.rbac import Rule
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.errors import AlreadyExists
from bobrapet.workloads.identity import Identity

RBAC: Final = (
    Rule("", ("serviceaccounts",), ("create", "get", "list", "patch", "watch")),
    Rule(
        "rbac.authorization.k8s.io", ("roles",), ("bind", "create", "escalate", "get", "list", "patch", "watch")
    ),  # bind and escalate: a Role may grant what templates ask for and the manager itself does not have
    Rule("rbac.authorization.k8s.io", ("rolebindings",), ("create", "get", "list", "patch", "watch")),
)

_WANTED: Final = {
    "ServiceAccount": ("metadata.annotations",),
    "Role": ("rules",),
    "RoleBinding": ("roleRef", "subjects"),
}


class ForeignIdentity(Exception):
    """An object with the runner's name belongs to somebody else; it is never adopted (workloads R-12.2)."""


async def ensure_identity(operator: Operator, story: Story, identity: Identity, meter: Meter | None = None) -> None:
    """Creates what is missing and corrects what differs; reads the cache, so that usually nothing is sent."""
    kinds = (ServiceAccount, Role, RoleBinding)
    outcomes = await asyncio.gather(
        *(_ensure(operator, story, kind, wanted) for kind, wanted in zip(kinds, identity.objects, strict=True))
    )
    if meter is not None:
        for kind, operation in zip(kinds, outcomes, strict=True):
            meter.identity(kind.KIND, operation)


async def _ensure(operator: Operator, story: Story, kind: type[Unstructured], wanted: dict[str, Any]) -> str:
    """Says what it did: created, updated or unchanged."""
    key = ObjectKey(wanted["metadata"]["namespace"], wanted["metadata"]["name"])
    found = await get_or_none(operator.client, kind, key)
    if found is None:
        try:
            await operator.client.create(kind(wanted))
            return "created"
        except AlreadyExists:
            # The cache holds labelled objects only; without our label it is somebody else's, or the cache is late.
            found = await operator.live.get(kind, key)
    _check_owner(found, wanted, story)
    if difference := _difference(found.object, wanted):
        await operator.client.patch(found, merge_patch(difference, found.metadata.resource_version))
        return "updated"
    return "unchanged"


def _check_owner(found: Unstructured, wanted: Mapping[str, Any], story: Story) -> None:
    owned = wanted["metadata"].get("ownerReferences", [])
    uids = {owner.uid for owner in found.metadata.owner_references or []}
    ours = (found.metadata.labels or {}).get(labels.APP_NAME) == "bobrapet"
    if (owned and story.metadata.uid not in uids) or not ours:
        raise ForeignIdentity(
            f"{found.kind} {found.metadata.namespace}/{found.metadata.name} does not belong to Story"
            f" {story.metadata.name}; delete or rename it, so that the steps' account can take the name"
        )


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes the parts that we own as wanted."""
    patch: dict[str, Any] = {}
    for path in _WANTED[wanted["kind"]]:
        *parents, last = path.split(".")
        have, want, into = found, wanted, patch
        for parent in parents:
            have, want = have.get(parent) or {}, want.get(parent) or {}
        value: Any = want.get(last) if have.get(last) != want.get(last) else None
        if last == "annotations":
            value = _annotations(have.get(last) or {}, want.get(last) or {})
        if value:
            for parent in parents:
                into = into.setdefault(parent, {})
            into[last] = value
    return patch


def _annotations(have: Mapping[str, str], want: Mapping[str, str]) -> dict[str, str | None]:
    """Changed annotations; those that we managed earlier and no longer want become None (workloads R-12.1)."""
    managed = labels.ANNOTATION_MANAGED_STORAGE_ANNOTATIONS
    gone = {key for key in (have.get(managed) or "").split(",") if key and key not in want}
    if managed in have and managed not in want:
        gone.add(managed)
    changed: dict[str, str | None] = {key: value for key, value in want.items() if have.get(key) != value}
    return changed | dict.fromkeys(sorted(gone & set(have)))
