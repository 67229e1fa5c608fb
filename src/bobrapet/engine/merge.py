"""Merging JSON: configuration over configuration, and the patch between two documents (RFC 7386)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top: objects merge at any depth, everything else of `over` replaces."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = deep_merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest JSON merge patch that makes `new` out of `old`; empty when they are equal.

    A merge patch cannot say null: members of `new` that are null come out as absent.
    """
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif (before := old[key]) != value:
            both = isinstance(before, Mapping) and isinstance(value, Mapping)
            patch[key] = merge_patch(before, value) if both else value
    return patch
