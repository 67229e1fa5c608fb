"""What a kind does when it is written, beyond being stored.

The base class is right for a kind without a status and without rules of its own. Kinds override single methods; the
order of the calls is fixed in `rest`: default, prepare, validate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.metadata import subdomain_errors
from bobrapet.local.apiserver.schema import Schema
from bobrapet.local.apiserver.typed import convert
from bobrapet.local.apiserver.types import Object, Resource, User


@dataclass(frozen=True, slots=True)
class Writing:
    """What a strategy may want to know about the write it takes part in."""

    user: User
    now: datetime
    namespace: str
    subresource: str = ""


class Strategy:
    """Stores what it gets."""

    custom = False
    """Whether the kind is defined by a CRD."""

    has_status = False
    """Whether `status` is written through its own subresource only."""

    has_generation = False
    """Whether `metadata.generation` counts changes of the desired state."""

    unconditional_update = True
    """Whether an update without resourceVersion overwrites."""

    create_on_update = False
    """Whether an update of a missing object creates it."""

    returns_deleted = False
    """Whether a delete answers with the object instead of a Status."""

    graceful = False
    """Whether a deleted object shows when it was to be gone, even when that is at once."""

    default_propagation = "Background"
    """What happens to dependents when the deleter does not say."""

    def __init__(self, schema: Schema | None = None) -> None:
        self.schema = schema or Schema("object")

    def conform(self, obj: Object, unknown: list[str]) -> None:
        """Makes a decoded body a whole object of this kind; raises `TypeMismatch`, tells what it dropped."""
        self.conform_type(obj, unknown)
        self.default(obj)

    def conform_type(self, obj: Object, unknown: list[str]) -> None:
        """The same without defaults, for a configuration that says only what its author cares about."""
        convert(self.schema, obj, unknown)

    def default(self, obj: Object) -> None:
        """Fills what the client left out."""

    def prepare_create(self, obj: Object, writing: Writing) -> None:
        """Drops what a creator may not set and sets what the server decides."""
        if self.has_status:
            obj.pop("status", None)
            if not self.custom:
                obj["status"] = {}
        if self.has_generation:
            obj["metadata"]["generation"] = 1

    def prepare_update(self, obj: Object, old: Object, writing: Writing) -> None:
        """Keeps what this write may not change."""
        if self.has_status:
            _keep(obj, old, "status")
        self.count_generation(obj, old)

    def prepare_status_update(self, obj: Object, old: Object, writing: Writing) -> None:
        """The same for a write through the status subresource."""
        _keep(obj, old, "spec")
        metadata, before = obj["metadata"], old["metadata"]
        for name in ("ownerReferences", "deletionTimestamp", "deletionGracePeriodSeconds"):
            _keep(metadata, before, name)

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """All faults of an object; with `old`, those of the change too."""
        return []

    def warnings(self, obj: Object) -> list[str]:
        """What a client should hear although the write is accepted."""
        return []

    def name_errors(self, name: str) -> list[str]:
        """Why `name` cannot be the name of such an object."""
        return subdomain_errors(name)

    def grace_period(self, obj: Object, asked: int | None) -> int:
        """Seconds between the deletion mark and the removal; 0 removes at once."""
        return 0

    def mark_deleted(self, obj: Object) -> None:
        """Changes an object that was just marked for deletion."""

    def outlives_finalizers(self, obj: Object) -> bool:
        """Whether a marked object without `metadata.finalizers` still has to stay (namespaces: spec.finalizers)."""
        return False

    def to_storage(self, obj: Object, resource: Resource) -> Object:
        """The object as it is stored when that is another version than `resource`."""
        return {**obj, "apiVersion": resource.stored_as}

    def from_storage(self, obj: Object, resource: Resource) -> Object:
        """The inverse of `to_storage`."""
        return {**obj, "apiVersion": resource.api_version}

    def count_generation(self, obj: Object, old: Object) -> None:
        """Sets the generation of an update."""
        if self.has_generation:
            generation = old["metadata"].get("generation", 1)
            obj["metadata"]["generation"] = generation + (self.desired(obj) != self.desired(old))

    def desired(self, obj: Object) -> object:
        """The part of an object whose changes count as generations."""
        return obj.get("spec")


def _keep(obj: Object, old: Object, name: str) -> None:
    if name in old:
        obj[name] = old[name]
    else:
        obj.pop(name, None)
