"""OpenAPI v3 documents, one per group version, made from the registry when first asked for.

kubectl reads them for `explain`, for merge keys, and to learn that the server validates fields itself.
"""

from __future__ import annotations

import hashlib
from typing import Any

from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.representation import encode
from bobrapet.local.apiserver.types import Object, Resource

_JSON = "application/json"
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_LIST_PARAMETERS = (
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


class OpenApi:
    """The documents of the current registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._documents: dict[str, bytes] = {}

    def index(self) -> Object:
        """`/openapi/v3`."""
        paths = {}
        for group in self._registry.groups():
            for version in self._registry.versions(group):
                path = _path(group, version)
                digest = hashlib.sha256(self._document(group, version)).hexdigest()[:32].upper()
                paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return {"paths": paths}

    def document(self, path: str) -> bytes | None:
        """`/openapi/v3/PATH`; None when there is no such group version."""
        for group in self._registry.groups():
            for version in self._registry.versions(group):
                if _path(group, version) == path:
                    return self._document(group, version)
        return None

    def _document(self, group: str, version: str) -> bytes:
        if self._generation != self._registry.generation:
            self._documents.clear()
            self._generation = self._registry.generation
        path = _path(group, version)
        document = self._documents.get(path)
        if document is None:
            document = self._documents[path] = encode(_build(self._registry.resources(group, version), path))
        return document


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _build(resources: list[Resource], path: str) -> Object:
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for resource in resources:
        name = schema_name(resource)
        schemas[name] = _schema(resource)
        base = f"/{path}/namespaces/{{namespace}}" if resource.namespaced else f"/{path}"
        paths[f"{base}/{resource.plural}"] = {
            "get": _operation(resource, name, "list", _LIST_PARAMETERS),
            "post": _operation(resource, name, "post", _WRITE_PARAMETERS, body=(_JSON,)),
        }
        paths[f"{base}/{resource.plural}/{{name}}"] = {
            "get": _operation(resource, name, "get", ()),
            "put": _operation(resource, name, "put", _WRITE_PARAMETERS, body=(_JSON,)),
            "patch": _operation(resource, name, "patch", (*_WRITE_PARAMETERS, "force"), body=_PATCHES),
            "delete": _operation(resource, name, "delete", ("dryRun", "gracePeriodSeconds", "propagationPolicy")),
        }
        if resource.namespaced:
            paths[f"/{path}/{resource.plural}"] = {"get": _operation(resource, name, "list", _LIST_PARAMETERS)}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def schema_name(resource: Resource) -> str:
    """The component name of a kind: the group reversed, version, kind."""
    group = ".".join(reversed(resource.group.split("."))) if resource.group else "io.k8s.api.core"
    return f"{group}.{resource.version}.{resource.kind}"


def _schema(resource: Resource) -> Object:
    return {
        "type": "object",
        "x-kubernetes-group-version-kind": [_kind(resource)],
        "x-kubernetes-preserve-unknown-fields": True,
    }


def _kind(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _operation(
    resource: Resource, name: str, action: str, parameters: tuple[str, ...], body: tuple[str, ...] = ()
) -> Object:
    reference = {"schema": {"$ref": f"#/components/schemas/{name}"}}
    operation: Object = {
        "parameters": [
            {"name": parameter, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for parameter in parameters
        ],
        "responses": {"200": {"description": "OK", "content": {_JSON: reference}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _kind(resource),
    }
    if body:
        operation["requestBody"] = {"content": dict.fromkeys(body, reference)}
    return operation
