"""The built-in kinds that are served, as a table.

What a kind does beyond being stored is in `builtin/`, what its fields are in `tables/types.json`, how it looks in a
table in `printers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bobrapet.local.apiserver.builtin import core, events, pods, workloads
from bobrapet.local.apiserver.definitions import DefinitionStrategy
from bobrapet.local.apiserver.printers import COLUMNS
from bobrapet.local.apiserver.strategy import Strategy
from bobrapet.local.apiserver.typed import type_schema
from bobrapet.local.apiserver.types import ALL_VERBS, Resource
from bobrapet.local.apiserver.webhooks.configurations import HookStrategy

_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_POD_FIELDS = {
    name: name
    for name in (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    )
}
_EVENT_FIELDS = {
    **{f"involvedObject.{name}": f"involvedObject.{name}" for name in _REFERENCE},
    "reason": "reason",
    "reportingComponent": "reportingComponent",
    "source": "source.component|reportingComponent",
    "type": "type",
}
_NEW_EVENT_FIELDS = {
    **{f"regarding.{name}": f"involvedObject.{name}" for name in _REFERENCE},
    "reason": "reason",
    "reportingController": "reportingComponent",
    "type": "type",
}


@dataclass(frozen=True, slots=True)
class _Kind:
    kind: str
    plural: str
    strategy: type[Strategy]
    short: str = ""
    cluster: bool = False
    subresources: str = ""
    categories: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    stored_as: str = ""
    storage: str = ""


_PLAIN, _STATUS, _GENERATION, _RBAC = (
    core.PlainStrategy,
    core.StatusStrategy,
    core.GenerationStrategy,
    core.RbacStrategy,
)


def _scaled(kind: str, plural: str, strategy: type[Strategy], short: str) -> _Kind:
    return _Kind(kind, plural, strategy, short, subresources="status scale", categories="all")


_KINDS: dict[str, tuple[_Kind, ...]] = {
    "v1": (
        _Kind("ConfigMap", "configmaps", core.ConfigMapStrategy, "cm"),
        _Kind("Endpoints", "endpoints", _PLAIN, "ep"),
        _Kind("Event", "events", core.EventStrategy, "ev", fields=_EVENT_FIELDS),
        _Kind("LimitRange", "limitranges", _PLAIN, "limits"),
        _Kind(
            "Namespace",
            "namespaces",
            core.NamespaceStrategy,
            "ns",
            cluster=True,
            subresources="status finalize",
            fields={"status.phase": "status.phase"},
        ),
        _Kind(
            "Node",
            "nodes",
            _STATUS,
            "no",
            cluster=True,
            subresources="status",
            fields={"spec.unschedulable": "spec.unschedulable"},
        ),
        _Kind("PersistentVolume", "persistentvolumes", _STATUS, "pv", cluster=True, subresources="status"),
        _Kind("PersistentVolumeClaim", "persistentvolumeclaims", core.ClaimStrategy, "pvc", subresources="status"),
        _Kind(
            "Pod",
            "pods",
            pods.PodStrategy,
            "po",
            subresources="status log binding eviction",
            categories="all",
            fields=_POD_FIELDS,
        ),
        _Kind("ResourceQuota", "resourcequotas", _STATUS, "quota", subresources="status"),
        _Kind("Secret", "secrets", core.SecretStrategy, fields={"type": "type"}),
        _Kind(
            "Service",
            "services",
            core.ServiceStrategy,
            "svc",
            subresources="status",
            categories="all",
            fields={"spec.clusterIP": "spec.clusterIP", "spec.type": "spec.type"},
        ),
        _Kind("ServiceAccount", "serviceaccounts", _PLAIN, "sa", subresources="token"),
    ),
    "apiextensions.k8s.io/v1": (
        _Kind(
            "CustomResourceDefinition",
            "customresourcedefinitions",
            DefinitionStrategy,
            "crd crds",
            cluster=True,
            subresources="status",
            categories="api-extensions",
        ),
    ),
    "admissionregistration.k8s.io/v1": tuple(
        _Kind(
            f"{word}WebhookConfiguration",
            f"{word.lower()}webhookconfigurations",
            HookStrategy,
            cluster=True,
            categories="api-extensions",
        )
        for word in ("Mutating", "Validating")
    ),
    "apps/v1": (
        _Kind("ControllerRevision", "controllerrevisions", _PLAIN),
        _Kind("DaemonSet", "daemonsets", workloads.DaemonSetStrategy, "ds", subresources="status", categories="all"),
        _scaled("Deployment", "deployments", workloads.DeploymentStrategy, "deploy"),
        _scaled("ReplicaSet", "replicasets", workloads.ReplicaSetStrategy, "rs"),
        _scaled("StatefulSet", "statefulsets", workloads.StatefulSetStrategy, "sts"),
    ),
    "autoscaling/v2": (
        _Kind(
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            _STATUS,
            "hpa",
            subresources="status",
            categories="all",
        ),
    ),
    "batch/v1": (
        _Kind("CronJob", "cronjobs", workloads.CronJobStrategy, "cj", subresources="status", categories="all"),
        _Kind(
            "Job",
            "jobs",
            workloads.JobStrategy,
            subresources="status",
            categories="all",
            fields={"status.successful": "status.succeeded"},
        ),
    ),
    "coordination.k8s.io/v1": (_Kind("Lease", "leases", core.LeaseStrategy),),
    "discovery.k8s.io/v1": (_Kind("EndpointSlice", "endpointslices", core.GenerationStrategy),),
    "events.k8s.io/v1": (
        _Kind(
            "Event",
            "events",
            events.NewEventStrategy,
            "ev",
            fields=_NEW_EVENT_FIELDS,
            stored_as="v1",
            storage="events",
        ),
    ),
    "networking.k8s.io/v1": (
        _Kind("Ingress", "ingresses", _GENERATION, "ing", subresources="status"),
        _Kind("IngressClass", "ingressclasses", _PLAIN, cluster=True),
        _Kind("NetworkPolicy", "networkpolicies", _GENERATION, "netpol"),
    ),
    "policy/v1": (_Kind("PodDisruptionBudget", "poddisruptionbudgets", _GENERATION, "pdb", subresources="status"),),
    "rbac.authorization.k8s.io/v1": (
        _Kind("ClusterRole", "clusterroles", _RBAC, cluster=True),
        _Kind("ClusterRoleBinding", "clusterrolebindings", _RBAC, cluster=True),
        _Kind("Role", "roles", _RBAC),
        _Kind("RoleBinding", "rolebindings", _RBAC),
    ),
    "scheduling.k8s.io/v1": (_Kind("PriorityClass", "priorityclasses", _PLAIN, "pc", cluster=True),),
    "storage.k8s.io/v1": (_Kind("StorageClass", "storageclasses", _PLAIN, "sc", cluster=True),),
}


def builtin_resources() -> Iterator[Resource]:
    """Every built-in resource."""
    for group_version, kinds in _KINDS.items():
        group, _, version = group_version.rpartition("/")
        for kind in kinds:
            schema = type_schema(f"{group.split('.')[0] or 'core'}/{version}.{kind.kind}")
            yield Resource(
                group=group,
                version=version,
                plural=kind.plural,
                kind=kind.kind,
                singular=kind.kind.lower(),
                namespaced=not kind.cluster,
                schema=schema,
                strategy=kind.strategy(schema),
                short_names=tuple(kind.short.split()),
                categories=tuple(kind.categories.split()),
                verbs=ALL_VERBS,
                subresources=frozenset(kind.subresources.split()),
                stored_as=kind.stored_as,
                storage=kind.storage or (f"{kind.plural}.{group}" if group else kind.plural),
                columns=COLUMNS.get((group, kind.kind), ()),
                fields=kind.fields,
            )
