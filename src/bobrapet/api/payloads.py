"""The reference that stands for an offloaded value, and the selector that reads into it (spec workloads 10.2).

{"$bubuStorageRef": "outputs/team-a/run1-fetch/items.json", "$bubuStoragePath": "[0].name"}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bobrapet.api import env

CONTENT_JSON: Final = "application/json"
CONTENT_TEXT: Final = "text/plain"

Segment = str | int | None
"""A field, an index, or None for every member (`[*]`)."""

_TOKEN: Final = re.compile(r"\.?([^.\[\]]+)|\[(?:(\d+)|(\*)|\"((?:[^\"\\]|\\.)*)\")\]")
_SHOWN_KEYS: Final = 8


class SelectorError(ValueError):
    """A `$bubuStoragePath` that cannot be read, or that leads nowhere in the data."""


@dataclass(frozen=True, slots=True)
class PayloadReference:
    """Where an offloaded value lies."""

    path: str
    """Path of the object in the store, as it was written; nothing is said about whether it is safe."""
    selector: str = ""
    """The part of the object that is meant; empty: all of it."""
    content_type: str = ""
    schema: str = ""
    schema_version: str = ""

    @classmethod
    def parse(cls, value: Any) -> PayloadReference | None:
        """The reference that `value` is, or None. A map with any other key is data, whatever it holds."""
        if not isinstance(value, Mapping) or env.STORAGE_REF not in value:
            return None
        if not value.keys() <= env.STORAGE_REF_KEYS or not all(isinstance(part, str) for part in value.values()):
            return None
        return cls(
            path=value[env.STORAGE_REF],
            selector=value.get(env.STORAGE_PATH_KEY, ""),
            content_type=value.get(env.STORAGE_CONTENT_TYPE, ""),
            schema=value.get(env.STORAGE_SCHEMA, ""),
            schema_version=value.get(env.STORAGE_SCHEMA_VERSION, ""),
        )

    def to_wire(self) -> dict[str, str]:
        """The object that replaces the value."""
        parts = {
            env.STORAGE_REF: self.path,
            env.STORAGE_PATH_KEY: self.selector,
            env.STORAGE_CONTENT_TYPE: self.content_type,
            env.STORAGE_SCHEMA: self.schema,
            env.STORAGE_SCHEMA_VERSION: self.schema_version,
        }
        return {key: part for key, part in parts.items() if part}


def select(value: Any, selector: str) -> Any:
    """The part of `value` that a selector means: fields `a.b`, indexes `[0]`, every member `[*]`.

    Below a `[*]`, members that do not have the rest of the path become null; elsewhere a path that leads nowhere
    raises SelectorError, which names the keys that exist.
    """
    return _walk(value, _segments(selector), 0, selector, is_lenient=False) if selector else value


def _segments(selector: str) -> list[Segment]:
    segments: list[Segment] = []
    position = 0
    while position < len(selector):
        found = _TOKEN.match(selector, position)
        if found is None:
            raise SelectorError(
                f"cannot read the path {selector!r} from character {position + 1} on; write a.b, a[0], a[*].b"
            )
        field, index, every, quoted = found.groups()
        if every is not None:
            segments.append(None)
        elif index is not None:
            segments.append(int(index))
        else:
            segments.append(field if field is not None else re.sub(r"\\(.)", r"\1", quoted))
        position = found.end()
    return segments


def _walk(value: Any, segments: list[Segment], number: int, selector: str, *, is_lenient: bool) -> Any:
    for position in range(number, len(segments)):
        segment = segments[position]
        if segment is None and isinstance(value, list):
            return [_walk(member, segments, position + 1, selector, is_lenient=True) for member in value]
        if segment is not None and _leads_on(value, segment):
            value = value[segment]
        elif is_lenient:
            return None
        else:
            raise SelectorError(f"the path {selector!r} leads nowhere: {_missing(value, segment)}")
    return value


def _leads_on(value: Any, segment: str | int) -> bool:
    if isinstance(segment, int):
        return isinstance(value, list) and segment < len(value)
    return isinstance(value, Mapping) and segment in value


def _missing(value: Any, segment: Segment) -> str:
    if isinstance(value, Mapping) and isinstance(segment, str):
        known = sorted(map(str, value))[:_SHOWN_KEYS]
        return f"there is no {segment!r} (known: {', '.join(known) or 'nothing'})"
    if isinstance(value, list) and isinstance(segment, int):
        return f"there is no [{segment}] (the list has {len(value)})"
    wanted = "a list" if not isinstance(segment, str) else "an object"
    found = "null" if value is None else "an object" if isinstance(value, Mapping) else type(value).__name__
    return f"{'[*]' if segment is None else segment!r} needs {wanted}, there is {found}"
