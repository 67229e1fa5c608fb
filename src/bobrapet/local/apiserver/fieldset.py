"""Sets of fields in the `FieldsV1` form: a tree of `f:NAME`, `k:{KEYS}`, `v:VALUE` and `.` (the thing itself).

A set is a plain dict, so that it is stored as it is. Functions return new sets and leave their arguments alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bobrapet.local.apiserver.schema import Schema
from bobrapet.local.apiserver.types import Object

FieldSet = dict[str, Any]
SELF = "."


def fields_of(value: Object, schema: Schema | None) -> FieldSet:
    """The fields that an object sets."""
    return {f"f:{name}": _fields(item, _child(schema, name)) for name, item in value.items()}


def changed(old: Object, new: Object, schema: Schema | None) -> tuple[FieldSet, FieldSet]:
    """(added or modified, removed) fields between two objects."""
    touched: FieldSet = {}
    removed: FieldSet = {}
    _compare_objects(old, new, schema, touched, removed)
    return touched, removed


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """Fields in either."""
    merged = dict(a)
    for key, sub in b.items():
        merged[key] = union(merged[key], sub) if key in merged else sub
    return merged


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """Fields of `a` that are not in `b`."""
    kept: FieldSet = {}
    for key, sub in a.items():
        other = b.get(key)
        if other is None:
            kept[key] = sub
        elif sub:
            # A leaf of `b` is the whole thing: it covers what is below.
            rest = difference(sub, other) if other else {}
            if rest:
                kept[key] = rest
    return kept


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    """Fields in both."""
    common: FieldSet = {}
    for key, sub in a.items():
        other = b.get(key)
        if other is None:
            continue
        if not sub or not other:
            common[key] = sub or other
        elif rest := intersection(sub, other):
            common[key] = rest
    return common


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """The fields as messages write them: `.spec.containers[name="a"].image`."""
    for key, sub in fields.items():
        if key == SELF:
            yield prefix or "."
            continue
        path = prefix + _shown(key)
        if sub:
            yield from paths(sub, path)
        else:
            yield path


def merged(live: Object, applied: Object, schema: Schema | None) -> Object:
    """The live object with the fields of an applied one."""
    result = dict(live)
    for name, value in applied.items():
        result[name] = _merged(result.get(name), value, _child(schema, name))
    return result


def removed(value: Object, fields: FieldSet, schema: Schema | None) -> Object:
    """The object without the fields of a set; maps and lists that become empty by this go too."""
    result = dict(value)
    for key, sub in fields.items():
        name = key[2:]
        if not key.startswith("f:") or name not in result:
            continue
        if not sub:
            del result[name]
            continue
        item = _removed(result[name], sub, _child(schema, name))
        if item is None:
            del result[name]
        else:
            result[name] = item
    return result


def _child(schema: Schema | None, name: str) -> Schema | None:
    return schema.child(name) if schema is not None else None


def _fields(value: Any, schema: Schema | None) -> FieldSet:
    if schema is not None and schema.atomic:
        return {}
    if isinstance(value, dict):
        return fields_of(value, schema)
    if isinstance(value, list) and schema is not None:
        if schema.list_keys:
            return {
                key: {SELF: {}, **fields_of(item, schema.items)}
                for key, item in _keyed(value, schema).items()
                if isinstance(item, dict)
            }
        if schema.list_set:
            return {f"v:{_json(item)}": {} for item in value}
    return {}


def _keyed(value: list[Any], schema: Schema) -> dict[str, Any]:
    """The items of an associative list by the name of their path element."""
    items = schema.items
    result = {}
    for item in value:
        if not isinstance(item, dict):
            continue
        identity = {}
        for name in sorted(schema.list_keys):
            if name in item:
                identity[name] = item[name]
            elif items is not None and (field := items.properties.get(name)) is not None and field.has_default:
                identity[name] = field.default
        result[f"k:{_json(identity)}"] = item
    return result


def _compare_objects(old: Object, new: Object, schema: Schema | None, touched: FieldSet, gone: FieldSet) -> None:
    for name, value in new.items():
        child = _child(schema, name)
        if name not in old:
            touched[f"f:{name}"] = _added(value, child)
        elif old[name] != value:
            _compare(old[name], value, child, f"f:{name}", touched, gone)
    for name, value in old.items():
        if name not in new:
            gone[f"f:{name}"] = _added(value, _child(schema, name))


def _added(value: Any, schema: Schema | None) -> FieldSet:
    fields = _fields(value, schema)
    return {SELF: {}, **fields} if fields and (schema is None or schema.additional is not None) else fields


def _compare(old: Any, new: Any, schema: Schema | None, key: str, touched: FieldSet, gone: FieldSet) -> None:
    below: FieldSet = {}
    lost: FieldSet = {}
    if schema is not None and schema.atomic:
        touched[key] = {}
        return
    if isinstance(old, dict) and isinstance(new, dict):
        _compare_objects(old, new, schema, below, lost)
    elif isinstance(old, list) and isinstance(new, list) and schema is not None and schema.list_keys:
        before, after = _keyed(old, schema), _keyed(new, schema)
        for name, item in after.items():
            if name not in before:
                below[name] = {SELF: {}, **fields_of(item, schema.items)}
            elif before[name] != item:
                _compare(before[name], item, schema.items, name, below, lost)
        lost.update(
            {name: {SELF: {}, **fields_of(item, schema.items)} for name, item in before.items() if name not in after}
        )
    elif isinstance(old, list) and isinstance(new, list) and schema is not None and schema.list_set:
        below.update({f"v:{_json(item)}": {} for item in new if item not in old})
        lost.update({f"v:{_json(item)}": {} for item in old if item not in new})
    else:
        touched[key] = {}
        return
    if below:
        touched[key] = below
    if lost:
        gone[key] = lost


def _merged(live: Any, applied: Any, schema: Schema | None) -> Any:
    if schema is not None and schema.atomic:
        return applied
    if isinstance(live, dict) and isinstance(applied, dict):
        return merged(live, applied, schema)
    if isinstance(live, list) and isinstance(applied, list) and schema is not None:
        if schema.list_keys:
            before, after = _keyed(live, schema), _keyed(applied, schema)
            kept = [_merged(item, after[key], schema.items) if key in after else item for key, item in before.items()]
            return kept + [item for key, item in after.items() if key not in before]
        if schema.list_set:
            return live + [item for item in applied if item not in live]
    return applied


def _removed(value: Any, fields: FieldSet, schema: Schema | None) -> Any:
    """What remains of a value; None when nothing does."""
    if isinstance(value, dict):
        return removed(value, fields, schema) or None
    if isinstance(value, list) and schema is not None:
        if schema.list_keys:
            kept = []
            for key, item in _keyed(value, schema).items():
                sub = fields.get(key)
                if sub is None:
                    kept.append(item)
                elif SELF not in sub and sub:
                    kept.append(removed(item, sub, schema.items))
            return kept or None
        if schema.list_set:
            return [item for item in value if f"v:{_json(item)}" not in fields] or None
    return value


def _shown(key: str) -> str:
    kind, _, rest = key.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        pairs = json.loads(rest)
        return "[" + ",".join(f"{name}={_json(value)}" for name, value in pairs.items()) + "]"
    return f"[={rest}]"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
