"""The subresources that do something of their own: log, binding, eviction, token, scale, finalize."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from bobrapet.local.apiserver import decoding, errors, patch
from bobrapet.local.apiserver.http import Request, Response, json_response
from bobrapet.local.apiserver.metadata import timestamp
from bobrapet.local.apiserver.rest import Call, DeleteOptions, Rest
from bobrapet.local.apiserver.selectors import selector_text
from bobrapet.local.apiserver.strategy import Strategy
from bobrapet.local.apiserver.tokens import Tokens
from bobrapet.local.apiserver.types import Object, Resource

_MIN_TOKEN_SECONDS = 600
_MAX_TOKEN_SECONDS = 1 << 32
_DEFAULT_TOKEN_SECONDS = 3600
_TEXT = "text/plain"
_SCALE = Resource(
    group="autoscaling",
    version="v1",
    plural="scales",
    kind="Scale",
    singular="scale",
    namespaced=True,
    strategy=Strategy(),
)


class LogSource(Protocol):
    """Whoever runs pods, as the place where their logs are.

    `open` raises `ApiError` when there is no such log (the pod waits, the container never ran) and else gives the
    bytes of the log, in chunks of any size; with `follow` until the container ends.
    """

    async def open(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool = False,
        previous: bool = False,
        timestamps: bool = False,
        tail_lines: int | None = None,
        since: datetime | None = None,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[bytes]: ...


class Subresources:
    """Serves them."""

    def __init__(self, rest: Rest, logs: LogSource | None) -> None:
        self._rest = rest
        self.logs = logs
        self.tokens: Tokens | None = None

    async def serve(self, request: Request, call: Call) -> Response:
        """Answers one request for a subresource other than status."""
        match call.subresource, request.method:
            case "log", "GET":
                return await self._log(request, call)
            case "binding", "POST":
                return await self._bind(request, call)
            case "eviction", "POST":
                return await self._evict(request, call)
            case "token", "POST":
                return await self._token(request, call)
            case "scale", "GET":
                return json_response(_scale(self._rest.decode(call, self._rest.get(call))))
            case "scale", "PUT" | "PATCH":
                return await self._set_scale(request, call)
            case "finalize", "PUT":
                obj = decoding.decode_for(call.resource, await request.read(), request.content_type)
                record, _ = await self._rest.update(call, obj)
                return Response(record.raw)
        raise errors.method_not_allowed()

    async def _log(self, request: Request, call: Call) -> Response:
        pod = self._rest.get(call).object()
        query = request.query
        container = _container(pod, query.get("container"))
        if self.logs is None:
            raise errors.internal("no node is attached to this server, so there are no logs")
        since: datetime | None = None
        if (seconds := query.integer("sinceSeconds")) is not None:
            since = datetime.fromtimestamp(request.now.timestamp() - seconds, request.now.tzinfo)
        elif text := query.get("sinceTime"):
            since = _moment(text)
        chunks = await self.logs.open(
            call.namespace,
            call.name,
            container,
            follow=query.flag("follow"),
            previous=query.flag("previous"),
            timestamps=query.flag("timestamps"),
            tail_lines=query.integer("tailLines"),
            since=since,
            limit_bytes=query.integer("limitBytes"),
        )
        return Response(chunks, content_type=_TEXT)

    async def _bind(self, request: Request, call: Call) -> Response:
        given = decoding.decode(await request.read(), request.content_type)
        node = (given.get("target") or {}).get("name", "")
        if not node:
            raise errors.bad_request("target.name: Required value")

        def bind(pod: Object) -> Object:
            if bound := pod["spec"].get("nodeName"):
                raise errors.conflict(
                    call.resource, call.name, f'pod {call.name} is already assigned to node "{bound}"'
                )
            pod["spec"]["nodeName"] = node
            condition = {
                "type": "PodScheduled",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": timestamp(call.now),
            }
            conditions = pod["status"].setdefault("conditions", [])
            pod["status"]["conditions"] = [*(c for c in conditions if c["type"] != "PodScheduled"), condition]
            return pod

        await self._rest.write(call, bind)
        return json_response(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201
        )

    async def _evict(self, request: Request, call: Call) -> Response:
        given = decoding.decode(await request.read(), request.content_type)
        options = given.get("deleteOptions") or {}
        preconditions = options.get("preconditions") or {}
        await self._rest.delete(
            call,
            DeleteOptions(
                grace_period=options.get("gracePeriodSeconds"),
                uid=preconditions.get("uid", ""),
                resource_version=preconditions.get("resourceVersion", ""),
            ),
        )
        return json_response(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201
        )

    async def _token(self, request: Request, call: Call) -> Response:
        account = self._rest.get(call).object()
        given = decoding.decode(await request.read(), request.content_type)
        spec = given.get("spec") or {}
        seconds = spec.get("expirationSeconds") or _DEFAULT_TOKEN_SECONDS
        if not _MIN_TOKEN_SECONDS <= seconds <= _MAX_TOKEN_SECONDS:
            limit = "less than 10 minutes" if seconds < _MIN_TOKEN_SECONDS else f"larger than 2^{32} seconds"
            raise errors.invalid_token_request(f"Invalid value: {seconds}: may not specify a duration {limit}")
        assert self.tokens is not None
        token, ends = self.tokens.issue(
            call.namespace,
            call.name,
            account["metadata"]["uid"],
            seconds=seconds,
            audiences=spec.get("audiences") or (),
            pod=self._bound_pod(call, spec.get("boundObjectRef")),
        )
        return json_response(
            {
                "kind": "TokenRequest",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": {
                    "name": call.name,
                    "namespace": call.namespace,
                    "creationTimestamp": timestamp(call.now),
                },
                "spec": {**spec, "expirationSeconds": seconds, "audiences": self.tokens.audiences(spec)},
                "status": {"token": token, "expirationTimestamp": timestamp(ends)},
            },
            201,
        )

    def _bound_pod(self, call: Call, reference: Object | None) -> tuple[str, str] | None:
        if not reference:
            return None
        if reference.get("kind") != "Pod":
            raise errors.bad_request(f"cannot bind token for serviceaccount to {reference.get('kind')}: only to a Pod")
        assert self.tokens is not None
        name = reference.get("name", "")
        uid = self.tokens.uid_of("pods", call.namespace, name)
        if uid is None:
            raise errors.ApiError(404, "NotFound", f'pods "{name}" not found', details={"name": name, "kind": "pods"})
        if reference.get("uid") and reference["uid"] != uid:
            raise errors.conflict(
                call.resource,
                call.name,
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated",
            )
        return name, uid

    async def _set_scale(self, request: Request, call: Call) -> Response:
        body = await request.read()

        def resize(obj: Object) -> Object:
            scale = _scale(obj)
            if request.method == "PUT":
                scale = decoding.decode(body, request.content_type)
            else:
                scale = patch.parse(request.content_type, body, call.resource)(scale)
            replicas = (scale.get("spec") or {}).get("replicas", 0)
            if not isinstance(replicas, int) or replicas < 0:
                fault = f"Invalid value: {replicas}: must be greater than or equal to 0"
                raise errors.invalid(_SCALE, call.name, [errors.FieldError("spec.replicas", fault)])
            obj["spec"]["replicas"] = replicas
            if version := scale["metadata"].get("resourceVersion"):
                obj["metadata"]["resourceVersion"] = version
            return obj

        whole = call.without_subresource()
        record = await self._rest.write(whole, resize)
        return json_response(_scale(self._rest.decode(whole, record)))


def _container(pod: Object, asked: str) -> str:
    spec = pod["spec"]
    names = [container["name"] for container in spec.get("containers") or []]
    initial = [container["name"] for container in spec.get("initContainers") or []]
    name = pod["metadata"]["name"]
    if not asked:
        if len(names) == 1:
            return str(names[0])
        chosen = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
        if chosen in names:
            return str(chosen)
        also = f" or one of the init containers: [{' '.join(initial)}]" if initial else ""
        raise errors.bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]{also}"
        )
    if asked not in names and asked not in initial:
        raise errors.bad_request(f"container {asked} is not valid for pod {name}")
    return asked


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise errors.bad_request(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse') from None


def _scale(obj: Object) -> Object:
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
    if selector := selector_text(obj["spec"].get("selector")):
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": replicas} if (replicas := obj["spec"].get("replicas", 0)) else {},
        "status": status,
    }
