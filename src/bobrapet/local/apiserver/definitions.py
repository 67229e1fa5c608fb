"""CustomResourceDefinitions as objects: completed, checked, established."""

from __future__ import annotations

from typing import Any

from bobrapet.local.apiserver.cel import CelError, validator
from bobrapet.local.apiserver.cel.registration import rule_faults
from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.metadata import quote, timestamp
from bobrapet.local.apiserver.patterns import pattern_problem
from bobrapet.local.apiserver.representation import encode
from bobrapet.local.apiserver.schema import Schema, structural
from bobrapet.local.apiserver.strategy import Strategy, Writing
from bobrapet.local.apiserver.types import Object
from bobrapet.local.apiserver.validation import validate

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
"""Holds a definition until its objects are gone."""

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_ONLY_OUTSIDE = ("default", "nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations")
_MAX_SELECTABLE = 8
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_REQUIRED = "FieldValueRequired"
_FORBIDDEN = "FieldValueForbidden"
_UNSUPPORTED = "FieldValueNotSupported"


class DefinitionStrategy(Strategy):
    """CustomResourceDefinition: names are completed, and the definition is accepted and established at once."""

    has_status = True
    has_generation = True

    def default(self, obj: Object) -> None:
        """Fills names as a kube-apiserver does."""
        spec = obj.setdefault("spec", {})
        names = spec.setdefault("names", {})
        kind = names.get("kind", "")
        if kind:
            names.setdefault("singular", kind.lower())
            names.setdefault("listKind", f"{kind}List")
        spec.setdefault("conversion", {"strategy": "None"})

    def prepare_create(self, obj: Object, writing: Writing) -> None:
        """Accepts the names and establishes the definition."""
        super().prepare_create(obj, writing)
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if CLEANUP_FINALIZER not in finalizers:
            finalizers.append(CLEANUP_FINALIZER)
        obj["status"] = _established(obj, timestamp(writing.now), [])

    def prepare_update(self, obj: Object, old: Object, writing: Writing) -> None:
        """Keeps the status in step with the spec."""
        super().prepare_update(obj, old, writing)
        stored = old.get("status", {}).get("storedVersions", [])
        since = (old.get("status", {}).get("conditions") or [{}])[0].get("lastTransitionTime")
        obj["status"] = _established(obj, since or timestamp(writing.now), stored)

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """Everything that would keep the definition from being served, and what a change may not do."""
        faults = definition_errors(obj)
        if old is not None:
            faults += _change_errors(obj, old)
        return faults


def definition_errors(obj: Object) -> list[FieldError]:
    """The faults of a definition."""
    spec = obj["spec"]
    names = spec.get("names") or {}
    faults = []
    if obj["metadata"].get("name") != f"{names.get('plural', '')}.{spec.get('group', '')}":
        given = quote(obj["metadata"].get("name", ""))
        text = f'Invalid value: {given}: must be spec.names.plural+"."+spec.group'
        faults.append(FieldError("metadata.name", text))
    required = {"spec.group": spec.get("group")} | {
        f"spec.names.{name}": names.get(name) for name in ("plural", "singular", "kind", "listKind")
    }
    faults += [FieldError(path, "Required value", _REQUIRED) for path, value in required.items() if not value]
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        text = f'Unsupported value: {quote(spec.get("scope", ""))}: supported values: "Cluster", "Namespaced"'
        faults.append(FieldError("spec.scope", text, _UNSUPPORTED))
    return faults + _version_errors(spec.get("versions") or [])


