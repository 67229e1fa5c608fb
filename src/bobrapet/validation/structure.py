"""The structural check: a manifest against the schema of its CRD, with exact paths, all faults at once.

Says what the API server would say, and more kindly: unknown fields with the nearest known one. Used before an API
server is asked (`bobrapet run`, CLI) and where one was lenient (int32 ranges, spec admission A11.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from bobrapet.api.crds import crd_manifests
from bobrapet.api.timestamps import TimeError, parse_time
from bobrapet.validation.faults import FaultReason, Findings, did_you_mean, quoted
from bobrapet.validation.schema_text import type_of

_META_FIELDS: Final = frozenset(
    {
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
        "selfLink",
    }
)
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_KEY: Final = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_RANGES: Final = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_NAMES: Final = {"object": "an object", "array": "a list", "string": "a string", "integer": "an integer"}

A_TIME: Final = "a time such as 2026-01-31T12:00:00Z"

MAX_NESTING: Final = 128
"""Levels of a free object: what templates are evaluated to, and what every encoder on the way can take."""

_CONTAINERS: Final = frozenset({dict, list})
_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"


def is_ours(api_version: str, kind: str) -> bool:
    """Whether this is a kind of the API."""
    return (api_version, kind) in _schemas()


def schema_of(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema of the CRD of a manifest's kind; None when the kind is not ours."""
    return _schemas().get((str(manifest.get("apiVersion", "")), str(manifest.get("kind", ""))))


