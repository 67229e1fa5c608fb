"""OpenAPI documents made from the registry when first asked for: v3 per group version, v2 as a whole.

kubectl reads them for `explain`, for merge keys, and to learn that the server validates fields itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.representation import encode
from bobrapet.local.apiserver.schema import Schema
from bobrapet.local.apiserver.types import Object, Resource

_JSON = "application/json"
_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_STRATEGIC = "application/strategic-merge-patch+json"
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_LIST = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)
_DELETE = ("dryRun", "gracePeriodSeconds", "propagationPolicy")


class OpenApi:
    """The documents of the current registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._documents: dict[str, bytes] = {}

    def index(self) -> Object:
        """`/openapi/v3`."""
        paths = {}
        for group, version in self._group_versions():
            path = _path(group, version)
            digest = hashlib.sha256(self._document(group, version)).hexdigest()[:32].upper()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return {"paths": paths}

    def document(self, path: str) -> bytes | None:
        """`/openapi/v3/PATH`; None when there is no such group version."""
        for group, version in self._group_versions():
            if _path(group, version) == path:
                return self._document(group, version)
        return None

    def swagger(self) -> bytes:
        """`/openapi/v2`."""
        self._refresh()
        document = self._documents.get("v2")
        if document is None:
            schemas = _Schemas("#/definitions/")
            paths: Object = {}
            for group, version in self._group_versions():
                for resource in self._registry.resources(group, version):
                    paths |= _paths(resource, _path(group, version), schemas)
            document = self._documents["v2"] = encode(
                {
                    "swagger": "2.0",
                    "info": {"title": "Kubernetes", "version": "unversioned"},
                    "paths": paths,
                    "definitions": schemas.found,
                }
            )
        return document

    def _group_versions(self) -> Iterator[tuple[str, str]]:
        for group in self._registry.groups():
            for version in self._registry.versions(group):
                yield group, version

    def _document(self, group: str, version: str) -> bytes:
        self._refresh()
        path = _path(group, version)
        document = self._documents.get(path)
        if document is None:
            schemas = _Schemas("#/components/schemas/")
            paths: Object = {}
            for resource in self._registry.resources(group, version):
                paths |= _paths(resource, path, schemas)
            document = self._documents[path] = encode(
                {
                    "openapi": "3.0.0",
                    "info": {"title": "Kubernetes", "version": "unversioned"},
                    "paths": paths,
                    "components": {"schemas": schemas.found},
                }
            )
        return document

    def _refresh(self) -> None:
        if self._generation != self._registry.generation:
            self._documents.clear()
            self._generation = self._registry.generation


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


