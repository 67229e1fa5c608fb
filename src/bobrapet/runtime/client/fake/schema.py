"""Checks objects against the schema of their CustomResourceDefinition (spec runtime FK-6)."""

from __future__ import annotations

from typing import Any

import jsonschema

from bobrapet.runtime.errors import Invalid
from bobrapet.runtime.scheme import GroupVersionKind

FRAME = ("apiVersion", "kind", "metadata")


class SchemaValidator:
    """The schema of one version of one kind."""

    def __init__(self, gvk: GroupVersionKind, schema: dict[str, Any]) -> None:
        self._gvk = gvk
        self._validator = jsonschema.Draft202012Validator(_converted(_body(schema)))

    def check(self, obj: dict[str, Any]) -> None:
        """Raises `Invalid` with one cause for each fault."""
        body = {name: value for name, value in obj.items() if name not in FRAME}
        faults = sorted(self._validator.iter_errors(body), key=lambda fault: fault.json_path)
        if not faults:
            return
        causes = [
            {"reason": "FieldValueInvalid", "field": _field(fault.absolute_path), "message": fault.message}
            for fault in faults
        ]
        name = obj.get("metadata", {}).get("name")
        listed = ", ".join(f"{cause['field'] or '<root>'}: Invalid value: {cause['message']}" for cause in causes)
        raise Invalid(
            f'{self._gvk.kind}.{self._gvk.group} "{name}" is invalid: {listed}',
            details={"name": name, "group": self._gvk.group, "kind": self._gvk.kind, "causes": causes},
        )


def validators(definition: dict[str, Any]) -> dict[GroupVersionKind, SchemaValidator]:
    """The validators of the versions of a definition that have a schema."""
    spec = definition["spec"]
    found = {}
    for version in spec.get("versions") or ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema:
            gvk = GroupVersionKind(spec["group"], version["name"], spec["names"]["kind"])
            found[gvk] = SchemaValidator(gvk, schema)
    return found


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object without its frame, which is the server's business."""
    properties = {name: value for name, value in (schema.get("properties") or {}).items() if name not in FRAME}
    required = [name for name in schema.get("required") or () if name not in FRAME]
    return {**schema, "properties": properties, "required": required}


def _converted(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI v3 as Kubernetes uses it, as JSON Schema: `nullable`, int-or-string, formats that are not checked."""
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            result[key] = {name: _converted(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, dict):
            result[key] = _converted(value)
        elif key in ("allOf", "anyOf", "oneOf"):
            result[key] = [_converted(inner) for inner in value]
        elif key == "exclusiveMinimum" and value is True:
            result[key] = schema.get("minimum")
        elif key == "exclusiveMaximum" and value is True:
            result[key] = schema.get("maximum")
        elif key in ("format", "nullable", "description", "default") or key.startswith("x-kubernetes-"):
            continue
        elif value is not False:
            result[key] = value
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result["type"] = ["integer", "string"]
    if schema.get("nullable") and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
        if "enum" in result:
            result["enum"] = [*result["enum"], None]
    return result


def _field(path: Any) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")
