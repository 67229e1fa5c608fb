"""Strategic merge patch: a merge patch that knows which lists are sets of named things.

Directives: `$patch` (delete, replace, merge), `$retainKeys`, `$deleteFromPrimitiveList/FIELD` and
`$setElementOrder/FIELD`.
"""

from __future__ import annotations

from typing import Any

from bobrapet.local.apiserver import errors
from bobrapet.local.apiserver.schema import Schema
from bobrapet.local.apiserver.types import Object

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def merge(target: Object, patch: Object, schema: Schema) -> Object:
    """The result of a strategic merge patch; shares what it does not change with its arguments."""
    return _merge_object(target, patch, schema)


def _merge_object(target: Object, patch: Object, schema: Schema | None) -> Object:
    match patch.get(_PATCH):
        case "replace":
            return dict(_plain({name: value for name, value in patch.items() if name != _PATCH}))
        case "delete":
            return {}
    merged = dict(target)
    if (keys := patch.get(_RETAIN)) is not None:
        merged = {name: value for name, value in merged.items() if name in keys}
    for name, value in patch.items():
        if name.startswith(_DELETE):
            field = name.removeprefix(_DELETE)
            merged[field] = [item for item in merged.get(field) or [] if item not in value]
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        child = schema.child(name) if schema is not None else None
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            before = merged.get(name)
            merged[name] = _merge_object(before if isinstance(before, dict) else {}, value, child)
        elif isinstance(value, list):
            before = merged.get(name)
            merged[name] = _merge_list(before if isinstance(before, list) else [], value, child)
        else:
            merged[name] = value
    for name, value in patch.items():
        if name.startswith(_ORDER):
            field = name.removeprefix(_ORDER)
            if isinstance(merged.get(field), list):
                child = schema.child(field) if schema is not None else None
                key = child.merge_key if child is not None else ""
                before = target.get(field)
                order = [entry.get(key) if isinstance(entry, dict) else entry for entry in value]
                merged[field] = _ordered(before if isinstance(before, list) else [], merged[field], order, key)
    return merged


def _merge_list(target: list[Any], patch: list[Any], schema: Schema | None) -> list[Any]:
    if schema is None or not schema.merge:
        return [_plain(item) for item in patch]
    if not schema.merge_key:
        return _ordered(target, target + [item for item in patch if item not in target], patch, "")
    if any(isinstance(item, dict) and item.get(_PATCH) == "replace" and len(item) == 1 for item in patch):
        return [_plain(item) for item in patch if item.get(_PATCH) != "replace"]
    merged = list(target)
    for item in patch:
        if not isinstance(item, dict) or schema.merge_key not in item:
            raise errors.ApiError(500, "", f"map: {_go(item)} does not contain declared merge key: {schema.merge_key}")
        identity = item[schema.merge_key]
        found = [i for i, old in enumerate(merged) if isinstance(old, dict) and old.get(schema.merge_key) == identity]
        if item.get(_PATCH) == "delete":
            merged = [old for i, old in enumerate(merged) if i not in found]
        elif found:
            merged[found[0]] = _merge_object(merged[found[0]], item, schema.items)
        else:
            merged.append(_plain(item))
    order = [item[schema.merge_key] for item in patch if isinstance(item, dict)]
    return _ordered(target, merged, order, schema.merge_key)


def _ordered(before: list[Any], items: list[Any], order: list[Any], key: str) -> list[Any]:
    """Items in the order of the patch, merged with the others in the order they had.

    Where the former order decides nothing (an item is new), what the patch names comes first.
    """

    def identity(item: Any) -> Any:
        return item.get(key) if isinstance(item, dict) and key else item

    places = [identity(item) for item in before]

    def place(item: Any) -> int:
        return places.index(identity(item)) if identity(item) in places else -1

    named = sorted((item for item in items if identity(item) in order), key=lambda item: order.index(identity(item)))
    others = sorted((item for item in items if identity(item) not in order), key=place)
    result: list[Any] = []
    while named and others:
        first = named if place(named[0]) == -1 or place(named[0]) < place(others[0]) else others
        result.append(first.pop(0))
    return result + named + others


def _go(item: Any) -> str:
    """A map as Go prints it."""
    if isinstance(item, dict):
        return "map[" + " ".join(f"{name}:{_go(item[name])}" for name in sorted(item)) + "]"
    return str(item)


def _plain(value: Any) -> Any:
    """A value of a patch without directives and nulls: what is new needs neither."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None and not name.startswith("$")}
    if isinstance(value, list):
        return [
            _plain(item) for item in value if not (isinstance(item, dict) and item.get(_PATCH) in ("delete", "replace"))
        ]
    return value
