"""What of an object goes over the wire, as the Accept header asks."""

from __future__ import annotations

from typing import Any

from bobrapet.runtime.scheme import GroupVersionKind

_PARTIAL = "as=PartialObjectMetadata"


def represent(obj: dict[str, Any], accept: str) -> dict[str, Any]:
    """The object, or its metadata only."""
    if _PARTIAL not in accept or obj.get("kind") == "Status":
        return obj
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def represent_list(
    gvk: GroupVersionKind, items: list[dict[str, Any]], metadata: dict[str, Any], accept: str
) -> dict[str, Any]:
    """A list, of objects or of their metadata."""
    if _PARTIAL in accept:
        kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
    else:
        kind, api_version = f"{gvk.kind}List", gvk.api_version
    return {
        "kind": kind,
        "apiVersion": api_version,
        "metadata": metadata,
        "items": [represent(obj, accept) for obj in items],
    }