class _Schemas:
    """Collects the schemas that a document refers to."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.found: Object = {}

    @property
    def is_v3(self) -> bool:
        return "components" in self.prefix

    def refer(self, resource: Resource) -> Object:
        """A reference to the schema of a resource, which is added."""
        name = schema_component(resource)
        self._add(name, resource.schema or Schema("object"))
        kinds = self.found[name].setdefault("x-kubernetes-group-version-kind", [])
        kind = _kind(resource)
        if kind not in kinds:
            kinds.append(kind)
        return {"$ref": self.prefix + name}

    def _add(self, name: str, schema: Schema) -> None:
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self._inline(schema)

    def _of(self, schema: Schema) -> Object:
        if not schema.name or schema.type != "object":
            return self._inline(schema)
        name = _component(schema.name)
        self._add(name, schema)
        reference = {"$ref": self.prefix + name}
        return {"allOf": [reference]} if self.is_v3 else reference

    def _inline(self, schema: Schema) -> Object:
        shown: Object = {}
        if schema.description:
            shown["description"] = schema.description
        if schema.int_or_string:
            if self.is_v3:
                shown["oneOf"] = [{"type": "integer"}, {"type": "string"}]
            else:
                shown["type"] = "string"
            shown["format"] = "int-or-string"
        elif schema.type:
            shown["type"] = schema.type
        if schema.format and not schema.int_or_string:
            shown["format"] = schema.format
        if schema.properties:
            shown["properties"] = {name: self._of(child) for name, child in schema.properties.items()}
        if schema.additional is not None:
            shown["additionalProperties"] = self._of(schema.additional)
        if schema.items is not None:
            shown["items"] = self._of(schema.items)
        if schema.required:
            shown["required"] = list(schema.required)
        if schema.has_default:
            shown["default"] = schema.default
        shown |= schema.checks
        shown |= _extensions(schema)
        return shown


def _extensions(schema: Schema) -> Object:
    shown: Object = {}
    if schema.preserve:
        shown["x-kubernetes-preserve-unknown-fields"] = True
    if schema.embedded:
        shown["x-kubernetes-embedded-resource"] = True
    if schema.list_keys:
        shown |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(schema.list_keys)}
    elif schema.list_set:
        shown["x-kubernetes-list-type"] = "set"
    elif schema.atomic:
        shown["x-kubernetes-list-type" if schema.type == "array" else "x-kubernetes-map-type"] = "atomic"
    if schema.merge:
        shown["x-kubernetes-patch-strategy"] = "merge,retainKeys" if schema.retain_keys else "merge"
        if schema.merge_key:
            shown["x-kubernetes-patch-merge-key"] = schema.merge_key
    elif schema.retain_keys:
        shown["x-kubernetes-patch-strategy"] = "retainKeys"
    return shown


def schema_component(resource: Resource) -> str:
    """The name of a kind's schema."""
    if resource.schema is not None and resource.schema.name:
        return _component(resource.schema.name)
    return f"{'.'.join(reversed(resource.group.split('.')))}.{resource.version}.{resource.kind}"


def _component(name: str) -> str:
    """core/v1.Pod -> io.k8s.api.core.v1.Pod"""
    group_version, _, kind = name.rpartition(".")
    group, _, version = group_version.rpartition("/")
    package = {
        "meta": "io.k8s.apimachinery.pkg.apis.meta",
        "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    }.get(group, f"io.k8s.api.{group}")
    return f"{package}.{version}.{kind}"


def _kind(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _paths(resource: Resource, path: str, schemas: _Schemas) -> Object:
    base = f"/{path}/namespaces/{{namespace}}" if resource.namespaced else f"/{path}"
    build = _Operations(resource, schemas)
    paths: Object = {f"{base}/{resource.plural}": {"post": build("post", _WRITE, (_JSON,))}}
    if "list" in resource.verbs:
        patches = _PATCHES if resource.strategy.custom else (*_PATCHES, _STRATEGIC)
        paths[f"{base}/{resource.plural}"]["get"] = build("list", _LIST)
        paths[f"{base}/{resource.plural}/{{name}}"] = {
            "get": build("get", ()),
            "put": build("put", _WRITE, (_JSON,)),
            "patch": build("patch", (*_WRITE, "force"), patches),
            "delete": build("delete", _DELETE),
        }
        if resource.namespaced:
            paths[f"/{path}/{resource.plural}"] = {"get": build("list", _LIST)}
    return paths


class _Operations:
    """Makes the operations of one resource."""

    def __init__(self, resource: Resource, schemas: _Schemas) -> None:
        self._resource = resource
        self._is_v3 = schemas.is_v3
        self._reference = schemas.refer(resource)

    def __call__(self, action: str, parameters: tuple[str, ...], bodies: tuple[str, ...] = ()) -> Object:
        media: Object = {"schema": self._reference}
        response: Object = {"description": "OK", "content": {_JSON: media}} if self._is_v3 else media
        operation: Object = {
            "parameters": [self._parameter(name) for name in parameters],
            "responses": {"200": {"description": "OK", **response}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _kind(self._resource),
        }
        if bodies and self._is_v3:
            operation["requestBody"] = {"content": dict.fromkeys(bodies, media)}
        elif bodies:
            operation["consumes"] = list(bodies)
            operation["parameters"].append({"name": "body", "in": "body", "required": True, **media})
        return operation

    def _parameter(self, name: str) -> Object:
        shape: dict[str, Any] = {"type": "string", "uniqueItems": True}
        return {"name": name, "in": "query", **({"schema": shape} if self._is_v3 else shape)}
