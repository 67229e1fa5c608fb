"""Subresources other than status: scale, eviction, service account tokens."""

from __future__ import annotations

import copy
from typing import Any

from bobrapet.runtime.client.fake.tracker import VersionedTracker
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import NotFound
from bobrapet.runtime.scheme import GroupVersionResource


def scale_of(obj: dict[str, Any]) -> dict[str, Any]:
    """The autoscaling/v1 Scale of a workload."""
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": (obj.get("spec") or {}).get("replicas", 1)},
        "status": {"replicas": (obj.get("status") or {}).get("replicas", 0)},
    }


def with_scale(obj: dict[str, Any], scale: dict[str, Any]) -> dict[str, Any]:
    """The workload with the replicas that a Scale wants."""
    scaled = copy.deepcopy(obj)
    scaled.setdefault("spec", {})["replicas"] = (scale.get("spec") or {}).get("replicas", 0)
    scaled["metadata"]["resourceVersion"] = (scale.get("metadata") or {}).get("resourceVersion") or ""
    return scaled


def create_subresource(
    tracker: VersionedTracker,
    gvr: GroupVersionResource,
    key: ObjectKey,
    name: str,
    sent: dict[str, Any],
    *,
    dry_run: bool,
) -> dict[str, Any]:
    """A POST to a subresource."""
    found = tracker.get(gvr, key)
    if (gvr.resource, name) == ("pods", "eviction"):
        tracker.delete(gvr, key, dry_run=dry_run)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    if (gvr.resource, name) == ("serviceaccounts", "token"):
        seconds = (sent.get("spec") or {}).get("expirationSeconds", 3600)
        token = f"fake-token-of-{key.namespace}-{key.name}"
        return {**sent, "metadata": found["metadata"], "status": {"token": token, "expirationSeconds": seconds}}
    raise NotFound(f"the fake server has no subresource {name!r} of {gvr.resource} to create")
