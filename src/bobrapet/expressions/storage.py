"""References to data that lives in object storage (spec expressions 4, 6.1, 9.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bobrapet.expressions.limits import Run

REF = "$bubuStorageRef"
PATH = "$bubuStoragePath"


def is_reference(value: Any) -> bool:
    """Whether a value is an object with a non-blank string at `$bubuStorageRef`."""
    if not isinstance(value, dict):
        return False
    ref = value.get(REF)
    return isinstance(ref, str) and bool(ref.strip())


def reference_text(value: dict[str, Any]) -> str:
    """The reference and its path as `type_of` shows them."""
    path = value.get(PATH)
    if not isinstance(path, str) or not path:
        return str(value[REF])
    return f"{value[REF]}{'' if path[0] in '.[' else '.'}{path}"


def selector(value: dict[str, Any], rest: Iterable[str | int], *, carry: bool) -> dict[str, Any]:
    """Returns a reference to a part of the data; with `carry`, below the path that the reference already has."""
    path = value.get(PATH, "") if carry else ""
    for segment in rest:
        if isinstance(segment, int):
            path += f"[{segment}]"
        else:
            path += f".{segment}" if path else segment
    return {REF: value[REF], PATH: path}


def holds_reference(value: Any, run: Run) -> bool:
    """Whether `$bubuStorageRef` occurs in `value` at any depth."""
    if not isinstance(value, (dict, list)):
        return False
    pending = [value]
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if REF in value:
                return True
            elements: Iterable[Any] = value.values()
        else:
            elements = value
        inner = [element for element in elements if isinstance(element, (dict, list))]
        if inner:
            for element in inner:
                if id(element) not in seen:
                    seen.add(id(element))
                    pending.append(element)
            run.check_time()
    return False
