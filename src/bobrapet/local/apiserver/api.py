"""The Kubernetes API over the operations: paths to resources, verbs to calls, objects to bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bobrapet.local.apiserver import apply, decoding, discovery, errors, fields, patch
from bobrapet.local.apiserver.authorization import Attributes, Authorizer, check
from bobrapet.local.apiserver.http import Request, Response, json_response, status_success
from bobrapet.local.apiserver.reading import ListOptions, Reader
from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.representation import Representation, negotiate
from bobrapet.local.apiserver.rest import Call, DeleteOptions, Rest
from bobrapet.local.apiserver.reviews import Reviews
from bobrapet.local.apiserver.subresources import Subresources
from bobrapet.local.apiserver.typed import TypeMismatch
from bobrapet.local.apiserver.types import Object, Resource
from bobrapet.local.store import Record

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OPTIONS = {
    "DELETE": "DeleteOptions",
    "GET": "ListOptions",
    "HEAD": "ListOptions",
    "PATCH": "PatchOptions",
    "POST": "CreateOptions",
    "PUT": "UpdateOptions",
}
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

    def __init__(
        self,
        registry: Registry,
        rest: Rest,
        reader: Reader,
        subresources: Subresources,
        reviews: Reviews,
        authorizer: Authorizer,
        address: Callable[[], str],
    ) -> None:
        self._registry = registry
        self._rest = rest
        self._reader = reader
        self._subresources = subresources
        self._reviews = reviews
        self._authorizer = authorizer
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
            raise errors.no_such_resource() if self._registry.versions(group) else errors.no_such_path()
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
            if not self._registry.versions(group):
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
        self._authorize(request, target)
        call = self._call(request, target)
        try:
            return await self._serve(request, target, call)
        except errors.ApiError as error:
            error.warnings = tuple(call.warnings)
            raise

    async def _serve(self, request: Request, target: Target, call: Call) -> Response:
        if target.resource.verbs == ("create",):
            if request.method != "POST" or target.name:
                raise errors.method_not_allowed()
            return await self._reviews.serve(request, call)
        if target.subresource and target.subresource != "status":
            return await self._subresources.serve(request, call)
        match request.method, bool(target.name):
            case "GET" | "HEAD", True if not request.query.flag("watch"):
                return Response(self._representation(request, target.resource).one(self._rest.get(call)))
            case "GET" | "HEAD", _:
                return self._read_many(request, target)
            case "POST", False if target.namespace is not None or not target.resource.namespaced:
                obj = await self._body(request, call)
                return self._written(request, call, await self._rest.create(call, obj), 201)
            case "PUT", True:
                obj = await self._body(request, call)
                record, created = await self._rest.update(call, obj)
                return self._written(request, call, record, 201 if created else 200)
            case "PATCH", True:
                record, created = await self._patch(request, call)
                return self._written(request, call, record, 201 if created else 200)
            case "DELETE", True if not target.subresource:
                return await self._delete(request, call)
            case "DELETE", False:
                return await self._delete_collection(request, target)
        raise errors.method_not_allowed()

    def _authorize(self, request: Request, target: Target) -> None:
        if request.method in ("GET", "HEAD"):
            many = "watch" if request.query.flag("watch") else "list"
            verb = "get" if target.name and many == "list" else many
        else:
            verb = _VERBS.get(request.method, request.method.lower())
            verb = "deletecollection" if verb == "delete" and not target.name else verb
        check(
            self._authorizer,
            Attributes(
                user=request.user,
                verb=verb,
                group=target.resource.group,
                resource=target.resource.plural,
                subresource=target.subresource,
                namespace=target.namespace or "",
                name=target.name,
            ),
        )

    def _call(self, request: Request, target: Target) -> Call:
        return Call(
            user=request.user,
            resource=target.resource,
            namespace=target.namespace or "",
            name=target.name,
            subresource=target.subresource,
            now=request.now,
            dry_run=_dry_run(request),
            field_manager=request.query.get("fieldManager") or _agent(request),
        )

    def _read_many(self, request: Request, target: Target) -> Response:
        options = _list_options(request, target)
        representation = self._representation(request, target.resource)
        if request.query.flag("watch"):
            return Response(self._reader.watch(target.resource, options, representation))
        return Response(self._reader.list(target.resource, options, representation))

    async def _patch(self, request: Request, call: Call) -> tuple[Record, bool]:
        body = await request.read()
        if request.content_type not in patch.types_for(call.resource):
            raise errors.unsupported_media_type(patch.types_for(call.resource))
        validation = _validation(request)
        if request.content_type == patch.APPLY:
            return await self._apply(request, call, body)
        change = patch.parse(request.content_type, body, call.resource)

        def transform(obj: Object) -> Object:
            before = obj["metadata"]["name"]
            patched = change(obj)
            if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
                raise errors.bad_request("the patch leaves no object")
            if patched["metadata"].get("name") != before:
                raise errors.name_mismatch(patched["metadata"].get("name", ""), before)
            fields.conform_patched(call, patched, validation)
            return patched

        return await self._rest.write(call, transform), False

    async def _apply(self, request: Request, call: Call, body: bytes) -> tuple[Record, bool]:
        if not request.query.get("fieldManager"):
            raise errors.invalid_options(
                "fieldManager",
                "Required value: is required for apply patch",
                kind="PatchOptions",
                reason="FieldValueRequired",
            )
        config = apply.parse(call.resource, decoding.decode(body, decoding.YAML), call.name, call.namespace)
        unknown: list[str] = []
        try:
            call.resource.strategy.conform_type(config, unknown)
        except TypeMismatch as error:
            raise decoding.unfit(call.resource, str(error)) from None
        if unknown:
            raise errors.undeclared(call.resource, call.name, unknown)

        def conform(obj: Object) -> None:
            fields.conform_patched(call, obj, "Ignore")

        return await self._rest.apply(call, config, conform, force=request.query.flag("force"))

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
            call = self._call(request, Target(target.resource, record.key.namespace, record.key.name, ""))
            try:
                await self._rest.delete(call, options)
            except errors.ApiError as error:
                if error.code != 404:
                    raise
        return Response(before)

    async def _delete_options(self, request: Request) -> DeleteOptions:
        body = await request.read()
        given = decoding.decode(body, request.content_type) if body else {}
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
            propagation=_propagation(propagation),
            uid=preconditions.get("uid", ""),
            resource_version=preconditions.get("resourceVersion", ""),
        )

    async def _body(self, request: Request, call: Call) -> Object:
        obj = decoding.decode_for(call.resource, await request.read(), request.content_type)
        fields.conform(call, obj, _validation(request))
        return obj

    def _written(self, request: Request, call: Call, record: Record, code: int) -> Response:
        body = self._representation(request, call.resource).one(record)
        return Response(body, code, warnings=call.warnings)

    def _representation(self, request: Request, resource: Resource) -> Representation:
        query = request.query.get("includeObject")
        return negotiate(request.headers.get("Accept", ""), query, resource, request.now)


def _split(parts: list[str]) -> tuple[str, str, list[str]]:
    return parts[1], parts[2] if len(parts) > 2 else "", parts[3:]


def _agent(request: Request) -> str:
    """The field manager of a client that names none: its program."""
    return request.headers.get("User-Agent", "unknown").partition("/")[0][:128]


def _dry_run(request: Request) -> bool:
    given = request.query.get("dryRun")
    if given not in ("", "All"):
        text = f'Unsupported value: ["{given}"]: supported values: "All"'
        raise errors.invalid_options("dryRun", text, kind=_OPTIONS[request.method])
    return given == "All"


def _validation(request: Request) -> str:
    return fields.level(request.query.get("fieldValidation"), _OPTIONS[request.method])


def _propagation(given: str) -> str:
    if given not in ("", "Foreground", "Background", "Orphan"):
        text = f'Unsupported value: "{given}": supported values: "Foreground", "Background", "Orphan", "nil"'
        raise errors.invalid_options("propagationPolicy", text, kind="DeleteOptions")
    return given


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
