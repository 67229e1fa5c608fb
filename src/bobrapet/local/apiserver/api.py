"""The Kubernetes API over the operations: paths to resources, verbs to calls, objects to bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from bobrapet.local.apiserver import discovery, errors, patch
from bobrapet.local.apiserver.http import Request, Response, json_response, status_success
from bobrapet.local.apiserver.reading import ListOptions, Reader
from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.representation import MetadataOnly, Plain, Representation
from bobrapet.local.apiserver.rest import Call, DeleteOptions, Rest
from bobrapet.local.apiserver.types import Object, Resource

_YAML = "application/yaml"
_BODIES = ("application/json", _YAML, "application/vnd.kubernetes.protobuf")
_WATCH_TIMEOUT = 1800.0
"""Seconds a watch lasts when the client does not say; the upper half of a kube-apiserver's range."""


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a resource path."""

    resource: Resource
    namespace: str | None
    name: str
    subresource: str


class Api:
    """Dispatches requests below /api and /apis."""

    def __init__(self, registry: Registry, rest: Rest, reader: Reader, address: Callable[[], str]) -> None:
        self._registry = registry
        self._rest = rest
        self._reader = reader
        self._address = address

    async def serve(self, request: Request) -> Response:
        """Answers one request."""
        parts = [part for part in request.path.split("/") if part]
        if parts == ["api"] or parts == ["apis"]:
            return self._discover(request, core=parts == ["api"])
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else _split(parts)
        if not version:
            found = discovery.group(self._registry, group)
        elif not rest:
            found = discovery.resource_list(self._registry, group, version)
        else:
            target = self._target(group, version, rest)
            return await self._dispatch(request, target)
        if found is None:
            raise errors.no_such_path()
        return json_response(found)

    def _discover(self, request: Request, *, core: bool) -> Response:
        if "as=APIGroupDiscoveryList" in request.headers.get("Accept", ""):
            body = discovery.aggregated(self._registry, core=core)
            response = json_response(body)
            response.content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            return response
        return json_response(discovery.api_versions(self._address()) if core else discovery.group_list(self._registry))

    def _target(self, group: str, version: str, parts: list[str]) -> Target:
        namespace: str | None = None
        if parts[0] == "namespaces" and len(parts) > 2 and not (group == "" and parts[2] in ("status", "finalize")):
            namespace, parts = parts[1], parts[2:]
        resource = self._registry.get(group, version, parts[0])
        if resource is None:
            if not self._registry.resources(group, version):
                raise errors.no_such_path()
            raise errors.no_such_resource()
        if len(parts) > 3 or (namespace is not None and not resource.namespaced):
            raise errors.no_such_resource()
        if namespace is None and resource.namespaced and len(parts) > 1:
            raise errors.no_such_resource()
        name, subresource = (*parts[1:], "", "")[:2]
        if subresource and subresource not in resource.subresources:
            raise errors.no_such_resource()
        return Target(resource, namespace, name, subresource)

    async def _dispatch(self, request: Request, target: Target) -> Response:
        call = Call(
            user=request.user,
            resource=target.resource,
            namespace=target.namespace or "",
            name=target.name,
            subresource=target.subresource,
            now=request.now,
            dry_run=_dry_run(request),
            field_manager=request.query.get("fieldManager"),
        )
        match request.method, bool(target.name):
            case "GET", True if not request.query.flag("watch"):
                record = self._rest.get(call)
                return Response(self._representation(request, target.resource).one(record))
            case "GET", _:
                return self._read_many(request, target)
            case "POST", False if target.namespace is not None or not target.resource.namespaced:
                obj = await self._body(request, target.resource)
                return self._written(request, call, await self._rest.create(call, obj), 201)
            case "PUT", True:
                obj = await self._body(request, target.resource)
                record, created = await self._rest.update(call, obj)
                return self._written(request, call, record, 201 if created else 200)
            case "PATCH", True:
                return await self._patch(request, call)
            case "DELETE", True if not target.subresource:
                return await self._delete(request, call)
            case "DELETE", False:
                return await self._delete_collection(request, target)
        raise errors.method_not_allowed(target.resource, request.method)

    def _read_many(self, request: Request, target: Target) -> Response:
        options = _list_options(request, target)
        representation = self._representation(request, target.resource)
        if request.query.flag("watch"):
            return Response(self._reader.watch(target.resource, options, representation))
        return Response(self._reader.list(target.resource, options, representation))

    async def _patch(self, request: Request, call: Call) -> Response:
        body = await request.read()
        transform: Callable[[Object], Object]
        match request.content_type:
            case patch.MERGE:
                given = decode(body, "application/json")

                def transform(obj: Object) -> Object:
                    return _object(patch.merge(obj, given))
            case patch.JSON_PATCH:
                operations = patch.parse_json_patch(body)

                def transform(obj: Object) -> Object:
                    return _object(patch.apply_json_patch(obj, operations))
            case _:
                raise errors.unsupported_media_type(request.content_type, (patch.JSON_PATCH, patch.MERGE))
        return self._written(request, call, await self._rest.write(call, transform), 200)

    async def _delete(self, request: Request, call: Call) -> Response:
        deleted = await self._rest.delete(call, await self._delete_options(request))
        if deleted.gone and not call.resource.strategy.returns_deleted:
            resource = call.resource
            details = {"name": call.name, "kind": resource.plural, "uid": deleted.record.object()["metadata"]["uid"]}
            if resource.group:
                details["group"] = resource.group
            return json_response(status_success(**details))
        return Response(self._representation(request, call.resource).one(deleted.record))

    async def _delete_collection(self, request: Request, target: Target) -> Response:
        options = await self._delete_options(request)
        chosen = _list_options(request, target)
        before = self._reader.list(target.resource, chosen, self._representation(request, target.resource))
        for record in self._reader.matching(target.resource, chosen):
            call = Call(
                user=request.user,
                resource=target.resource,
                namespace=record.key.namespace,
                name=record.key.name,
                now=request.now,
                dry_run=_dry_run(request),
            )
            try:
                await self._rest.delete(call, options)
            except errors.ApiError as error:
                if error.code != 404:
                    raise
        return Response(before)

    async def _delete_options(self, request: Request) -> DeleteOptions:
        body = await request.read()
        given = decode(body, request.content_type or "application/json") if body else {}
        preconditions = given.get("preconditions") or {}
        grace = given.get("gracePeriodSeconds")
        if grace is None:
            grace = request.query.integer("gracePeriodSeconds")
        orphan = given.get("orphanDependents")
        propagation = given.get("propagationPolicy") or request.query.get("propagationPolicy")
        if orphan is not None and not propagation:
            propagation = "Orphan" if orphan else "Background"
        return DeleteOptions(
            grace_period=grace,
            propagation=propagation,
            uid=preconditions.get("uid", ""),
            resource_version=preconditions.get("resourceVersion", ""),
        )

    async def _body(self, request: Request, resource: Resource) -> Object:
        obj = decode(await request.read(), request.content_type or "application/json")
        kind, api_version = obj.get("kind"), obj.get("apiVersion")
        if not kind or not api_version:
            obj["kind"], obj["apiVersion"] = kind or resource.kind, api_version or resource.api_version
        elif (api_version, kind) != (resource.api_version, resource.kind):
            raise errors.bad_request(
                f"{kind} in version {api_version!r} cannot be handled as a {resource.kind}: "
                f"converting ({api_version}, Kind={kind}) to ({resource.api_version}, Kind={resource.kind}): "
                "unknown conversion"
            )
        _object(obj)
        resource.strategy.default(obj)
        return obj

    def _written(self, request: Request, call: Call, record: Any, code: int) -> Response:
        body = self._representation(request, call.resource).one(record)
        return Response(body, code)

    def _representation(self, request: Request, resource: Resource) -> Representation:
        accept = request.headers.get("Accept", "")
        if "as=PartialObjectMetadata" in accept:
            return MetadataOnly()
        return Plain(resource)


def decode(body: bytes, content_type: str) -> Object:
    """The object of a request body; 400 when it is none, 415 for other formats."""
    if content_type == _YAML:
        try:
            value = yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise errors.bad_request(f"error converting YAML to JSON: {error}") from None
    elif content_type == "application/json":
        try:
            value = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise errors.bad_request(f"error decoding body: {error}") from None
    else:
        raise errors.unsupported_media_type(content_type, _BODIES)
    if not isinstance(value, dict):
        raise errors.bad_request("the body of the request is no object")
    return value


def _object(value: Any) -> Object:
    """Makes sure that what was decoded or patched has the shape of an object."""
    if not isinstance(value, dict) or not isinstance(value.setdefault("metadata", {}), dict):
        raise errors.bad_request("the body of the request is no Kubernetes object")
    return value


def _split(parts: list[str]) -> tuple[str, str, list[str]]:
    return parts[1], parts[2] if len(parts) > 2 else "", parts[3:]


def _dry_run(request: Request) -> bool:
    given = request.query.get("dryRun")
    if given not in ("", "All"):
        raise errors.bad_request(f"invalid dryRun value {given!r}: the only value is All")
    return given == "All"


def _list_options(request: Request, target: Target) -> ListOptions:
    query = request.query
    initial = query.get("sendInitialEvents")
    return ListOptions(
        namespace=target.namespace,
        name=target.name,
        label_selector=query.get("labelSelector"),
        field_selector=query.get("fieldSelector"),
        resource_version=query.get("resourceVersion"),
        resource_version_match=query.get("resourceVersionMatch"),
        limit=query.integer("limit") or 0,
        continue_token=query.get("continue"),
        bookmarks=query.flag("allowWatchBookmarks"),
        send_initial_events=query.flag("sendInitialEvents") if initial else None,
        timeout=query.integer("timeoutSeconds") or _WATCH_TIMEOUT,
    )
