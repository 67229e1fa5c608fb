"""Create, read, update, patch, delete: what happens to an object between the request and the store.

Knows nothing of HTTP. Every write is optimistic: read, compute, compare-and-set, and compute again when somebody else
was faster, unless the client insisted on a resourceVersion.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from bobrapet.local.apiserver import apply, errors, metadata
from bobrapet.local.apiserver.errors import FieldError, Tolerated
from bobrapet.local.apiserver.strategy import Writing
from bobrapet.local.apiserver.types import Object, Resource, User
from bobrapet.local.store import Key, ObjectTooLarge, Record, RevisionConflict, Store, StoreFull, StoreUnavailable

OBJECT_LIMIT = 1536 * 1024
"""Bytes of one stored object; etcd's default for a request."""
_NAME_ATTEMPTS = 8
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(slots=True, kw_only=True)
class Call:
    """One request, decoded: who wants what of which resource, and how."""

    user: User
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    now: datetime
    dry_run: bool = False
    field_manager: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """Where the object lives."""
        return Key(self.resource.storage, self.namespace, self.name)

    def without_subresource(self) -> Call:
        """The same call on the object as a whole."""
        return replace(self, subresource="")

    def warn(self, text: str) -> None:
        """Tells the client something in a Warning header, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def writing(self) -> Writing:
        """The part a strategy sees."""
        return Writing(self.user, self.now, self.namespace, self.subresource)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """`meta/v1 DeleteOptions`."""

    grace_period: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """The outcome of a delete: the object, and whether it is gone or only marked."""

    record: Record
    gone: bool


class Admission(Protocol):
    """The seam for namespace lifecycle, quotas and webhooks; `operation` is CREATE, UPDATE or DELETE."""

    async def admit(self, call: Call, operation: str, obj: Object | None, old: Object | None) -> None:
        """May change `obj`, as the client sent it, or raise `ApiError`."""

    async def validate(self, call: Call, operation: str, obj: Object | None, old: Object | None) -> None:
        """May raise `ApiError` for `obj`, as it would be stored."""


Transform = Callable[[Object], Object | Awaitable[Object]]


class Rest:
    """The generic operations over the store."""

    def __init__(self, store: Store, admission: Admission) -> None:
        self._store = store
        self._admission = admission

    def get(self, call: Call) -> Record:
        """The current state, or 404."""
        record = self._store.get(call.key)
        if record is None:
            raise errors.not_found(call.resource, call.name)
        return record

    async def create(self, call: Call, obj: Object) -> Record:
        """Stores a new object; returns it as stored."""
        resource = call.resource
        strategy = resource.strategy
        call.namespace = self._namespace_of(call, obj)
        meta = obj["metadata"]
        if meta.get("resourceVersion"):
            raise errors.ApiError(500, "", "resourceVersion should not be set on objects to be created")
        if call.name and meta.setdefault("name", call.name) != call.name:
            raise errors.name_mismatch(meta["name"], call.name)
        base = meta.get("generateName", "")
        generate = bool(base) and not meta.get("name")
        metadata.initialise(obj, call.namespace, call.now)
        if not obj["metadata"].get("managedFields"):
            meta.pop("managedFields", None)
        call.name = meta.get("name", "")
        await self._admission.admit(call, "CREATE", obj, None)
        meta = obj["metadata"]
        strategy.prepare_create(obj, call.writing())
        for attempt in range(_NAME_ATTEMPTS if generate else 1):
            if generate:
                meta["name"] = metadata.generated_name(base)
            call.name = meta.get("name", "")
            if generate and self._store.get(call.key) is not None:
                continue
            self._check(call, metadata.validate(obj, resource) + strategy.validate(obj))
            if attempt == 0:
                await self._admission.validate(call, "CREATE", obj, None)
            if self._store.get(call.key) is not None:
                raise errors.already_exists(resource, call.name)
            if call.dry_run:
                return _unstored(call, obj)
            try:
                return await self._put(call, obj, 0)
            except RevisionConflict:
                if not generate:
                    raise errors.already_exists(resource, call.name) from None
        raise errors.generated_name_taken(resource, call.name)

    async def update(self, call: Call, obj: Object) -> tuple[Record, bool]:
        """Replaces an object; returns it as stored, and whether it was created by this."""
        if obj["metadata"].get("name") != call.name:
            given = obj["metadata"].get("name")
            if not given:
                raise errors.bad_request("name must be provided")
            raise errors.name_mismatch(given, call.name)
        self._namespace_of(call, obj)
        resource = call.resource
        if self._store.get(call.key) is None and resource.strategy.create_on_update and not call.subresource:
            return await self.create(call, obj), True
        given = obj["metadata"].get("resourceVersion", "")
        if not given and not resource.strategy.unconditional_update:
            fault = FieldError("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")
            self.get(call)
            raise errors.invalid(resource, call.name, [fault], kind=resource.plural)
        return await self.write(call, lambda _old: _copy(obj)), False

    async def write(self, call: Call, transform: Transform) -> Record:
        """Applies `transform` to the current state and stores the result.

        `transform` gets a copy it may change and may be called again on a newer state. A resourceVersion in its result
        that is not the current one is a 409; one that equals it insists on nothing more.
        """
        return await self._write(call, transform, tracked=False)

    async def _write(self, call: Call, transform: Transform, *, tracked: bool) -> Record:
        while True:
            record = self.get(call)
            old = self.decode(call, record)
            given = transform(self.decode(call, record))
            obj = given if isinstance(given, dict) else await given
            asked = obj["metadata"].get("resourceVersion") or str(record.revision)
            if asked != str(record.revision):
                raise errors.conflict(call.resource, call.name, errors.MODIFIED)
            obj["metadata"]["resourceVersion"] = str(record.revision)
            await self._prepare_update(call, obj, old)
            if not tracked:
                self._track(call, obj, old)
            if obj == old:
                return record
            if call.dry_run:
                return _unstored(call, obj)
            try:
                return await self._store_update(call, obj, old, record.revision)
            except RevisionConflict:
                continue

    async def apply(
        self, call: Call, config: Object, conform: Callable[[Object], None], *, force: bool
    ) -> tuple[Record, bool]:
        """Server-side apply; returns the object, and whether this created it."""
        only_status = call.subresource == "status"
        if call.resource.strategy.has_status:
            kept = ("apiVersion", "kind", "metadata", *(("status",) if only_status else ()))
            config = {
                name: value for name, value in config.items() if (name in kept if only_status else name != "status")
            }

        def transform(live: Object) -> Object:
            result = apply.apply(
                live,
                config,
                call.resource.schema,
                manager=call.field_manager,
                subresource=call.subresource,
                force=force,
                now=call.now,
            )
            conform(result)
            return result

        if self._store.get(call.key) is not None or call.subresource:
            return await self._write(call, transform, tracked=True), False
        if config["metadata"].get("uid"):
            raise errors.conflict(
                call.resource,
                call.name,
                "uid mismatch: the provided object specified uid "
                f"{config['metadata']['uid']}, and no existing object was found",
            )
        nothing: Object = {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": {}}
        try:
            return await self.create(call, transform(nothing)), True
        except errors.ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        return await self._write(call, transform, tracked=True), False

    async def delete(self, call: Call, options: DeleteOptions) -> Deleted:
        """Removes an object, or marks it when finalizers or a grace period stand before that."""
        strategy = call.resource.strategy
        while True:
            record = self.get(call)
            obj = self.decode(call, record)
            meta = obj["metadata"]
            _check_preconditions(call, options, meta)
            await self._admission.admit(call, "DELETE", None, obj)
            await self._admission.validate(call, "DELETE", None, obj)
            grace = strategy.grace_period(obj, options.grace_period)
            before = meta.get("finalizers") or []
            finalizers = _finalizers_for(before, options.propagation or strategy.default_propagation)
            marked = "deletionTimestamp" in meta
            if not finalizers and grace == 0 and not strategy.outlives_finalizers(obj):
                if call.dry_run:
                    return Deleted(record, gone=True)
                if strategy.graceful:
                    _mark(meta, call.now, 0)
                try:
                    removed = await self._remove(call, obj, record.revision)
                except RevisionConflict:
                    continue
                return Deleted(removed, gone=True)
            if finalizers:
                meta["finalizers"] = finalizers
            _mark(meta, call.now, grace)
            if not marked and strategy.has_generation:
                meta["generation"] = meta.get("generation", 1) + 1
            strategy.mark_deleted(obj)
            if obj == self.decode(call, record):
                return Deleted(record, gone=False)
            if call.dry_run:
                return Deleted(_unstored(call, obj), gone=False)
            try:
                return Deleted(await self._put(call, obj, record.revision), gone=False)
            except RevisionConflict:
                continue

    async def _prepare_update(self, call: Call, obj: Object, old: Object) -> None:
        resource = call.resource
        strategy = resource.strategy
        meta, before = obj["metadata"], old["metadata"]
        if (uid := meta.get("uid")) and uid != before["uid"]:
            raise errors.conflict(
                resource,
                call.name,
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}",
            )
        await self._admission.admit(call, "UPDATE", obj, old)
        meta = obj["metadata"]
        metadata.carry_over(obj, old)
        faults = _immutable_identity(meta, before)
        if call.subresource == "status":
            strategy.prepare_status_update(obj, old, call.writing())
        else:
            strategy.prepare_update(obj, old, call.writing())
        faults += metadata.validate_update(obj, old) + metadata.validate(obj, resource)
        faults += strategy.validate(obj, old)
        self._check(call, faults)
        await self._admission.validate(call, "UPDATE", obj, old)

    def _track(self, call: Call, obj: Object, old: Object) -> None:
        """Notes who changed what, for objects of which that is kept."""
        if "managedFields" in obj["metadata"] or "managedFields" in old["metadata"]:
            apply.track(
                obj,
                old,
                call.resource.schema,
                manager=call.field_manager,
                subresource=call.subresource,
                now=call.now,
            )

    async def _store_update(self, call: Call, obj: Object, old: Object, revision: int) -> Record:
        meta = obj["metadata"]
        # The last finalizer of a marked object is gone: the write is the removal.
        if (
            "deletionTimestamp" in meta
            and not meta.get("finalizers")
            and not call.resource.strategy.outlives_finalizers(obj)
            and (old["metadata"].get("finalizers") or meta.get("deletionGracePeriodSeconds") == 0)
        ):
            return await self._remove(call, obj, revision)
        return await self._put(call, obj, revision)

    def decode(self, call: Call, record: Record) -> Object:
        """A fresh copy of the object in the version of the call."""
        obj = record.object()
        return call.resource.strategy.from_storage(obj, call.resource) if call.resource.stored_as else obj

    async def _put(self, call: Call, obj: Object, expected: int) -> Record:
        try:
            obj = _stored(call, obj)
            return await self._store.put(call.key, obj, expected=expected, limit=OBJECT_LIMIT)
        except ObjectTooLarge as error:
            raise errors.too_large_object(error.limit) from error
        except StoreUnavailable as error:
            raise _unavailable(error) from error

    async def _remove(self, call: Call, obj: Object, expected: int) -> Record:
        try:
            return await self._store.delete(call.key, _stored(call, obj), expected=expected)
        except StoreUnavailable as error:
            raise _unavailable(error) from error

    def _namespace_of(self, call: Call, obj: Object) -> str:
        given = obj["metadata"].get("namespace") or ""
        if not call.resource.namespaced:
            return ""
        if given and given != call.namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        obj["metadata"]["namespace"] = call.namespace
        return call.namespace

    def _check(self, call: Call, faults: list[FieldError]) -> None:
        refused = []
        for fault in faults:
            if isinstance(fault, Tolerated):
                call.warn(str(fault))
            else:
                refused.append(fault)
        if refused:
            raise errors.invalid(call.resource, call.name, refused)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _stored(call: Call, obj: Object) -> Object:
    return call.resource.strategy.to_storage(obj, call.resource) if call.resource.stored_as else obj


def _unstored(call: Call, obj: Object) -> Record:
    """What a dry run answers with."""
    return Record(call.key, 0, msgspec.json.encode(_stored(call, obj)), None)


def _unavailable(error: StoreUnavailable) -> errors.ApiError:
    if isinstance(error, StoreFull):
        return errors.insufficient_storage(str(error))
    return errors.internal(str(error))


def _check_preconditions(call: Call, options: DeleteOptions, meta: Object) -> None:
    if options.uid and options.uid != meta["uid"]:
        raise errors.precondition_failed(call.resource, call.name, "UID", options.uid, meta["uid"])
    if options.resource_version and options.resource_version != meta["resourceVersion"]:
        raise errors.precondition_failed(
            call.resource, call.name, "ResourceVersion", options.resource_version, meta["resourceVersion"]
        )


def _finalizers_for(finalizers: list[str], propagation: str) -> list[str]:
    """The finalizers that carry out a propagation policy; `finalizers` first, in their order."""
    kept = [name for name in finalizers if name not in (FOREGROUND, ORPHAN)]
    match propagation:
        case "Foreground":
            return [*kept, FOREGROUND]
        case "Orphan":
            return [*kept, ORPHAN]
    return kept


def _mark(meta: Object, now: datetime, grace: int) -> None:
    """Sets the deletion time; a later delete may only bring it forward."""
    if "deletionTimestamp" in meta and meta.get("deletionGracePeriodSeconds", 0) <= grace:
        return
    meta["deletionTimestamp"] = metadata.timestamp(now + timedelta(seconds=grace))
    meta["deletionGracePeriodSeconds"] = grace


def _immutable_identity(meta: Object, before: Object) -> list[FieldError]:
    faults = []
    for name in ("name", "namespace"):
        if meta.get(name) != before.get(name):
            shown = metadata.quote(meta.get(name, ""))
            faults.append(FieldError(f"metadata.{name}", f"Invalid value: {shown}: field is immutable"))
    return faults
