"""Kinds that a fake API server knows from the start, and guesses for the others."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from bobrapet.runtime.client.apiutil import RESTMapping
from bobrapet.runtime.client.typed_client import BUILT_IN_GROUPS
from bobrapet.runtime.scheme import GroupVersionKind, GroupVersionResource

_NAMESPACED = {
    "v1": "ConfigMap Endpoints Event LimitRange PersistentVolumeClaim Pod PodTemplate ReplicationController "
    "ResourceQuota Secret Service ServiceAccount",
    "apps/v1": "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "batch/v1": "CronJob Job",
    "coordination.k8s.io/v1": "Lease",
    "discovery.k8s.io/v1": "EndpointSlice",
    "events.k8s.io/v1": "Event",
    "networking.k8s.io/v1": "Ingress NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
    "rbac.authorization.k8s.io/v1": "Role RoleBinding",
}
_CLUSTER = {
    "v1": "Namespace Node PersistentVolume",
    "admissionregistration.k8s.io/v1": "MutatingWebhookConfiguration ValidatingWebhookConfiguration",
    "apiextensions.k8s.io/v1": "CustomResourceDefinition",
    "authentication.k8s.io/v1": "TokenReview",
    "authorization.k8s.io/v1": "SubjectAccessReview",
    "networking.k8s.io/v1": "IngressClass",
    "rbac.authorization.k8s.io/v1": "ClusterRole ClusterRoleBinding",
    "scheduling.k8s.io/v1": "PriorityClass",
    "storage.k8s.io/v1": "StorageClass",
}
_PLURALS = {"Endpoints": "endpoints"}

WITH_STATUS = frozenset(
    {"Namespace", "Node", "PersistentVolume", "PersistentVolumeClaim", "Pod", "Service", "DaemonSet", "Deployment",
     "ReplicaSet", "StatefulSet", "HorizontalPodAutoscaler", "CronJob", "Job", "Ingress", "PodDisruptionBudget",
     "CustomResourceDefinition"}
)  # fmt: skip
"""Built-in kinds with a status subresource."""


COUNTED_GROUPS = frozenset({"apps", "batch", "networking.k8s.io", "policy"})
"""Built-in groups whose kinds count generations; all custom kinds do."""


def counts_generations(group: str) -> bool:
    """Whether kinds of a group have a `metadata.generation` (spec runtime FK-5)."""
    return group not in BUILT_IN_GROUPS or group in COUNTED_GROUPS


def plural(kind: str) -> str:
    """The usual name of the resource of a kind."""
    if kind in _PLURALS:
        return _PLURALS[kind]
    word = kind.lower()
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def _built_in() -> list[RESTMapping]:
    return [
        RESTMapping(GroupVersionKind.parse(api_version, kind), plural(kind), namespaced)
        for table, namespaced in ((_NAMESPACED, True), (_CLUSTER, False))
        for api_version, kinds in table.items()
        for kind in kinds.split()
    ]


class FakeRESTMapper:
    """Built-in kinds, registered ones, and for any other kind a guess: namespaced, with the usual plural."""

    def __init__(self) -> None:
        self._by_kind: dict[GroupVersionKind, RESTMapping] = {}
        self._by_resource: dict[GroupVersionResource, RESTMapping] = {}
        for mapping in _built_in():
            self.add(mapping)

    def add(self, mapping: RESTMapping) -> None:
        self._by_kind[mapping.gvk] = mapping
        self._by_resource[mapping.gvr] = mapping

    def add_class(self, cls: type[Any]) -> RESTMapping:
        """From a model with the constants of a kind; without `PLURAL` and `NAMESPACED` the guess."""
        gvk = GroupVersionKind.parse(cls.API_VERSION, cls.KIND)
        if gvk not in self._by_kind:
            self.add(RESTMapping(gvk, getattr(cls, "PLURAL", plural(gvk.kind)), getattr(cls, "NAMESPACED", True)))
        return self._by_kind[gvk]

    def mapping(self, gvk: GroupVersionKind) -> RESTMapping:
        if gvk not in self._by_kind:
            self.add(RESTMapping(gvk, plural(gvk.kind), namespaced=True))
        return self._by_kind[gvk]

    async def rest_mapping(self, gvk: GroupVersionKind) -> RESTMapping:
        return self.mapping(gvk)

    def of_resource(self, gvr: GroupVersionResource) -> RESTMapping | None:
        return self._by_resource.get(gvr)

    def of_group_versions(self, groups: Container[str]) -> list[RESTMapping]:
        return [mapping for mapping in self._by_kind.values() if mapping.gvk.group in groups]

    def of_group_version(self, api_version: str) -> list[RESTMapping]:
        return [mapping for mapping in self._by_kind.values() if mapping.gvk.api_version == api_version]
