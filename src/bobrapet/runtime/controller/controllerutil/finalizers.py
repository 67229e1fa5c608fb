"""Finalizers: names in an object's metadata that keep it until their owner has cleaned up (spec runtime CU-10).

All functions change `obj` in place and send nothing; the caller writes it.
"""

from __future__ import annotations

from typing import Any

from bobrapet.runtime.client.object import metadata_dict, replace_metadata


def contains_finalizer(obj: Any, finalizer: str) -> bool:
    return finalizer in (obj.metadata.finalizers or ())


def add_finalizer(obj: Any, finalizer: str) -> bool:
    """Adds the name at the end. Returns whether that changed anything."""
    if contains_finalizer(obj, finalizer):
        return False
    _replace(obj, [*(obj.metadata.finalizers or ()), finalizer])
    return True


def remove_finalizer(obj: Any, finalizer: str) -> bool:
    """Removes the name, however often it is there. Returns whether that changed anything."""
    if not contains_finalizer(obj, finalizer):
        return False
    _replace(obj, [name for name in obj.metadata.finalizers if name != finalizer])
    return True


def _replace(obj: Any, finalizers: list[str]) -> None:
    raw = dict(metadata_dict(obj))
    raw["finalizers"] = finalizers
    replace_metadata(obj, raw)
