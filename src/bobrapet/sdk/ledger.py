"""The two lists of a StepRun's status that a component appends to: `signalEvents` and `effects` (workloads 19).

Sequence numbers grow over all attempts of a step: the next one follows the largest that is recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

MAX_ENTRIES = 256  # what the CRD admits; the oldest go first

Entry = Mapping[str, Any]


def sequence(entries: Iterable[Entry]) -> int:
    """The number of the next entry."""
    return max((int(entry.get("seq") or 0) for entry in entries), default=0) + 1


def appended(entries: Iterable[Entry], new: Entry) -> list[Entry]:
    """With `new`, in the order of the numbers, the newest 256."""
    return sorted([*entries, new], key=lambda entry: int(entry.get("seq") or 0))[-MAX_ENTRIES:]


def summary(value: Any) -> dict[str, Any]:
    """What may be told of a value without telling the value: type, length, size, digest."""
    raw = msgspec.json.encode(value)
    told: dict[str, Any] = {"type": _type(value)}
    if isinstance(value, str | list | tuple | Mapping):
        told["details"] = {"len": len(value)}
    return told | {"sizeBytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def replacing(old: Any, new: Any) -> Any:
    """The merge patch that puts `new` in the place of `old`: keys of an object that it has not are removed."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    removed = {key: None for key in old if key not in new}
    return removed | {key: replacing(old.get(key), value) for key, value in new.items()}


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case _:
            return "map"