def _version_errors(versions: list[Object]) -> list[FieldError]:
    faults = []
    shown = encode([version.get("name", "") for version in versions]).decode()
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = f"Invalid value: {shown}: must have exactly one version marked as storage version"
        faults.append(FieldError("spec.versions", text))
    if len({version.get("name") for version in versions}) != len(versions):
        faults.append(FieldError("spec.versions", f"Invalid value: {shown}: must contain unique version names"))
    for position, version in enumerate(versions):
        path = f"spec.versions[{position}]"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not schema:
            faults.append(FieldError(f"{path}.schema.openAPIV3Schema", "Required value", _REQUIRED))
            continue
        alone = len(versions) == 1
        where = "spec.validation.openAPIV3Schema" if alone else f"{path}.schema.openAPIV3Schema"
        if schema.get("type") != "object":
            text = f"Invalid value: {quote(schema.get('type', ''))}: must be object at the root"
            faults.append(FieldError(f"{where}.type", text))
        shape = _schema_errors(schema, where)
        faults += shape + rule_faults(schema, where, well_formed=not shape)
        columns = "spec.additionalPrinterColumns" if alone else f"{path}.additionalPrinterColumns"
        faults += _column_errors(version.get("additionalPrinterColumns") or [], columns)
        if (selectable := version.get("selectableFields")) and not shape:
            where = "spec.selectableFields" if alone else f"{path}.selectableFields"
            faults += _selectable_errors(selectable, structural(schema), where)
    return faults


def _schema_errors(schema: Object, path: str) -> list[FieldError]:
    """The faults of one node of a structural schema, and of all below it."""
    faults = _type_errors(schema, path)
    if (text := schema.get("pattern")) is not None and (problem := pattern_problem(text)):
        why = f"must be a valid regular expression, but isn't: error parsing regexp: {problem}"
        faults.append(FieldError(f"{path}.pattern", f"Invalid value: {quote(text)}: {why}"))
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    if properties and additional:
        text = "Forbidden: additionalProperties and properties are mutual exclusive"
        faults.append(FieldError(f"{path}.additionalProperties", text, _FORBIDDEN))
    for name, child in properties.items():
        faults += _schema_errors(child, f"{path}.properties[{name}]")
    if isinstance(additional, dict):
        faults += _schema_errors(additional, f"{path}.additionalProperties")
    for word in ("allOf", "anyOf", "oneOf"):
        for position, part in enumerate(schema.get(word) or ()):
            faults += _junction_errors(part, f"{path}.{word}[{position}]")
    if isinstance(schema.get("not"), dict):
        faults += _junction_errors(schema["not"], f"{path}.not")
    items = schema.get("items")
    if isinstance(items, dict):
        faults += _schema_errors(items, f"{path}.items")
        keys = schema.get("x-kubernetes-list-map-keys") or []
        if any(key not in (items.get("properties") or {}) for key in keys):
            text = f"Invalid value: {encode(keys).decode()}: entries must all be names of item properties"
            faults.append(FieldError(f"{path}.x-kubernetes-list-map-keys", text))
    if not faults and "default" in schema:
        faults += [
            FieldError(f"{path}.default", fault.message, fault.reason)
            for fault in _default_errors(structural(schema), schema["default"])
        ]
    return faults


def _default_errors(schema: Schema, value: Any) -> list[FieldError]:
    faults = validate(schema, value)
    if faults or not schema.rules:
        return faults
    try:
        rules = validator(schema)
    except CelError:
        return []  # told with the rules
    return rules.check(value) if rules is not None else []


def _junction_errors(part: Object, path: str) -> list[FieldError]:
    """What a part of a junction may not say, because a structural schema says it outside."""
    return [
        FieldError(f"{path}.{name}", "Forbidden: must be empty to be structural", _FORBIDDEN)
        for name in _ONLY_OUTSIDE
        if part.get(name)
    ]


def _type_errors(schema: Object, path: str) -> list[FieldError]:
    type = schema.get("type", "")
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not type:
        text = "Required value: must not be empty for specified object fields"
        return [] if free else [FieldError(f"{path}.type", text, _REQUIRED)]
    if type not in _TYPES:
        supported = ", ".join(quote(name) for name in _TYPES)
        text = f"Unsupported value: {quote(type)}: supported values: {supported}"
        return [FieldError(f"{path}.type", text, _UNSUPPORTED)]
    if type == "array" and not schema.get("items"):
        return [FieldError(f"{path}.items", "Required value: must be specified", _REQUIRED)]
    return []


