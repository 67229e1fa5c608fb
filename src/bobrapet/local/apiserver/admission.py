"""Admission: what a write needs besides being well formed.

Each part may change the object or raise `ApiError`; they are asked in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from bobrapet.local.apiserver import errors
from bobrapet.local.apiserver.registry import Registry
from bobrapet.local.apiserver.rest import Admission, Call
from bobrapet.local.apiserver.types import Object
from bobrapet.local.store import Key, Store

_PROTECTED = ("default", "kube-public", "kube-system")


class Chain:
    """Several parts, one after the other."""

    def __init__(self, parts: Sequence[Admission]) -> None:
        self._parts = parts

    async def admit(self, call: Call, operation: str, obj: Object | None, old: Object | None) -> None:
        """Asks every part."""
        for part in self._parts:
            await part.admit(call, operation, obj, old)

    async def validate(self, call: Call, operation: str, obj: Object | None, old: Object | None) -> None:
        """Asks every part for its verdict."""
        for part in self._parts:
            await part.validate(call, operation, obj, old)


class Part:
    """A part that has nothing to say about the finished object."""

    async def validate(self, call: Call, operation: str, obj: Object | None, old: Object | None) -> None:
        """Lets everything pass."""


class NamespaceLifecycle(Part):
    """Content needs a namespace that is there to stay."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    async def admit(self, call: Call, operation: str, obj: Object | None, old: Object | None) -> None:
        """404 for a missing namespace, 403 for one that terminates and for the end of a system namespace."""
        resource = call.resource
        if operation == "DELETE" and resource.storage == "namespaces" and call.name in _PROTECTED:
            raise errors.forbidden(resource, call.name, "this namespace may not be deleted")
        if operation != "CREATE" or not resource.namespaced:
            return
        record = self._store.get(Key("namespaces", "", call.namespace))
        if record is None:
            namespaces = self._registry.get("", "v1", "namespaces")
            assert namespaces is not None
            raise errors.not_found(namespaces, call.namespace)
        if b'"deletionTimestamp"' in record.raw and "deletionTimestamp" in record.object()["metadata"]:
            message = f"namespace {call.namespace} is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}
            raise errors.forbidden(
                resource,
                call.name,
                f"unable to create new content in namespace {call.namespace} because it is being terminated",
                causes=[cause],
            )


class PodAccounts(Part):
    """A pod runs as a ServiceAccount that exists."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def admit(self, call: Call, operation: str, obj: Object | None, old: Object | None) -> None:
        """403 for a pod of an account that nobody created."""
        if operation != "CREATE" or call.resource.storage != "pods" or obj is None:
            return
        spec = obj["spec"]
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        if self._store.get(Key("serviceaccounts", call.namespace, name)) is None:
            why = f'error looking up service account {call.namespace}/{name}: serviceaccount "{name}" not found'
            raise errors.forbidden(call.resource, call.name, why)
