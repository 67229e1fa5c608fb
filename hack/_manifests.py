"""The manifests that follow from the code: what the manager may do, what calls it, who may use its kinds.

Names are those of the Go operator (admission-and-config D1, D2), without the prefix that kustomize and Helm put before
them. `rbac.merge` decides how rules look, so a rule that a reconciler declares shows up here after hack/generate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from bobrapet import admission, manager
from bobrapet.api import KINDS
from bobrapet.config.operator import DEAD_KEYS, known_keys
from bobrapet.reconcilers import rbac, wiring

Object = dict[str, Any]

RBAC_API = "rbac.authorization.k8s.io"
ACCOUNT = {"kind": "ServiceAccount", "name": "controller-manager", "namespace": "system"}
LABELS = {"app.kubernetes.io/name": "bobrapet", "app.kubernetes.io/managed-by": "kustomize"}
USER_VERBS = {
    "admin": ["*"],
    "editor": ["create", "delete", "get", "list", "patch", "update", "watch"],
    "viewer": ["get", "list", "watch"],
}


def rbac_files() -> Iterator[tuple[str, list[Object]]]:
    """Name and documents of each file of manifests/rbac."""
    yield "service_account.yaml", [_object("v1", "ServiceAccount", "controller-manager")]
    yield "role.yaml", [cluster_role("manager-role", rbac.merge(manager.rights()))]
    yield "role_binding.yaml", [cluster_binding("manager-rolebinding", "manager-role")]
    yield "leader_election_role.yaml", [role("leader-election-role", rbac.merge(wiring.LEADER_ELECTION_RBAC))]
    yield "leader_election_role_binding.yaml", [binding("leader-election-rolebinding", "leader-election-role")]
    yield "metrics_auth_role.yaml", [cluster_role("metrics-auth-role", rbac.merge(wiring.METRICS_RBAC))]
    yield "metrics_auth_role_binding.yaml", [cluster_binding("metrics-auth-rolebinding", "metrics-auth-role")]
    yield "metrics_reader_role.yaml", [cluster_role("metrics-reader", [METRICS_READER])]
    for kind in KINDS:
        for who in USER_VERBS:
            yield f"{kind.KIND.lower()}_{who}_role.yaml", [user_role(kind, who)]


METRICS_READER = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}


def certificate_files() -> Iterator[tuple[str, list[Object]]]:
    """What the manager needs besides to keep its webhook certificate itself: manifests/webhook-certificate."""
    local, wide = manager.certificate_rights("bobrapet-")
    yield (
        "role.yaml",
        [
            role("webhook-certificate-role", rbac.merge(local)),
            binding("webhook-certificate-rolebinding", "webhook-certificate-role"),
            cluster_role("webhook-ca-injector-role", rbac.merge(wide)),
            cluster_binding("webhook-ca-injector-rolebinding", "webhook-ca-injector-role"),
        ],
    )


def user_role(kind: Any, who: str) -> Object:
    """A ClusterRole for people, unbound: what `who` may do with one kind."""
    group = kind.API_VERSION.partition("/")[0]
    rules = [
        {"apiGroups": [group], "resources": [kind.PLURAL], "verbs": USER_VERBS[who]},
        {"apiGroups": [group], "resources": [f"{kind.PLURAL}/status"], "verbs": ["get"]},
    ]
    return cluster_role(f"{kind.KIND.lower()}-{who}-role", rules)


def webhooks() -> list[Object]:
    """The webhook configurations as kustomize wants them: names without prefix, the namespace `system`."""
    endpoint = admission.Service(namespace="system", name="webhook-service")
    found = admission.webhook_configurations(endpoint, prefix="")
    for each in found:
        each["metadata"]["labels"] = dict(LABELS)
    return found


def operator_keys() -> dict[str, str]:
    """The chart's name of each key of the operator's ConfigMap: controllerReconcileTimeout."""
    keys = sorted(known_keys() | DEAD_KEYS)
    return {re.sub(r"[.-](.)", lambda match: match[1].upper(), key): key for key in keys}


def values_schema(values: Object) -> Object:
    """The JSON Schema of the chart's values: the types of the defaults, and nothing that is not among them."""
    schema = _shape(values)
    found = schema["properties"]
    found["operatorConfig"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"type": ["string", "number", "boolean"]} for name in operator_keys()},
        "patternProperties": {QUEUE_VALUE: {"type": ["string", "number"]}},
    }
    found["controllerManager"]["properties"]["replicas"] |= {"minimum": 0}
    image = found["controllerManager"]["properties"]["manager"]["properties"]["image"]["properties"]
    image["digest"] |= {"pattern": "^(sha256:[0-9a-f]{64})?$"}
    found["controllerManager"]["properties"]["manager"]["properties"]["logLevel"] = {
        "type": ["string", "integer"],
        "pattern": "^(|debug|info|error|panic|[1-9][0-9]*)$",
    }
    found["podDisruptionBudget"]["properties"]["maxUnavailable"] = {"type": ["integer", "string"]}
    found["webhook"]["properties"]["certificates"]["properties"]["provider"] |= {
        "enum": ["self-signed", "cert-manager"]
    }
    claim = {"namespace": {"type": "string", "minLength": 1}, "claim": {"type": "string", "minLength": 1}}
    found["fileStorage"]["properties"]["claims"]["items"] = {
        "type": "object",
        "additionalProperties": False,
        "required": sorted(claim),
        "properties": {**claim, "volume": {"type": "object"}},
    }
    found["watchNamespaces"]["items"] = {"type": "string", "minLength": 1}
    found["metrics"]["properties"]["bindAddress"] = {"type": ["string", "integer"]}
    found["global"] = {"type": "object"}  # what a chart around this one hands to all
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of bobrapet", **schema}


QUEUE_VALUE = "^storyrunQueue[A-Z].*(Concurrency|DefaultPriority|PriorityAgingSeconds)$"


def _shape(value: Any) -> Object:
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array"}
        case dict() if value and not value.keys() & FREE:
            properties = {key: _shape(each) for key, each in value.items()}
            return {"type": "object", "additionalProperties": False, "properties": properties}
        case _:
            return {"type": "object"}


FREE = {"requests", "runAsNonRoot", "readOnlyRootFilesystem", "grafana_dashboard"}
"""Keys by which an object of Kubernetes' own is known: it has more fields than our defaults use."""


def cluster_role(name: str, rules: Iterable[Object]) -> Object:
    return _object(f"{RBAC_API}/v1", "ClusterRole", name) | {"rules": [*rules]}


def role(name: str, rules: Iterable[Object]) -> Object:
    return _object(f"{RBAC_API}/v1", "Role", name) | {"rules": [*rules]}


def cluster_binding(name: str, role_name: str) -> Object:
    return _bound("ClusterRoleBinding", name, "ClusterRole", role_name)


def binding(name: str, role_name: str) -> Object:
    return _bound("RoleBinding", name, "Role", role_name)


def _bound(kind: str, name: str, role_kind: str, role_name: str) -> Object:
    reference = {"apiGroup": RBAC_API, "kind": role_kind, "name": role_name}
    return _object(f"{RBAC_API}/v1", kind, name) | {"roleRef": reference, "subjects": [ACCOUNT]}


def _object(api_version: str, kind: str, name: str) -> Object:
    metadata: Object = {"name": name, "labels": dict(LABELS)}
    if kind in ("ServiceAccount", "Role", "RoleBinding"):
        metadata["namespace"] = "system"
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
