"""Namespaces and CustomResourceDefinitions: what comes with them, and what goes with them.

Both stay, marked as terminating, until their content is gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from bobrapet.local.apiserver.builtin.core import KUBERNETES_FINALIZER
from bobrapet.local.apiserver.definitions import CLEANUP_FINALIZER
from bobrapet.local.apiserver.errors import ApiError
from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.rest import Call, DeleteOptions, Rest
from bobrapet.local.apiserver.types import Object, Resource, User
from bobrapet.local.apiserver.worker import Worker
from bobrapet.local.store import Change, ChangeType, Key, Record, Store

DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_ROOT_CA = "kube-root-ca.crt"
_USER = User("system:apiserver", ("system:masters", "system:authenticated"))


class Lifecycle:
    """Fills new namespaces, empties terminating ones, and removes the objects of deleted definitions."""

    def __init__(
        self, store: Store, registry: Registry, rest: Rest, now: Callable[[], datetime], ca_pem: Callable[[], str]
    ) -> None:
        self._store = store
        self._registry = registry
        self._rest = rest
        self._now = now
        self._ca_pem = ca_pem
        self._worker: Worker[Key] = Worker("lifecycle", self._attend)

    async def start(self) -> None:
        """Creates the system namespaces with their content, and follows all others."""
        for name in SYSTEM_NAMESPACES:
            if self._store.get(Key("namespaces", "", name)) is None:
                await self._create("v1", "Namespace", "", name, {})
        for resource in ("namespaces", DEFINITIONS):
            for record in self._store.list(resource):
                self._worker.add(record.key)
        for name in SYSTEM_NAMESPACES:
            await self._fill(name)
        self._store.subscribe(self._changed)
        self._worker.start()

    async def stop(self) -> None:
        """Stops."""
        await self._worker.stop()

    def _changed(self, change: Change) -> None:
        key = change.record.key
        if key.resource in ("namespaces", DEFINITIONS):
            self._worker.add(key)
        elif change.type is ChangeType.DELETED:
            # It may have been the last thing that a terminating namespace or definition waited for, or a thing that
            # every namespace has.
            if key.namespace and self._waits(Key("namespaces", "", key.namespace), key):
                self._worker.add(Key("namespaces", "", key.namespace))
            definition = Key(DEFINITIONS, "", key.resource)
            if self._waits(definition, key):
                self._worker.add(definition)

    def _waits(self, owner: Key, lost: Key) -> bool:
        record = self._store.get(owner)
        if record is None:
            return False
        belongs = (lost.resource, lost.name) in (("serviceaccounts", "default"), ("configmaps", _ROOT_CA))
        return belongs or b'"deletionTimestamp"' in record.raw

    async def _attend(self, key: Key) -> None:
        record = self._store.get(key)
        if record is None:
            return
        obj = record.object()
        terminating = "deletionTimestamp" in obj["metadata"]
        if key.resource == DEFINITIONS:
            if terminating:
                await self._end_definition(key, obj)
        elif terminating:
            await self._end_namespace(key)
        else:
            await self._fill(key.name)

    async def _fill(self, namespace: str) -> None:
        if self._store.get(Key("serviceaccounts", namespace, "default")) is None:
            await self._create("v1", "ServiceAccount", namespace, "default", {})
        if self._store.get(Key("configmaps", namespace, _ROOT_CA)) is None:
            about = {"kubernetes.io/description": "The certificate authority of the API server."}
            content = {"data": {"ca.crt": self._ca_pem()}}
            await self._create("v1", "ConfigMap", namespace, _ROOT_CA, content, about)

    async def _create(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        name: str,
        content: Object,
        annotations: dict[str, str] | None = None,
    ) -> None:
        resource = self._registry.by_kind(api_version, kind)
        assert resource is not None
        metadata: Object = {"name": name}
        if annotations:
            metadata["annotations"] = annotations
        obj: Object = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}
        resource.strategy.conform(obj, [])
        await _tolerating(self._rest.create(self._call(resource, namespace, ""), obj), 409, 403)

    async def _end_namespace(self, key: Key) -> None:
        remaining: list[Record] = []
        for resource in self._registry.stored():
            if not resource.namespaced:
                continue
            records = self._store.list(resource.storage, key.name)
            await self._delete_all(resource, records)
            remaining += self._store.list(resource.storage, key.name)
        if remaining:
            return
        namespaces = self._registry.get("", "v1", "namespaces")
        assert namespaces is not None

        def finalize(obj: Object) -> Object:
            finalizers = obj["spec"].get("finalizers") or []
            obj["spec"] = {"finalizers": [name for name in finalizers if name != KUBERNETES_FINALIZER]}
            return obj

        await _tolerating(self._rest.write(self._call(namespaces, "", key.name, "finalize"), finalize), 404)

    async def _end_definition(self, key: Key, definition: Object) -> None:
        if CLEANUP_FINALIZER not in (definition["metadata"].get("finalizers") or ()):
            return
        resource = self._registry.by_storage(key.name)
        if resource is not None:
            await self._delete_all(resource, self._store.list(key.name))
        if self._store.count(key.name):
            return
        definitions = self._registry.by_storage(DEFINITIONS)
        assert definitions is not None

        def drop(obj: Object) -> Object:
            finalizers = obj["metadata"].get("finalizers") or []
            obj["metadata"]["finalizers"] = [name for name in finalizers if name != CLEANUP_FINALIZER]
            return obj

        await _tolerating(self._rest.write(self._call(definitions, "", key.name), drop), 404)

    async def _delete_all(self, resource: Resource, records: Iterable[Record]) -> None:
        for record in records:
            if b'"deletionTimestamp"' in record.raw:
                continue
            call = self._call(resource, record.key.namespace, record.key.name)
            await _tolerating(self._rest.delete(call, DeleteOptions(propagation="Background")), 404)

    def _call(self, resource: Resource, namespace: str, name: str, subresource: str = "") -> Call:
        return Call(
            user=_USER,
            resource=resource,
            namespace=namespace,
            name=name,
            subresource=subresource,
            now=self._now(),
            field_manager="bobrapet",
        )


async def _tolerating(write: Awaitable[object], *codes: int) -> None:
    try:
        await write
    except ApiError as error:
        if error.code not in codes:
            raise
