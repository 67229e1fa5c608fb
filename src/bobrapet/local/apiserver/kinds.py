"""The built-in kinds that are served, as a table.

What a kind does beyond being stored is in `builtin/`; what its fields are is in `builtin/schemas.json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bobrapet.local.apiserver.crd import DefinitionStrategy
from bobrapet.local.apiserver.strategy import Strategy
from bobrapet.local.apiserver.types import ALL_VERBS, Resource

_EVENT_FIELDS = {
    "involvedObject.kind": "involvedObject.kind",
    "involvedObject.namespace": "involvedObject.namespace",
    "involvedObject.name": "involvedObject.name",
    "involvedObject.uid": "involvedObject.uid",
    "involvedObject.apiVersion": "involvedObject.apiVersion",
    "involvedObject.resourceVersion": "involvedObject.resourceVersion",
    "involvedObject.fieldPath": "involvedObject.fieldPath",
    "reason": "reason",
    "reportingComponent": "reportingComponent",
    "source": "source.component|reportingComponent",
    "type": "type",
}
_POD_FIELDS = {
    "spec.nodeName": "spec.nodeName",
    "spec.restartPolicy": "spec.restartPolicy",
    "spec.schedulerName": "spec.schedulerName",
    "spec.serviceAccountName": "spec.serviceAccountName",
    "spec.hostNetwork": "spec.hostNetwork",
    "status.phase": "status.phase",
    "status.podIP": "status.podIP",
    "status.nominatedNodeName": "status.nominatedNodeName",
}


class Plain(Strategy):
    """A kind without status and generation: ConfigMap, Secret, Role ..."""


class Stateful(Strategy):
    """A kind with spec, status and generation."""

    has_status = True
    has_generation = True


class StatusOnly(Strategy):
    """A kind with status, whose generation is not counted."""

    has_status = True


@dataclass(frozen=True, slots=True)
class _Row:
    group_version: str
    kind: str
    plural: str
    strategy: Strategy
    short: str = ""
    namespaced: bool = True
    subresources: str = ""
    categories: str = ""
    fields: dict[str, str] | None = None


_ROWS = (
    _Row(
        "v1",
        "Namespace",
        "namespaces",
        StatusOnly(),
        "ns",
        False,
        "status finalize",
        fields={"status.phase": "status.phase"},
    ),
    _Row("v1", "Pod", "pods", Stateful(), "po", True, "status log binding eviction", "all", _POD_FIELDS),
    _Row(
        "v1",
        "Service",
        "services",
        StatusOnly(),
        "svc",
        True,
        "status",
        "all",
        {"spec.clusterIP": "spec.clusterIP", "spec.type": "spec.type"},
    ),
    _Row("v1", "Secret", "secrets", Plain(), fields={"type": "type"}),
    _Row("v1", "ConfigMap", "configmaps", Plain(), "cm"),
    _Row("v1", "ServiceAccount", "serviceaccounts", Plain(), "sa", True, "token"),
    _Row("v1", "PersistentVolumeClaim", "persistentvolumeclaims", StatusOnly(), "pvc", True, "status"),
    _Row(
        "v1", "Node", "nodes", StatusOnly(), "no", False, "status", fields={"spec.unschedulable": "spec.unschedulable"}
    ),
    _Row("v1", "Event", "events", Plain(), "ev", fields=_EVENT_FIELDS),
    _Row("v1", "Endpoints", "endpoints", Plain(), "ep"),
    _Row("apps/v1", "Deployment", "deployments", Stateful(), "deploy", True, "status scale", "all"),
    _Row("apps/v1", "StatefulSet", "statefulsets", Stateful(), "sts", True, "status scale", "all"),
    _Row("apps/v1", "ReplicaSet", "replicasets", Stateful(), "rs", True, "status scale", "all"),
    _Row("batch/v1", "Job", "jobs", Stateful(), "", True, "status", "all", {"status.successful": "status.succeeded"}),
    _Row("batch/v1", "CronJob", "cronjobs", Stateful(), "cj", True, "status", "all"),
    _Row("coordination.k8s.io/v1", "Lease", "leases", Plain()),
    _Row("rbac.authorization.k8s.io/v1", "Role", "roles", Plain()),
    _Row("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", Plain()),
    _Row("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", Plain(), "", False),
    _Row("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", Plain(), "", False),
    _Row(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        DefinitionStrategy(),
        "crd crds",
        False,
        "status",
        "api-extensions",
    ),
    _Row(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        Plain(),
        "",
        False,
        "",
        "api-extensions",
    ),
    _Row(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        Plain(),
        "",
        False,
        "",
        "api-extensions",
    ),
    _Row("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", Plain(), "pc", False),
)


def builtin_resources() -> Iterator[Resource]:
    """Every built-in resource."""
    for row in _ROWS:
        group, _, version = row.group_version.rpartition("/")
        yield Resource(
            group=group,
            version=version,
            plural=row.plural,
            kind=row.kind,
            singular=row.kind.lower(),
            namespaced=row.namespaced,
            strategy=row.strategy,
            short_names=tuple(row.short.split()),
            categories=tuple(row.categories.split()),
            verbs=ALL_VERBS,
            subresources=frozenset(row.subresources.split()),
            storage=f"{row.plural}.{group}" if group else row.plural,
            fields=row.fields or {},
        )
