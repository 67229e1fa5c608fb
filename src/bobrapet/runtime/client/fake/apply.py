"""Server-side apply, and who owns which field (spec runtime FK-4)."""

from __future__ import annotations

import copy
from typing import Any

from bobrapet.runtime.client.fake import fieldset
from bobrapet.runtime.client.fake.fieldset import Path
from bobrapet.runtime.errors import Conflict

Owner = tuple[str, str, str]
"""Manager, operation (Apply or Update), subresource."""

Owners = dict[Owner, set[Path]]


def owners_of(obj: dict[str, Any]) -> Owners:
    """The owners that an object lists."""
    entries = obj.get("metadata", {}).get("managedFields") or ()
    return {_owner(entry): fieldset.decode(entry.get("fieldsV1") or {}) for entry in entries}


def _owner(entry: dict[str, Any]) -> Owner:
    return entry["manager"], entry["operation"], entry.get("subresource", "")


def write_owners(obj: dict[str, Any], owners: Owners, time: str) -> None:
    """Lists owners in an object, in place."""
    metadata = obj.setdefault("metadata", {})
    known = {_owner(entry): entry for entry in metadata.get("managedFields") or ()}
    entries = []
    for owner, fields in owners.items():
        if not fields:
            continue
        manager, operation, subresource = owner
        encoded = fieldset.encode(fields)
        before = known.get(owner)
        if before is not None and before.get("fieldsV1") == encoded:
            entries.append(before)
            continue
        entry = {
            "manager": manager,
            "operation": operation,
            "apiVersion": obj.get("apiVersion"),
            "time": time,
            "fieldsType": "FieldsV1",
            "fieldsV1": encoded,
        }
        if subresource:
            entry["subresource"] = subresource
        entries.append(entry)
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)


def apply(
    current: dict[str, Any], wanted: dict[str, Any], manager: str, *, force: bool, time: str, subresource: str = ""
) -> dict[str, Any]:
    """The object after `manager` applied `wanted` to it. Raises `Conflict` naming the owners of what differs."""
    me = (manager, "Apply", subresource)
    owners = owners_of(current)
    fields = fieldset.fields_of(wanted)
    conflicts = _conflicts(current, wanted, fields, owners, me)
    if conflicts and not force:
        raise _conflict(conflicts)
    for owner, path in conflicts:
        owners[owner].discard(path)
    result: dict[str, Any] = _merge(copy.deepcopy(current), wanted, "")
    mine_before = owners.get(me, set())
    others = set().union(*(theirs for owner, theirs in owners.items() if owner != me))
    for path in sorted(mine_before - fields - others, key=len, reverse=True):
        fieldset.remove(result, path)
    owners[me] = fields
    write_owners(result, owners, time)
    return result


def record_update(
    before: dict[str, Any] | None, after: dict[str, Any], manager: str, time: str, subresource: str = ""
) -> None:
    """Makes `manager` the owner of what a create, update or patch changed, in place in `after`."""
    owners = owners_of(before) if before is not None else {}
    present = fieldset.fields_of(after)
    changed = {
        path for path in present if before is None or fieldset.value_at(before, path) != fieldset.value_at(after, path)
    }
    me = (manager, "Update", subresource)
    for owner, fields in owners.items():
        fields &= present
        if owner != me:
            fields -= changed
    owners[me] = owners.get(me, set()) | changed
    after.setdefault("metadata", {})["managedFields"] = copy.deepcopy(
        (before or {}).get("metadata", {}).get("managedFields") or []
    )
    write_owners(after, owners, time)


def _conflicts(
    current: dict[str, Any], wanted: dict[str, Any], fields: set[Path], owners: Owners, me: Owner
) -> list[tuple[Owner, Path]]:
    return [
        (owner, path)
        for owner, theirs in owners.items()
        if owner != me
        for path in sorted(theirs & fields)
        if fieldset.value_at(current, path) != fieldset.value_at(wanted, path) and path[-1].startswith("f:")
    ]


def _conflict(conflicts: list[tuple[Owner, Path]]) -> Conflict:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{owner[0]}"',
            "field": fieldset.name(path),
        }
        for owner, path in conflicts
    ]
    number = f"{len(causes)} conflict" + ("s" if len(causes) > 1 else "")
    listed = ", ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    return Conflict(f"Apply failed with {number}: {listed}", details={"causes": causes})


def _merge(target: Any, wanted: Any, field: str) -> Any:
    if isinstance(target, dict) and isinstance(wanted, dict):
        for name, value in wanted.items():
            target[name] = _merge(target.get(name), value, name)
        return target
    if isinstance(target, list) and isinstance(wanted, list):
        if field in fieldset.SETS:
            return [*target, *(entry for entry in wanted if entry not in target)]
        keys = fieldset.list_keys(field, [*target, *wanted])
        if keys:
            return _merge_entries(target, wanted, keys)
    return copy.deepcopy(wanted)


def _merge_entries(target: list[Any], wanted: list[Any], keys: tuple[str, ...]) -> list[Any]:
    at = {fieldset.element(entry, keys): index for index, entry in enumerate(target)}
    for entry in wanted:
        index = at.get(fieldset.element(entry, keys))
        if index is None:
            target.append(copy.deepcopy(entry))
        else:
            target[index] = _merge(target[index], entry, "")
    return target