def without_nulls(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest without the nulls that the API server reads as absent: of every field that its schema knows.

    Nulls inside free objects are data and stay, and so do nulls in lists, which are faults.
    """
    outer = {name: value for name, value in manifest.items() if value is not None or name not in ("metadata", "status")}
    if isinstance(metadata := outer.get("metadata"), dict):
        outer["metadata"] = {name: value for name, value in metadata.items() if value is not None}
    schema = schema_of(manifest)
    return _without_nulls(outer, schema) if schema is not None else outer


def _without_nulls(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [_without_nulls(child, schema["items"]) for child in value]
    if not isinstance(value, dict):
        return value
    properties, extra = schema.get("properties", {}), schema.get("additionalProperties")
    kept: dict[str, Any] = {}
    for name, child in value.items():
        member = properties.get(name, extra)
        if not isinstance(member, dict):
            kept[name] = child
        elif child is not None:
            kept[name] = _without_nulls(child, member)
    return kept


def unknown_kind(api_version: str, kind: str) -> str | None:
    """What to say about a kind that claims one of our API groups but does not exist; None when it is not our matter."""
    group = api_version.partition("/")[0]
    ours = {known.partition("/")[0] for known, _ in _schemas()}
    if is_ours(api_version, kind) or not (group in ours or group.endswith(".bubustack.io")):
        return None
    versions = [known for known, name in _schemas() if name == kind]
    if versions:
        return f"{kind} is no kind of {quoted(api_version)}; its apiVersion is {versions[0]}"
    kinds = [name for _, name in _schemas()]
    return f"{quoted(api_version)} has no kind {quoted(kind)}{did_you_mean(kind, kinds)}"


def check_structure(manifest: Mapping[str, Any], *, unknown_fields: bool = True) -> Findings:
    """Checks an object of one of our kinds against its schema; `unknown_fields` makes them faults.

    An object of another kind has no findings.
    """
    findings = Findings()
    api_version, kind = str(manifest.get("apiVersion", "")), str(manifest.get("kind", ""))
    schema = schema_of(manifest)
    if schema is None:
        if (text := unknown_kind(api_version, kind)) is not None:
            findings.invalid("kind", text, kind)
        return findings
    _Walk(findings, unknown_fields).value("", without_nulls(manifest), schema)
    _check_metadata(findings, manifest.get("metadata"), unknown_fields)
    return findings


def check_step_structure(findings: Findings, path: str, step: Mapping[str, Any]) -> bool:
    """Checks a step that stands outside of the lists, such as a branch, which the CRD leaves open.

    Unknown fields warn. Returns whether it can be read as a step.
    """
    schema = _schemas()["bubustack.io/v1alpha1", "Story"]["properties"]["spec"]["properties"]["steps"]["items"]
    found = Findings()
    _Walk(found, True).value(path, step, {**schema, "x-kubernetes-validations": []})
    for fault in found.faults:
        if fault.reason is FaultReason.UNKNOWN:
            findings.warn(fault.field, f"{fault.message}; it is ignored")
        else:
            findings.faults.append(fault)
    return all(fault.reason is FaultReason.UNKNOWN for fault in found.faults)


@cache
def _schemas() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): version["schema"][
            "openAPIV3Schema"
        ]
        for crd in crd_manifests()
        for version in crd["spec"]["versions"]
    }


class _Walk:
    """Compares a value with its schema, depth first."""

    def __init__(self, findings: Findings, unknown_fields: bool) -> None:
        self._findings = findings
        self._unknown_fields = unknown_fields

    def value(self, path: str, value: Any, schema: dict[str, Any]) -> None:
        if not _has_type(value, schema):
            wanted = schema.get("type", "integer or string")
            name = A_TIME if schema.get("format") == "date-time" else _NAMES.get(wanted, f"a {wanted}")
            self._findings.add(path, FaultReason.TYPE_INVALID, f"must be {name}, is {type_of(value)}", value)
            return
        before = len(self._findings.faults)
        match value:
            case dict():
                self._object(path, value, schema)
            case list():
                self._list(path, value, schema)
            case str():
                self._string(path, value, schema)
            case int() if not isinstance(value, bool):
                self._integer(path, value, schema)
        # As in the API server: rules read fields freely, so they wait until the structure is right.
        if len(self._findings.faults) == before:
            for rule in schema.get("x-kubernetes-validations", ()):
                if not _RULES[rule["rule"]](value):
                    self._findings.invalid(path, rule["message"])

    def _object(self, path: str, value: dict[str, Any], schema: dict[str, Any]) -> None:
        if schema.get(_PRESERVE) and not is_shallow(value):
            self._findings.invalid(path, f"is nested deeper than {MAX_NESTING} levels")
            return
        properties = schema.get("properties")
        for name in schema.get("required", ()):
            if value.get(name) is None and "default" not in (properties or {}).get(name, {}):
                self._findings.required(_member(path, name), f"required{_meant(name, value, properties or {})}")
        extra = schema.get("additionalProperties")
        for name, child in value.items():
            if properties is not None and name in properties:
                self.value(_member(path, name), child, properties[name])
            elif isinstance(extra, dict):
                self.value(f"{path}[{name}]", child, extra)
            elif properties is not None and not schema.get(_PRESERVE) and self._unknown_fields:
                self._findings.add(
                    _member(path, str(name)),
                    FaultReason.UNKNOWN,
                    f"unknown field {quoted(name)}{did_you_mean(str(name), properties)}",
                )

    def _list(self, path: str, value: list[Any], schema: dict[str, Any]) -> None:
        if len(value) > schema.get("maxItems", len(value)):
            self._findings.add(
                path,
                FaultReason.TOO_MANY,
                f"must have at most {schema['maxItems']} entries, has {len(value)}",
            )
            return
        if len(value) < schema.get("minItems", 0):
            self._findings.invalid(path, f"must have at least {schema['minItems']} entry")
        keys = schema.get("x-kubernetes-list-map-keys")
        seen: set[tuple[Any, ...]] = set()
        for index, child in enumerate(value):
            self.value(f"{path}[{index}]", child, schema["items"])
            if keys and isinstance(child, dict):
                key = tuple(str(child.get(name)) for name in keys)
                if key in seen:
                    self._findings.duplicate(
                        f"{path}[{index}].{keys[0]}", f"duplicate {keys[0]} {quoted(child.get(keys[0]))}", key[0]
                    )
                seen.add(key)

    def _string(self, path: str, value: str, schema: dict[str, Any]) -> None:
        if len(value) > schema.get("maxLength", len(value)):
            self._findings.add(
                path,
                FaultReason.TOO_LONG,
                f"must have at most {schema['maxLength']} characters, has {len(value)}",
                value,
            )
        elif len(value) < schema.get("minLength", 0):
            self._findings.invalid(path, "must not be empty")
        elif "pattern" in schema and not re.search(schema["pattern"], value):
            self._findings.invalid(path, f"{quoted(value)} {_form(schema)}", value)
        if "enum" in schema and value not in schema["enum"]:
            self._findings.not_supported(path, value, schema["enum"])
        if schema.get("format") == "date-time":
            try:
                parse_time(value)
            except TimeError as error:
                self._findings.invalid(path, str(error), value)

    def _integer(self, path: str, value: int, schema: dict[str, Any]) -> None:
        lowest, highest = _RANGES.get(schema.get("format", "int64"), _RANGES["int64"])
        minimum, maximum = schema.get("minimum", lowest), schema.get("maximum", highest)
        if not minimum <= value <= maximum:
            if "minimum" in schema and "maximum" in schema:
                bound = f"must be between {minimum} and {maximum}"
            else:
                bound = f"must be at least {minimum}" if value < minimum else f"must be at most {maximum}"
            self._findings.invalid(path, f"{bound}, is {value}", value)


def is_shallow(value: Any, levels: int = MAX_NESTING) -> bool:
    """Whether a JSON value is nested at most `levels` levels; safe for any depth."""
    layer = [value] if type(value) in _CONTAINERS else []
    for _ in range(levels):
        if not layer:
            return True
        layer = [
            child
            for part in layer
            for child in (part.values() if type(part) is dict else part)
            if type(child) in _CONTAINERS
        ]
    return not layer


def _member(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _meant(name: str, value: dict[str, Any], properties: dict[str, Any]) -> str:
    """A hint when the missing field may be there under a misspelt name."""
    unknown = [str(key) for key in value if key not in properties]
    return f"; is {quoted(unknown[0])} meant?" if len(unknown) == 1 and did_you_mean(unknown[0], [name]) else ""


def _has_type(value: Any, schema: dict[str, Any]) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    match schema.get("type"):
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return True


def _form(schema: dict[str, Any]) -> str:
    if schema["pattern"] == "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$":
        return "must consist of lower-case letters, digits and dashes, and begin and end with a letter or digit"
    return f"must match {schema['pattern']}"


def _check_metadata(findings: Findings, metadata: Any, unknown_fields: bool) -> None:
    if metadata is None:
        findings.required("metadata.name", "name or generateName is required")
        return
    if not isinstance(metadata, dict):
        return
    if unknown_fields:
        for name in metadata:
            if name not in _META_FIELDS:
                findings.add(
                    f"metadata.{name}",
                    FaultReason.UNKNOWN,
                    f"unknown field {quoted(name)}{did_you_mean(str(name), _META_FIELDS)}",
                )
    given = metadata.get("name") or metadata.get("generateName")
    if not given:
        findings.required("metadata.name", "name or generateName is required")
    elif not isinstance(given, str):
        findings.add("metadata.name", FaultReason.TYPE_INVALID, f"must be a string, is {type_of(given)}", given)
    elif metadata.get("name") and (len(given) > 253 or not _NAME.fullmatch(given)):
        findings.invalid(
            "metadata.name",
            f"{quoted(given)} must consist of lower-case letters, digits, dashes and dots, begin and end with a letter "
            f"or digit, and have at most 253 characters",
            given,
        )
    for field, values in (("labels", _LABEL_VALUE), ("annotations", None)):
        entries = metadata.get(field)
        if entries is not None and not isinstance(entries, dict):
            findings.add(f"metadata.{field}", FaultReason.TYPE_INVALID, f"must be an object, is {type_of(entries)}")
            continue
        for key, value in (entries or {}).items():
            if not isinstance(value, str):
                findings.add(
                    f"metadata.{field}[{key}]",
                    FaultReason.TYPE_INVALID,
                    f"must be a string, is {type_of(value)}",
                    value,
                )
            elif values is not None and not values.fullmatch(value):
                findings.invalid(f"metadata.{field}[{key}]", f"{quoted(value)} is no label value", value)
            if not _LABEL_KEY.fullmatch(str(key)):
                findings.invalid(f"metadata.{field}", f"{quoted(key)} is no key of {field}", key)


def _conditions_all(check: Callable[[dict[str, Any]], bool]) -> Callable[[dict[str, Any]], bool]:
    return lambda status: all(check(condition) for condition in status.get("conditions") or ())


# The CEL rules of our CRDs, by their text: there are few, and here they need no interpreter.
_RULES: Final[dict[str, Callable[[dict[str, Any]], bool]]] = {
    "has(self.ref) != has(self.type)": lambda step: ("ref" in step) != ("type" in step),
    "has(self.authentication) || has(self.auth)": lambda s3: "authentication" in s3 or "auth" in s3,
    "has(self.endpoint) || has(self.address)": lambda grpc: "endpoint" in grpc or "address" in grpc,
    "!has(self.conditions) || self.conditions.exists(c, c.type == 'Ready')": (
        lambda status: "conditions" not in status or any(c["type"] == "Ready" for c in status["conditions"])
    ),
    "!has(self.conditions) || self.conditions.all(c, has(c.lastTransitionTime))": (
        _conditions_all(lambda condition: "lastTransitionTime" in condition)
    ),
    "!has(self.conditions) || self.conditions.all(c, !has(c.reason) || size(c.reason) <= 64)": (
        _conditions_all(lambda condition: len(condition.get("reason", "")) <= 64)
    ),
    "!has(self.conditions) || self.conditions.all(c, !has(c.message) || size(c.message) <= 2048)": (
        _conditions_all(lambda condition: len(condition.get("message", "")) <= 2048)
    ),
}
