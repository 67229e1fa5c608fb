"""Namespace, Service, Secret, ConfigMap, ServiceAccount, PersistentVolumeClaim, Event, Lease and other small kinds."""

from __future__ import annotations

import base64
import binascii
import re

from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.metadata import label_errors, path_segment_errors, quote
from bobrapet.local.apiserver.strategy import Strategy, Writing
from bobrapet.local.apiserver.typed import TypeMismatch
from bobrapet.local.apiserver.types import Object

_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_DATA_LIMIT = 1024 * 1024
KUBERNETES_FINALIZER = "kubernetes"


class PlainStrategy(Strategy):
    """A kind without status and without rules."""


class StatusStrategy(Strategy):
    """A kind with a status."""

    has_status = True


class GenerationStrategy(Strategy):
    """A kind with a status and counted generations."""

    has_status = True
    has_generation = True


class NamespaceStrategy(Strategy):
    """Namespace: stays, Terminating, until its content is gone."""

    has_status = True
    returns_deleted = True

    def prepare_create(self, obj: Object, writing: Writing) -> None:
        """A new namespace is Active and carries its name as a label."""
        super().prepare_create(obj, writing)
        obj["spec"] = {"finalizers": [KUBERNETES_FINALIZER]}
        obj["status"] = {"phase": "Active"}
        self._label(obj)

    def prepare_update(self, obj: Object, old: Object, writing: Writing) -> None:
        """Finalizers of the spec change through /finalize only."""
        if writing.subresource == "finalize":
            obj["status"] = old["status"]
            return
        super().prepare_update(obj, old, writing)
        obj["spec"] = old["spec"]
        self._label(obj)

    def name_errors(self, name: str) -> list[str]:
        """A label."""
        return label_errors(name)

    def mark_deleted(self, obj: Object) -> None:
        """Terminating."""
        obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}

    def outlives_finalizers(self, obj: Object) -> bool:
        """Its own finalizers stand in the spec."""
        return bool((obj.get("spec") or {}).get("finalizers"))

    def _label(self, obj: Object) -> None:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")