def _selectable_errors(fields: list[Object], schema: Schema, path: str) -> list[FieldError]:
    """A field selector compares text, so it can only look at scalars that every object may have."""
    faults: list[FieldError] = []
    seen: set[str] = set()
    for position, entry in enumerate(fields):
        given, at = entry.get("jsonPath") or "", f"{path}[{position}].jsonPath"
        if not given:
            faults.append(FieldError(at, "Required value", _REQUIRED))
            continue
        try:
            found = _scalar_at(schema, given)
        except ValueError as error:
            faults.append(FieldError(at, f"Invalid value: {quote(given)}: is an invalid path: {error}"))
            continue
        if given.startswith(".metadata"):
            faults.append(FieldError(at, f"Invalid value: {quote(given)}: must not point to fields in metadata"))
        if found.type not in ("string", "boolean", "integer"):
            why = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats "
            )
            faults.append(FieldError(at, f"Invalid value: {quote(given)}: {why}are allowed."))
        if given in seen:
            faults.append(FieldError(at, f"Duplicate value: {quote(given)}", "FieldValueDuplicate"))
        seen.add(given)
    if len(seen) > _MAX_SELECTABLE:
        text = f"Too many: {len(seen)}: must have at most {_MAX_SELECTABLE} items"
        faults.append(FieldError(path, text, "FieldValueTooMany"))
    return faults


def _scalar_at(schema: Schema, path: str) -> Schema:
    """The node at `.a.b`. Raises ValueError."""
    if "[" in path:
        raise ValueError("array notation is not allowed")
    if not path.startswith("."):
        raise ValueError(f"expected [ or . but got: {path.partition('.')[0]}")
    for name in path[1:].split("."):
        found = schema.properties.get(name)
        if found is None:
            raise ValueError("does not refer to a valid field")
        schema = found
    return schema


def _column_errors(columns: list[Object], path: str) -> list[FieldError]:
    faults = []
    for position, column in enumerate(columns):
        if column.get("type") not in _COLUMN_TYPES:
            text = f"Invalid value: {quote(column.get('type', ''))}: must be one of {','.join(_COLUMN_TYPES)}"
            faults.append(FieldError(f"{path}[{position}].type", text))
        if not column.get("jsonPath", "").startswith("."):
            text = f"Invalid value: {quote(column.get('jsonPath', ''))}: must be a simple json path starting with ."
            faults.append(FieldError(f"{path}[{position}].JSONPath", text))
    return faults


def _change_errors(obj: Object, old: Object) -> list[FieldError]:
    spec, before = obj["spec"], old["spec"]
    fixed: dict[str, tuple[Any, Any]] = {
        "spec.group": (spec.get("group"), before.get("group")),
        "spec.scope": (spec.get("scope"), before.get("scope")),
        "spec.names.kind": (spec["names"].get("kind"), before["names"].get("kind")),
        "spec.names.plural": (spec["names"].get("plural"), before["names"].get("plural")),
    }
    faults = [
        FieldError(path, f"Invalid value: {quote(str(now))}: field is immutable")
        for path, (now, then) in fixed.items()
        if now != then
    ]
    names = [version.get("name") for version in spec.get("versions") or []]
    stored = (old.get("status") or {}).get("storedVersions") or []
    faults += [
        FieldError(
            f"status.storedVersions[{position}]",
            f"Invalid value: {quote(name)}: missing from spec.versions; {name} was previously a storage version, and "
            "must remain in spec.versions until a storage migration ensures no data remains persisted in "
            f"{name} and removes {name} from status.storedVersions",
        )
        for position, name in enumerate(stored)
        if name not in names
    ]
    return faults


def _established(obj: Object, since: str, stored: list[str]) -> Object:
    spec = obj["spec"]
    storage = next((version["name"] for version in spec.get("versions", ()) if version.get("storage")), "")
    versions = [*stored, *([storage] if storage not in stored else [])]
    conditions = [
        {
            "type": "NamesAccepted",
            "status": "True",
            "lastTransitionTime": since,
            "reason": "NoConflicts",
            "message": "no conflicts found",
        },
        {
            "type": "Established",
            "status": "True",
            "lastTransitionTime": since,
            "reason": "InitialNamesAccepted",
            "message": "the initial names have been accepted",
        },
    ]
    return {"conditions": conditions, "acceptedNames": spec["names"], "storedVersions": versions}
