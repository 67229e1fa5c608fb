"""Sets of fields, as `metadata.managedFields` lists them (FieldsV1).

A field is a path of words: `f:<name>` for a member, `k:<keys>` for the entry of a list with keys, `v:<value>` for an
element of a set. A path that is a beginning of others stands for the entry itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

Path = tuple[str, ...]

LIST_KEYS: dict[str, tuple[str, ...]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "ports": ("containerPort", "protocol"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists whose entries are owned one by one, known by these keys. All others are owned whole."""

SETS = frozenset({"finalizers"})
"""Lists whose elements are owned one by one."""

OWNED_METADATA = frozenset({"labels", "annotations", "finalizers", "ownerReferences"})
"""The metadata that has owners; the rest is the server's."""

DEFAULT_KEYS = {"protocol": "TCP"}


def list_keys(field: str, entries: list[Any]) -> tuple[str, ...]:
    """The keys of a list, if its entries have them."""
    keys = LIST_KEYS.get(field, ())
    return keys if keys and all(isinstance(entry, dict) and keys[0] in entry for entry in entries) else ()


def element(entry: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The word for an entry of a list with keys."""
    names = {key: entry.get(key, DEFAULT_KEYS.get(key)) for key in keys}
    return "k:" + msgspec.json.encode({k: v for k, v in names.items() if v is not None}, order="sorted").decode()


def fields_of(obj: dict[str, Any]) -> set[Path]:
    """The fields that an object sets, without those that only name it."""
    found: set[Path] = set()
    for name, value in obj.items():
        if name in ("apiVersion", "kind"):
            continue
        if name == "metadata":
            value = {key: inner for key, inner in value.items() if key in OWNED_METADATA}
            if not value:
                continue
        _collect(value, name, (f"f:{name}",), found)
    return found


def _collect(value: Any, field: str, path: Path, found: set[Path]) -> None:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            _collect(inner, name, (*path, f"f:{name}"), found)
    elif isinstance(value, list) and field in SETS:
        found.update((*path, "v:" + msgspec.json.encode(entry).decode()) for entry in value)
    elif isinstance(value, list) and (keys := list_keys(field, value)):
        for entry in value:
            at = (*path, element(entry, keys))
            found.add(at)
            _collect(entry, "", at, found)
    else:
        found.add(path)


def encode(fields: Iterable[Path]) -> dict[str, Any]:
    """The FieldsV1 object of a set."""
    tree: dict[str, Any] = {}
    for path in sorted(fields):
        node = tree
        for word in path:
            node = node.setdefault(word, {})
        node["."] = {}
    return _without_leaf_marks(tree)


def _without_leaf_marks(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        word: {} if inner == {".": {}} else inner if word == "." else _without_leaf_marks(inner)
        for word, inner in tree.items()
    }


def decode(tree: dict[str, Any]) -> set[Path]:
    """The set of a FieldsV1 object."""
    found: set[Path] = set()
    _walk(tree, (), found)
    return found


def _walk(tree: dict[str, Any], path: Path, found: set[Path]) -> None:
    for word, inner in tree.items():
        if word == ".":
            found.add(path)
        elif not inner:
            found.add((*path, word))
        else:
            _walk(inner, (*path, word), found)


def value_at(obj: Any, path: Path) -> Any:
    """The value of a field; None where there is none."""
    for word in path:
        kind, _, text = word.partition(":")
        if kind == "f":
            obj = obj.get(text) if isinstance(obj, dict) else None
        else:
            index = _index(obj, kind, text)
            obj = None if index is None else obj[index]
        if obj is None:
            return None
    return obj


def remove(obj: Any, path: Path) -> None:
    """Takes a field out, in place, and the maps and lists that become empty by it."""
    word, rest = path[0], path[1:]
    kind, _, text = word.partition(":")
    if kind == "f":
        if not isinstance(obj, dict) or text not in obj:
            return
        if rest:
            remove(obj[text], rest)
        if not rest or obj[text] == {} or obj[text] == []:
            del obj[text]
        return
    index = _index(obj, kind, text)
    if index is None:
        return
    if rest:
        remove(obj[index], rest)
    else:
        del obj[index]


def _index(entries: Any, kind: str, text: str) -> int | None:
    if not isinstance(entries, list):
        return None
    wanted = msgspec.json.decode(text)
    for index, entry in enumerate(entries):
        if kind == "v" and entry == wanted:
            return index
        if kind == "k" and isinstance(entry, dict) and _has(entry, wanted):
            return index
    return None


def _has(entry: dict[str, Any], keys: dict[str, Any]) -> bool:
    return all(entry.get(key, DEFAULT_KEYS.get(key)) == value for key, value in keys.items())


def name(path: Path) -> str:
    """A path as conflict messages write it: `.spec.containers[name="a"].image`."""
    text = ""
    for word in path:
        kind, _, rest = word.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            pairs = msgspec.json.decode(rest).items()
            text += "[" + ",".join(f"{key}={msgspec.json.encode(value).decode()}" for key, value in pairs) + "]"
        else:
            text += f"[={rest}]"
    return text