class SecretStrategy(Strategy):
    """Secret."""

    def conform_type(self, obj: Object, unknown: list[str]) -> None:
        """Data is base64."""
        super().conform_type(obj, unknown)
        for value in (obj.get("data") or {}).values():
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error:
                broken = next((i for i, char in enumerate(value) if not re.match(r"[A-Za-z0-9+/=]", char)), 0)
                raise TypeMismatch(f"illegal base64 data at input byte {broken}") from None

    def default(self, obj: Object) -> None:
        """`stringData` is a way to write `data`."""
        for key, value in (obj.pop("stringData", None) or {}).items():
            obj.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
        obj.setdefault("type", "Opaque")

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """Keys, size, immutability."""
        data = obj.get("data") or {}
        faults = _key_errors(data, "data")
        if sum(len(value) * 3 // 4 for value in data.values()) > _DATA_LIMIT:
            faults.append(
                FieldError("data", f"Too long: may not be more than {_DATA_LIMIT} bytes", "FieldValueTooLong")
            )
        if old is not None:
            if obj.get("type") != old.get("type"):
                faults.append(FieldError("type", f"Invalid value: {quote(obj.get('type', ''))}: field is immutable"))
            faults += _immutable(obj, old, ("data",))
        return faults


class ConfigMapStrategy(Strategy):
    """ConfigMap."""

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """Keys, size, immutability."""
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        faults = _key_errors(data, "data") + _key_errors(binary, "binaryData")
        size = sum(len(value.encode()) for value in data.values()) + sum(len(v) * 3 // 4 for v in binary.values())
        if size > _DATA_LIMIT:
            faults.append(FieldError("", f"Too long: may not be more than {_DATA_LIMIT} bytes", "FieldValueTooLong"))
        return faults + (_immutable(obj, old, ("data", "binaryData")) if old is not None else [])


class ServiceStrategy(Strategy):
    """Service: stored and defaulted; nothing routes to it, so its cluster address is none."""

    has_status = True
    returns_deleted = True

    def default(self, obj: Object) -> None:
        """The defaults of a headless Service."""
        spec = obj.setdefault("spec", {})
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if spec["type"] != "ExternalName":
            spec.setdefault("clusterIP", "None")
            spec.setdefault("clusterIPs", [spec["clusterIP"]])
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
        for port in spec.get("ports") or []:
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port.get("port"))

    def prepare_create(self, obj: Object, writing: Writing) -> None:
        """No load balancer."""
        super().prepare_create(obj, writing)
        obj["status"] = {"loadBalancer": {}}

    def name_errors(self, name: str) -> list[str]:
        """A label."""
        return label_errors(name)


class ClaimStrategy(Strategy):
    """PersistentVolumeClaim: stored; nothing binds it."""

    has_status = True
    returns_deleted = True

    def default(self, obj: Object) -> None:
        """A file system."""
        obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")

    def prepare_create(self, obj: Object, writing: Writing) -> None:
        """A new claim is Pending."""
        super().prepare_create(obj, writing)
        obj["status"] = {"phase": "Pending"}


class RbacStrategy(Strategy):
    """Role, ClusterRole and their bindings: any path segment is a name; the subject's group has a default."""

    def name_errors(self, name: str) -> list[str]:
        """A path segment."""
        return path_segment_errors(name)

    def default(self, obj: Object) -> None:
        """The API groups of references."""
        if obj["kind"] in ("Role", "ClusterRole"):
            obj.setdefault("rules", None)
        if "roleRef" in obj:
            obj["roleRef"].setdefault("apiGroup", "rbac.authorization.k8s.io")
        for subject in obj.get("subjects") or []:
            if subject.get("kind") in ("User", "Group"):
                subject.setdefault("apiGroup", "rbac.authorization.k8s.io")

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """A binding names a role, and keeps it."""
        if "Binding" not in obj["kind"]:
            return []
        if not (obj.get("roleRef") or {}).get("name"):
            return [FieldError("roleRef.name", "Required value", "FieldValueRequired")]
        if old is not None and obj["roleRef"] != old["roleRef"]:
            return [FieldError("roleRef", "Invalid value: cannot change roleRef")]
        return []


class LeaseStrategy(Strategy):
    """Lease."""

    create_on_update = True

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """Counters are positive."""
        spec = obj.get("spec") or {}
        faults = []
        seconds = spec.get("leaseDurationSeconds")
        if seconds is not None and seconds <= 0:
            faults.append(FieldError("spec.leaseDurationSeconds", f"Invalid value: {seconds}: must be greater than 0"))
        if (transitions := spec.get("leaseTransitions")) is not None and transitions < 0:
            text = f"Invalid value: {transitions}: must be greater than or equal to 0"
            faults.append(FieldError("spec.leaseTransitions", text))
        return faults


class EventStrategy(Strategy):
    """core/v1 Event."""

    create_on_update = True

    def default(self, obj: Object) -> None:
        """The fields that are written even when they are empty."""
        empty: Object = {
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "eventTime": None,
            "reportingComponent": "",
            "reportingInstance": "",
        }
        for name, value in empty.items():
            obj.setdefault(name, value)

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """An event lives beside what it is about."""
        about = (obj.get("involvedObject") or {}).get("namespace", "")
        namespace = obj["metadata"].get("namespace", "")
        if about != namespace and not (about == "" and namespace == "default"):
            text = f"Invalid value: {quote(about)}: does not match event.namespace"
            return [FieldError("involvedObject.namespace", text)]
        return []


def _key_errors(data: Object, path: str) -> list[FieldError]:
    return [
        FieldError(f"{path}[{key}]", f"Invalid value: {quote(key)}: {_KEY_TEXT}")
        for key in data
        if not _KEY.fullmatch(key) or key in (".", "..")
    ]


def _immutable(obj: Object, old: Object, names: tuple[str, ...]) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    faults = []
    if not obj.get("immutable"):
        text = "Forbidden: field is immutable when `immutable` is set"
        faults.append(FieldError("immutable", text, "FieldValueForbidden"))
    return faults + [
        FieldError(name, "Forbidden: field is immutable when `immutable` is set", "FieldValueForbidden")
        for name in names
        if obj.get(name) != old.get(name)
    ]
