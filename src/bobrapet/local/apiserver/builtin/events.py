"""Events in their second form: events.k8s.io/v1 shows the same stored objects under other names."""

from __future__ import annotations

from bobrapet.local.apiserver.builtin.core import EventStrategy
from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.types import Object, Resource

_TO_CORE = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_FROM_CORE = {core: name for name, core in _TO_CORE.items()}


class NewEventStrategy(EventStrategy):
    """events.k8s.io/v1 Event, stored as core/v1."""

    def to_storage(self, obj: Object, resource: Resource) -> Object:
        """The core form."""
        stored = {_TO_CORE.get(name, name): value for name, value in obj.items()}
        stored["apiVersion"] = resource.stored_as
        stored.setdefault("involvedObject", {})
        return stored

    def from_storage(self, obj: Object, resource: Resource) -> Object:
        """The events.k8s.io form."""
        shown = {_FROM_CORE.get(name, name): value for name, value in obj.items()}
        shown["apiVersion"] = resource.api_version
        for name in ("reportingController", "reportingInstance"):
            if not shown.get(name):
                shown.pop(name, None)
        return shown

    def default(self, obj: Object) -> None:
        """The one field that is written even when it is empty."""
        obj.setdefault("eventTime", None)

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """The same checks on the core form, and who reports."""
        faults = super().validate({**obj, "involvedObject": obj.get("regarding") or {}}, old)
        required = ("reportingController", "reportingInstance", "action", "reason")
        if old is None and obj.get("eventTime"):
            faults += [
                FieldError(name, "Required value", "FieldValueRequired") for name in required if not obj.get(name)
            ]
        return faults
