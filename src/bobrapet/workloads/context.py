"""What a component may see of its surroundings: the template context, cut down to what an environment can hold.

Rule: spec workloads R-7.6 with our correction (the limit applies to `inputs` and to each step, never to the root).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

MAX_PART: Final = 64 * 1024
MAX_TOTAL: Final = 96 * 1024
"""One environment variable holds at most 128 KiB on Linux; a component that needs more gets storage references."""

_REFERENCE_KEYS: Final = (
    "$bubuStorageRef",
    "$bubuStoragePath",
    "$bubuStorageContentType",
    "$bubuStorageSchema",
    "$bubuStorageSchemaVersion",
)


def compact(context: Mapping[str, Any]) -> dict[str, Any]:
    """`{"inputs": ..., "steps": {...}}` with every part that is too large replaced by a note of its size."""
    inputs = _compacted(context.get("inputs", {}))
    steps = {name: _compacted(step) for name, step in context.get("steps", {}).items()}
    sizes = {name: _size(step) for name, step in steps.items()}
    total = _size(inputs) + sum(sizes.values())
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if total <= MAX_TOTAL:
            break
        note = _omitted(steps[name], sizes[name])
        total += _size(note) - sizes[name]
        steps[name] = note
    return {"inputs": inputs, "steps": steps}


def _compacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "$bubuStorageRef" in value:
            return {key: value[key] for key in _REFERENCE_KEYS if key in value}
        if (size := _size(value)) > MAX_PART:
            smaller = {key: _compacted(member) for key, member in value.items()}
            return smaller if _size(smaller) <= MAX_PART else _omitted(value, size)
    elif isinstance(value, list) and (size := _size(value)) > MAX_PART:
        return _omitted(value, size)
    return value


def _omitted(value: Any, size: int) -> dict[str, Any]:
    return {
        "$bubuOmitted": True,
        "reason": "template_context_size_limit",
        "type": "array" if isinstance(value, list) else "map",
        "sizeBytes": size,
        "hasStorageRef": b'"$bubuStorageRef"' in msgspec.json.encode(value),
    }


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))
