"""The requests of an API server, answered from a tracker: a `Rest` without a network.

Because it stands where the connection stands, everything above it is the real thing: the client with its three
projections and patches, and informers, which list and watch it.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import jsonpatch
import jsonpointer
import msgspec

from bobrapet.runtime.client.apiutil import RESTMapping
from bobrapet.runtime.client.fake.apply import apply, record_update
from bobrapet.runtime.client.fake.kinds import FakeRESTMapper
from bobrapet.runtime.client.fake.representation import represent, represent_list
from bobrapet.runtime.client.fake.schema import SchemaValidator
from bobrapet.runtime.client.fake.strategic import strategic_merge
from bobrapet.runtime.client.fake.subresources import create_subresource, scale_of, with_scale
from bobrapet.runtime.client.fake.tracker import VersionedTracker
from bobrapet.runtime.client.fake.watching import Watch
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.client.patch import merge_apply
from bobrapet.runtime.client.selectors import FieldSelector, LabelSelector
from bobrapet.runtime.client.typed_client import BUILT_IN_GROUPS
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import (
    BadRequest,
    Conflict,
    Expired,
    Invalid,
    MethodNotSupported,
    NotFound,
    UnsupportedMediaType,
)
from bobrapet.runtime.rest.interface import (
    APPLY_PATCH,
    DEFAULT_TIMEOUT,
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    Lines,
    Params,
)
from bobrapet.runtime.scheme import GroupVersionKind, GroupVersionResource

IndexFunc = Callable[[dict[str, Any]], list[str]]
"""The values of a field of an object, for field selectors."""


class FakeServer:
    """Implements `Rest`. The tracker is open to tests: seed it, look into it, end its watches."""

    def __init__(
        self,
        tracker: VersionedTracker | None = None,
        mapper: FakeRESTMapper | None = None,
        *,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self.tracker = tracker if tracker is not None else VersionedTracker(clock)
        self.mapper = mapper if mapper is not None else FakeRESTMapper()
        self._clock = clock
        self.with_status: set[GroupVersionKind] = set()
        self.indexes: dict[tuple[GroupVersionKind, str], IndexFunc] = {}
        self.schemas: dict[GroupVersionKind, SchemaValidator] = {}

    # Rest

    async def request(
        self,
        method: str,
        path: str,
        params: Params = None,
        body: bytes | None = None,
        content_type: str = JSON,
        *,
        accept: str = JSON,
        timeout: float | None = DEFAULT_TIMEOUT,
        before_send: Callable[[], None] | None = None,
    ) -> bytes:
        if body is not None and before_send is not None:
            before_send()
        if method == "GET" and (resources := self._discovery(path)) is not None:
            return msgspec.json.encode(resources)
        target = self._target(path)
        query = dict(params or {})
        sent = msgspec.json.decode(body) if body else {}
        match method:
            case "GET" if target.key.name:
                answer = represent(self._read(target), accept)
            case "GET":
                answer = self._list(target, query, accept)
            case "POST":
                answer = represent(self._create(target, query, sent), accept)
            case "PUT":
                answer = represent(self._update(target, query, sent), accept)
            case "PATCH":
                answer = represent(self._patch(target, query, sent, content_type), accept)
            case "DELETE":
                answer = self._delete(target, query, sent)
            case _:
                raise MethodNotSupported(f"the fake server knows no {method}")
        return msgspec.json.encode(answer)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        params: Params = None,
        *,
        accept: str = JSON,
        idle_timeout: float | None = None,
        connect_timeout: float = 30.0,
    ) -> AsyncIterator[Lines]:
        target = self._target(path)
        query = dict(params or {})
        if query.get("watch") != "true":
            raise BadRequest("the fake server streams watches only")
        watch = Watch(self.tracker, target.mapping.gvr, target.namespace, self._matcher(target, query), query, accept)
        try:
            yield watch
        finally:
            watch.stop()

    async def close(self) -> None:
        return None

    # Verbs

    def _read(self, target: _Target) -> dict[str, Any]:
        found = self.tracker.get(target.mapping.gvr, target.key)
        if target.subresource == "scale":
            return scale_of(found)
        if target.subresource and target.subresource != "status":
            raise NotFound(f"the fake server has no subresource {target.subresource!r} to read")
        return found

    def _list(self, target: _Target, query: dict[str, str], accept: str) -> dict[str, Any]:
        matches = self._matcher(target, query)
        found = [obj for obj in self.tracker.list(target.mapping.gvr, target.namespace) if matches(obj)]
        version, start = self.tracker.resource_version, 0
        if query.get("continue"):
            version, start = _position(query["continue"])
        limit = int(query.get("limit") or 0)
        page = found[start : start + limit] if limit else found[start:]
        metadata: dict[str, Any] = {"resourceVersion": version}
        left = len(found) - start - len(page)
        if left:
            metadata["continue"] = _token(version, start + len(page))
            metadata["remainingItemCount"] = left
        return represent_list(target.mapping.gvk, page, metadata, accept)

    def _create(self, target: _Target, query: dict[str, str], sent: dict[str, Any]) -> dict[str, Any]:
        dry_run = query.get("dryRun") == "All"
        if target.subresource:
            return create_subresource(
                self.tracker, target.mapping.gvr, target.key, target.subresource, sent, dry_run=dry_run
            )
        gvk = target.mapping.gvk
        obj = copy.deepcopy(sent)
        _check_kind(gvk, obj)
        if target.namespace:
            obj.setdefault("metadata", {})["namespace"] = target.namespace
        if gvk in self.with_status:
            obj.pop("status", None)
        if query.get("fieldManager"):
            record_update(None, obj, query["fieldManager"], self._timestamp())
        self._validate(gvk, obj)
        return self.tracker.create(target.mapping.gvr, obj, dry_run=dry_run)

    def _update(self, target: _Target, query: dict[str, str], sent: dict[str, Any]) -> dict[str, Any]:
        current = self.tracker.get(target.mapping.gvr, target.key)
        if target.subresource == "scale":
            scaled = self._store(target, query, with_scale(current, sent), current)
            return scale_of(scaled)
        _check_kind(target.mapping.gvk, sent)
        if sent.get("metadata", {}).get("name") not in (None, target.key.name):
            raise BadRequest("the name of the object does not match the name on the URL")
        return self._store(target, query, sent, current)

    def _patch(self, target: _Target, query: dict[str, str], sent: Any, content_type: str) -> dict[str, Any]:
        if content_type == APPLY_PATCH:
            return self._apply(target, query, sent)
        current = self.tracker.get(target.mapping.gvr, target.key)
        subject = scale_of(current) if target.subresource == "scale" else current
        patched = _patched(subject, sent, content_type, target.mapping.gvk)
        if target.subresource == "scale":
            return scale_of(self._store(target, query, with_scale(current, patched), current))
        return self._store(target, query, patched, current)

    def _apply(self, target: _Target, query: dict[str, str], wanted: dict[str, Any]) -> dict[str, Any]:
        manager = query.get("fieldManager")
        if not manager:
            raise BadRequest("apply needs a fieldManager")
        if wanted.get("metadata", {}).get("managedFields"):
            raise BadRequest("apply takes no metadata.managedFields")
        time, gvr = self._timestamp(), target.mapping.gvr
        force, dry_run = query.get("force") == "true", query.get("dryRun") == "All"
        try:
            current = self.tracker.get(gvr, target.key)
        except NotFound:
            if target.subresource:
                raise
            metadata = {"name": target.key.name, **({"namespace": target.namespace} if target.namespace else {})}
            frame = {"apiVersion": wanted["apiVersion"], "kind": wanted["kind"], "metadata": metadata}
            made = apply(frame, wanted, manager, force=force, time=time)
            if target.mapping.gvk in self.with_status:
                made.pop("status", None)
            self._validate(target.mapping.gvk, made)
            return self.tracker.create(gvr, made, dry_run=dry_run)
        given = wanted.get("metadata", {}).get("resourceVersion")
        if given and given != current["metadata"]["resourceVersion"]:
            raise Conflict(f'{gvr.resource} "{target.key.name}" was changed since version {given} was read')
        merged = apply(
            current, self._scoped(target, wanted), manager, force=force, time=time, subresource=target.subresource
        )
        return self._store(target, {**query, "fieldManager": ""}, merged, current, keep_owners=True)

    def _delete(self, target: _Target, query: dict[str, str], options: dict[str, Any]) -> dict[str, Any]:
        dry_run = bool(options.get("dryRun")) or query.get("dryRun") == "All"
        gvr = target.mapping.gvr
        if not target.key.name:
            matches = self._matcher(target, query)
            for obj in [obj for obj in self.tracker.list(gvr, target.namespace) if matches(obj)]:
                self.tracker.delete(gvr, _key_of(obj), dry_run=dry_run)
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        metadata = self.tracker.get(gvr, target.key)["metadata"]
        for name, value in (options.get("preconditions") or {}).items():
            if metadata.get(name) != value:
                raise Conflict(
                    f'{gvr.resource} "{target.key.name}": a precondition of the deletion does not hold, '
                    f"{name} is {metadata.get(name)}, not {value}"
                )
        marked = self.tracker.delete(gvr, target.key, dry_run=dry_run)
        if marked is not None:
            return marked
        details = {"name": target.key.name, "kind": gvr.resource, "uid": metadata.get("uid")}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    # Parts

    def _store(
        self,
        target: _Target,
        query: dict[str, str],
        sent: dict[str, Any],
        current: dict[str, Any],
        *,
        keep_owners: bool = False,
    ) -> dict[str, Any]:
        """Writes what a request may write: the object without its status, or the status alone."""
        gvk = target.mapping.gvk
        obj = self._scoped(target, sent, current)
        metadata = obj["metadata"]
        if not keep_owners:
            metadata.pop("managedFields", None)
            if current["metadata"].get("managedFields"):
                metadata["managedFields"] = current["metadata"]["managedFields"]
            manager = query.get("fieldManager")
            if manager or current["metadata"].get("managedFields"):
                record_update(current, obj, manager or "unknown", self._timestamp(), target.subresource)
        self._validate(gvk, obj)
        return self.tracker.replace(
            target.mapping.gvr,
            obj,
            dry_run=query.get("dryRun") == "All",
        )

    def _scoped(self, target: _Target, sent: dict[str, Any], current: dict[str, Any] | None = None) -> dict[str, Any]:
        """`sent`, with what this endpoint does not write taken from `current`; without it, taken out (apply)."""
        obj = copy.deepcopy(sent)
        metadata = obj.setdefault("metadata", {})
        metadata["name"] = target.key.name
        if target.namespace:
            metadata["namespace"] = target.namespace
        has_status = target.mapping.gvk in self.with_status
        if target.subresource == "status":
            if not has_status:
                raise NotFound(
                    f"{target.mapping.gvk.kind} has no status subresource in this fake client; opt it in with "
                    "with_status_subresource"
                )
            if current is None:
                return {name: obj[name] for name in ("apiVersion", "kind", "metadata", "status") if name in obj}
            merged = copy.deepcopy(current)
            merged["metadata"]["resourceVersion"] = metadata.get("resourceVersion")
            if "managedFields" in metadata:
                merged["metadata"]["managedFields"] = metadata["managedFields"]
            merged.pop("status", None)
            if "status" in obj:
                merged["status"] = obj["status"]
            return merged
        if has_status:
            obj.pop("status", None)
            if current is not None and "status" in current:
                obj["status"] = copy.deepcopy(current["status"])
        return obj

    def _matcher(self, target: _Target, query: dict[str, str]) -> Callable[[dict[str, Any]], bool]:
        labels = LabelSelector.parse(query.get("labelSelector"))
        fields = FieldSelector.parse(query.get("fieldSelector"))
        checks = [(entry, self._index(target.mapping.gvk, entry.field)) for entry in fields.requirements]

        def matches(obj: dict[str, Any]) -> bool:
            return labels.matches(obj["metadata"].get("labels")) and all(
                (entry.value in values(obj)) is entry.equal for entry, values in checks
            )

        return matches

    def _index(self, gvk: GroupVersionKind, field: str) -> IndexFunc:
        if field in ("metadata.name", "metadata.namespace"):
            name = field.partition(".")[2]
            return lambda obj: [obj["metadata"].get(name) or ""]
        try:
            return self.indexes[gvk, field]
        except KeyError:
            raise BadRequest(
                f"field {field} cannot be selected; register an index with with_index({gvk.kind}, {field!r}, ...)"
            ) from None

    def _validate(self, gvk: GroupVersionKind, obj: dict[str, Any]) -> None:
        validator = self.schemas.get(gvk)
        if validator is not None:
            validator.check(obj)

    def _timestamp(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _target(self, path: str) -> _Target:
        words = [unquote(word) for word in path.strip("/").split("/")]
        if words[0] == "api" and len(words) > 2:
            group, version, rest = "", words[1], words[2:]
        elif words[0] == "apis" and len(words) > 3:
            group, version, rest = words[1], words[2], words[3:]
        else:
            raise NotFound(f"the fake server serves no {path}")
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        mapping = self.mapper.of_resource(GroupVersionResource(group, version, rest[0]))
        if mapping is None:
            raise NotFound("the fake server serves no such resource")
        rest += ["", ""]
        return _Target(mapping, namespace, ObjectKey(namespace, rest[1]), rest[2])

    def _discovery(self, path: str) -> dict[str, Any] | None:
        words = path.strip("/").split("/")
        if not (words[0] == "api" and len(words) == 2) and not (words[0] == "apis" and len(words) == 3):
            return None
        api_version = "/".join(words[1:])
        served = self.mapper.of_group_version(api_version)
        if not served:
            raise NotFound("the fake server serves no such resource")
        resources = [{"name": m.resource, "kind": m.gvk.kind, "namespaced": m.namespaced} for m in served]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}


@dataclass(frozen=True, slots=True)
class _Target:
    """What a path names. A key without a name is the collection."""

    mapping: RESTMapping
    namespace: str
    key: ObjectKey
    subresource: str


def _check_kind(gvk: GroupVersionKind, obj: dict[str, Any]) -> None:
    said = (obj.get("apiVersion", gvk.api_version), obj.get("kind", gvk.kind))
    if said != (gvk.api_version, gvk.kind):
        raise BadRequest(f"the object is a {said[0]} {said[1]}, the URL is that of {gvk.api_version} {gvk.kind}")
    obj.setdefault("apiVersion", gvk.api_version)
    obj.setdefault("kind", gvk.kind)


def _patched(current: dict[str, Any], patch: Any, content_type: str, gvk: GroupVersionKind) -> dict[str, Any]:
    result: dict[str, Any]
    if content_type == MERGE_PATCH:
        result = merge_apply(current, patch)
    elif content_type == STRATEGIC_MERGE_PATCH:
        if gvk.group not in BUILT_IN_GROUPS:
            raise UnsupportedMediaType("custom resources know no strategic merge patch")
        result = strategic_merge(current, patch)
    elif content_type == JSON_PATCH:
        try:
            result = jsonpatch.apply_patch(current, patch)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
            raise Invalid(f"the JSON patch does not apply: {error}") from error
    else:
        raise UnsupportedMediaType(f"unknown patch type {content_type}")
    if isinstance(patch, dict) and (patch.get("metadata") or {}).get("resourceVersion") is None:
        result["metadata"] = {**result["metadata"], "resourceVersion": ""}
    return result


def _key_of(obj: dict[str, Any]) -> ObjectKey:
    metadata = obj["metadata"]
    return ObjectKey(metadata.get("namespace") or "", metadata["name"])


def _token(version: str, start: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([version, start])).decode()


def _position(token: str) -> tuple[str, int]:
    try:
        version, start = msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[str, int])
    except (ValueError, msgspec.DecodeError) as error:
        raise Expired("no such continue token") from error
    return version, start
