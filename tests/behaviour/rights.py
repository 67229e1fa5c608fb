"""The manager's account as manifests/rbac makes it: a ServiceAccount with exactly those roles, and a token of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bobrapet.runtime.envtest import Environment
from bobrapet.runtime.envtest.kubeconfig import write_kubeconfig
from tests.behaviour.cluster import ApiFailure, Cluster

FOLDER = Path(__file__).resolve().parents[2] / "manifests/rbac"
NAMESPACE = "bobrapet-system"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:controller-manager"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
PATHS = {
    "ServiceAccount": f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "ClusterRole": f"{RBAC}/clusterroles",
    "ClusterRoleBinding": f"{RBAC}/clusterrolebindings",
    "Role": f"{RBAC}/namespaces/{NAMESPACE}/roles",
    "RoleBinding": f"{RBAC}/namespaces/{NAMESPACE}/rolebindings",
}
TOKEN_SECONDS = 24 * 3600

Object = dict[str, Any]


def manifests() -> Iterator[Object]:
    """What manifests/rbac holds, in the namespace of the operator."""
    for name in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]:
        for each in yaml.safe_load_all((FOLDER / name).read_text()):
            for place in (each["metadata"], *each.get("subjects", ())):
                if "namespace" in place:
                    place["namespace"] = NAMESPACE
            yield each


def grant(cluster: Cluster) -> None:
    """Makes the account and its roles."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for each in manifests():
        try:
            cluster.call("POST", PATHS[each["kind"]], each)
        except ApiFailure as failure:
            if failure.status.get("reason") != "AlreadyExists":
                raise


def manager_rules() -> list[Object]:
    return next(copy.deepcopy(each["rules"]) for each in manifests() if each["metadata"]["name"] == "manager-role")


def set_manager_rules(cluster: Cluster, rules: list[Object]) -> None:
    """Changes what the manager may do, from now on."""
    path = f"{PATHS['ClusterRole']}/manager-role"
    cluster.call("PATCH", path, {"rules": rules}, "application/merge-patch+json")


def kubeconfig(cluster: Cluster, environment: Environment, file: Path) -> Path:
    """A kubeconfig with a token of the account."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    }
    path = f"{PATHS['ServiceAccount']}/controller-manager/token"
    token = cluster.call("POST", path, request)["status"]["token"]
    write_kubeconfig(file, environment.config.copy(token=token))
    return file
