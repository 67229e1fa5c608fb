"""Server-side apply, and who manages which field.

Ownership is tracked from an object's first server-side apply on: what was there before belongs to a manager called
`before-first-apply`, as for objects older than the feature on a cluster. Until then `managedFields` stays empty.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bobrapet.local.apiserver import errors, fieldset
from bobrapet.local.apiserver.fieldset import FieldSet
from bobrapet.local.apiserver.metadata import timestamp
from bobrapet.local.apiserver.schema import Schema
from bobrapet.local.apiserver.types import Object, Resource

BEFORE_FIRST_APPLY = "before-first-apply"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"
_UNTRACKED: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        f"f:{name}": {}
        for name in (
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "generation",
            "managedFields",
            "name",
            "namespace",
            "resourceVersion",
            "selfLink",
            "uid",
        )
    },
}


@dataclass(slots=True)
class _Entry:
    """One entry of `managedFields`."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    @classmethod
    def read(cls, given: Object) -> _Entry:
        return cls(
            given.get("manager", ""),
            given.get("operation", ""),
            given.get("apiVersion", ""),
            given.get("subresource", ""),
            given.get("time", ""),
            given.get("fieldsV1") or {},
        )

    def is_of(self, manager: str, operation: str, subresource: str) -> bool:
        return (self.manager, self.operation, self.subresource) == (manager, operation, subresource)

    def write(self) -> Object:
        entry: Object = {"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version}
        if self.time:
            entry["time"] = self.time
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": self.fields}
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry


def parse(resource: Resource, body: Object, name: str, namespace: str) -> Object:
    """Checks an applied configuration; 400 when it is not one of `resource` and `name`."""
    if (body.get("apiVersion"), body.get("kind")) != (resource.api_version, resource.kind):
        raise errors.bad_request(
            f"Incorrect version specified in apply patch. Specified patch version: {body.get('apiVersion')}, "
            f"expected: {resource.api_version}"
        )
    metadata = body["metadata"]
    if metadata.get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    if metadata.setdefault("name", name) != name:
        raise errors.name_mismatch(metadata["name"], name)
    if namespace and metadata.setdefault("namespace", namespace) != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    return body


def apply(
    live: Object, config: Object, schema: Schema | None, *, manager: str, subresource: str, force: bool, now: datetime
) -> Object:
    """The live object with an applied configuration and the managers that follow from it; 409 for conflicts.

    `live` is an object of the same kind without spec when nothing exists yet.
    """
    entries = _entries(live)
    if not entries and "uid" in live["metadata"]:
        entries = [_before_first_apply(live, schema, manager)]
    mine = next((entry for entry in entries if entry.is_of(manager, "Apply", subresource)), None)
    others = [entry for entry in entries if entry is not mine]
    wanted = _tracked(config, schema)
    merged = fieldset.merged(live, config, schema)
    touched, _ = fieldset.changed(live, merged, schema)
    conflicts = _conflicts(others, fieldset.intersection(touched, wanted))
    if conflicts and not force:
        raise _refusal(conflicts)
    for entry, fields in conflicts:
        entry.fields = fieldset.difference(entry.fields, fields)
    if mine is not None:
        dropped = fieldset.difference(mine.fields, wanted)
        for entry in others:
            dropped = fieldset.difference(dropped, entry.fields)
        merged = fieldset.removed(merged, dropped, schema)
    kept = mine is not None and mine.fields == wanted and fieldset.changed(live, merged, schema) == ({}, {})
    time = mine.time if mine is not None and kept else timestamp(now)
    others.append(_Entry(manager, "Apply", config["apiVersion"], subresource, time, wanted))
    merged["metadata"] = {**merged["metadata"], "managedFields": _written(others)}
    return merged


def track(obj: Object, old: Object, schema: Schema | None, *, manager: str, subresource: str, now: datetime) -> None:
    """Notes in `obj` who changed what in a write that is no apply, if the object is tracked at all."""
    given = obj["metadata"].get("managedFields")
    if given is not None and all(not entry for entry in given):
        # An empty list is how a client forgets all managers.
        obj["metadata"].pop("managedFields")
        return
    entries = _entries(obj) or _entries(old)
    if not entries:
        obj["metadata"].pop("managedFields", None)
        return
    touched, gone = fieldset.changed(old, obj, schema)
    touched = fieldset.difference(touched, _UNTRACKED)
    gone = fieldset.difference(gone, _UNTRACKED)
    if touched or gone:
        mine = next((entry for entry in entries if entry.is_of(manager, "Update", subresource)), None)
        for entry in entries:
            entry.fields = fieldset.difference(entry.fields, gone)
            if entry is not mine:
                entry.fields = fieldset.difference(entry.fields, touched)
        if touched:
            if mine is None:
                mine = _Entry(manager, "Update", obj["apiVersion"], subresource, "", {})
                entries.append(mine)
            mine.fields = fieldset.union(mine.fields, touched)
            mine.time = timestamp(now)
    obj["metadata"]["managedFields"] = _written(entries)


def _entries(obj: Object) -> list[_Entry]:
    return [_Entry.read(entry) for entry in obj["metadata"].get("managedFields") or ()]


def _written(entries: list[_Entry]) -> list[Object]:
    ordered = sorted(entries, key=lambda entry: (entry.operation != "Apply", entry.time, entry.manager))
    return [entry.write() for entry in ordered if entry.fields]


def _tracked(obj: Object, schema: Schema | None) -> FieldSet:
    return fieldset.difference(fieldset.fields_of(obj, schema), _UNTRACKED)


def _before_first_apply(live: Object, schema: Schema | None, manager: str) -> _Entry:
    fields = _tracked(live, schema)
    if manager == _KUBECTL:
        # What kubectl applied on the client side before is kubectl's to apply on the server side now.
        fields = fieldset.difference(fields, _last_applied(live, schema))
    return _Entry(BEFORE_FIRST_APPLY, "Update", live["apiVersion"], "", "", fields)


def _last_applied(live: Object, schema: Schema | None) -> FieldSet:
    text = (live["metadata"].get("annotations") or {}).get(_LAST_APPLIED)
    try:
        applied: Any = json.loads(text) if text else None
    except ValueError:
        return {}
    return _tracked(applied, schema) if isinstance(applied, dict) else {}


def _conflicts(others: list[_Entry], contested: FieldSet) -> list[tuple[_Entry, FieldSet]]:
    found = [(entry, fieldset.intersection(entry.fields, contested)) for entry in others]
    return [(entry, fields) for entry, fields in found if fields]


def _refusal(conflicts: list[tuple[_Entry, FieldSet]]) -> errors.ApiError:
    causes = []
    parts = []
    for entry, fields in conflicts:
        paths = list(fieldset.paths(fields))
        who = f'"{entry.manager}"' + (f' with subresource "{entry.subresource}"' if entry.subresource else "")
        if entry.operation == "Update":
            who += f" using {entry.api_version}"
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path} for path in paths
        ]
        if len(paths) == 1:
            parts.append(f"conflict with {who}: {paths[0]}")
        else:
            parts.append(f"conflicts with {who}:\n" + "\n".join(f"- {path}" for path in paths))
    count = f"{len(causes)} conflict{'' if len(causes) == 1 else 's'}"
    message = f"Apply failed with {count}: " + "\n".join(parts)
    return errors.ApiError(409, "Conflict", message, details={"causes": causes})
