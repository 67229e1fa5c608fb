"""Strategic merge patch, as far as built-in kinds need it."""

from __future__ import annotations

import copy
from typing import Any

MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "ports": ("containerPort", "port"),
    "secrets": ("name",),
    "subjects": (),
    "tolerations": (),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists that are merged by a key of their entries (the first of these that an entry has). Others are replaced whole."""

MERGED_PRIMITIVES = frozenset({"finalizers"})
"""Lists of words of which the patch adds some."""


def strategic_merge(target: Any, patch: Any, field: str = "") -> Any:
    """Applies a patch and returns the result; the arguments stay as they are."""
    if isinstance(patch, dict):
        return _merge_map(target if isinstance(target, dict) else {}, patch)
    if isinstance(patch, list):
        return _merge_list(target if isinstance(target, list) else [], patch, field)
    return patch


def _merge_map(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    result = dict(target)
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            result[field] = [entry for entry in result.get(field) or () if entry not in value]
        elif key.startswith("$setElementOrder/") or key in ("$patch", "$retainKeys"):
            continue
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = strategic_merge(result.get(key), value, key)
    return result


def _merge_list(target: list[Any], patch: list[Any], field: str) -> list[Any]:
    if field in MERGED_PRIMITIVES:
        return [*patch, *(entry for entry in target if entry not in patch)]
    keys = MERGE_KEYS.get(field, ())
    if not keys or not all(isinstance(entry, dict) for entry in patch):
        return copy.deepcopy(patch)
    if any(entry == {"$patch": "replace"} for entry in patch):
        return [copy.deepcopy(entry) for entry in patch if entry != {"$patch": "replace"}]
    result = list(target)
    for entry in patch:
        at = _find(result, entry, keys)
        if entry.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(copy.deepcopy(entry))
        else:
            result[at] = _merge_map(result[at], entry)
    return result


def _find(entries: list[Any], wanted: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    key = next((key for key in keys if key in wanted), None)
    if key is None:
        return None
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.get(key) == wanted[key]:
            return index
    return None
