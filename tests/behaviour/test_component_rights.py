"""What the account of a step may do on a real API server: the table of spec workloads 12.1, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import ApiFailure, Cluster, Object
from tests.behaviour.worlds import World

GRANTED = {
    ("runs.bubustack.io", "stepruns", "get"),
    ("runs.bubustack.io", "stepruns", "watch"),
    ("runs.bubustack.io", "stepruns/status", "patch"),
    ("runs.bubustack.io", "stepruns/status", "update"),
    ("runs.bubustack.io", "effectclaims", "create"),
    ("runs.bubustack.io", "effectclaims", "get"),
    ("runs.bubustack.io", "effectclaims", "update"),
    ("transport.bubustack.io", "transportbindings", "get"),
    ("transport.bubustack.io", "transportbindings", "list"),
    ("transport.bubustack.io", "transportbindings", "watch"),
    ("transport.bubustack.io", "transportbindings/status", "get"),
    ("transport.bubustack.io", "transportbindings/status", "patch"),
    ("transport.bubustack.io", "transportbindings/status", "update"),
}
RUNS = "/apis/runs.bubustack.io/v1alpha1"


@dataclasses.dataclass(frozen=True)
class Setting:
    """A component's own view of the API server, beside the administrator's."""

    component: Cluster
    admin: Cluster
    namespace: str
    elsewhere: str


@pytest.fixture
def setting(world: World, namespace: str, component: Callable[..., str], tmp_path: Path) -> Setting:
    """A finished run of a Story, and the token of the account that its step had."""
    if world.name == "embedded":
        pytest.skip("the embedded API server lets every authenticated user do everything: docs/limits.md")
    asked = {
        "rbac": {
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
                {"apiGroups": [""], "resources": ["services"], "verbs": ["*"]},
            ]
        }
    }
    overrides = {
        "rbac": {
            "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["mine"]},
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]},
            ]
        }
    }
    execution = {
        "rbac": {
            "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["ours"]},
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "update"], "resourceNames": ["theirs"]},
                {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"], "resourceNames": ["r-a"]},
            ]
        }
    }
    name = component("silent", {"overrides": overrides}, execution=asked)
    world.cluster.apply(*(_secret(secret, namespace) for secret in ("mine", "ours", "theirs")))
    elsewhere = f"{namespace}-other"
    world.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}})
    world.cluster.apply(story("s", namespace, step("a", name, execution=execution)), storyrun("r", namespace, "s"))
    world.cluster.wait_run(namespace, "r")
    account = world.cluster.path("ServiceAccount", namespace, "s-engram-runner")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = world.cluster.call("POST", f"{account}/token", request)["status"]["token"]
    kubeconfig = yaml.safe_load(world.cluster.kubeconfig.read_text())
    kubeconfig["users"][0]["user"] = {"token": token}
    file = tmp_path / "component"
    file.write_text(yaml.safe_dump(kubeconfig))
    return Setting(Cluster(file), world.cluster, namespace, elsewhere)


@pytest.mark.spec("workloads-44")
def test_a_component_has_the_rights_of_the_table_and_those_that_others_may_ask_for(setting: Setting) -> None:
    found = _rights(setting, setting.namespace)
    everybody = _rights(setting, setting.elsewhere)  # what any authenticated account may do: look at itself
    extra = {("", "pods", verb, ()) for verb in ("get", "list")}
    extra |= {("", "secrets", "get", (name,)) for name in ("mine", "ours")}
    assert found - everybody == {(*right, ()) for right in GRANTED} | extra
    assert {resource for _, resource, _, _ in everybody} <= {
        "selfsubjectreviews",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
    }


def test_a_component_does_what_it_must(setting: Setting) -> None:
    component, namespace = setting.component, setting.namespace
    step_run = component.get("StepRun", namespace, "r-a")
    component.merge("StepRun", namespace, "r-a", {"status": {"signals": {"seen": {"type": "int"}}}}, "status")
    claim = {
        "apiVersion": "runs.bubustack.io/v1alpha1",
        "kind": "EffectClaim",
        "metadata": {"name": "claim", "namespace": namespace},
        "spec": {"stepRunRef": {"name": "r-a", "uid": step_run["metadata"]["uid"]}, "effectKey": "charge"},
    }
    component.create(claim)
    # Its first status, which the operator writes meanwhile, would make every later update a conflict.
    setting.admin.wait("EffectClaim", namespace, "claim", lambda found: "status" in found)
    current = component.get("EffectClaim", namespace, "claim")
    current["spec"] |= {"completionStatus": "completed", "completedAt": "2026-01-01T00:00:00Z"}
    component.call("PUT", component.path("EffectClaim", namespace, "claim"), current)
    for name in ("mine", "ours"):
        assert component.get("Secret", namespace, name)["kind"] == "Secret"
    assert component.list("Pod", namespace) != []


TEMPTATIONS: list[tuple[str, str, Object | None]] = [
    ("GET", "/api/v1/namespaces/{ns}/secrets", None),
    ("GET", "/api/v1/namespaces/{ns}/secrets/theirs", None),
    ("GET", "/api/v1/namespaces/{ns}/configmaps", None),
    ("GET", "/api/v1/namespaces/{ns}/serviceaccounts", None),
    ("POST", "/api/v1/namespaces/{ns}/serviceaccounts/default/token", {"spec": {}}),
    ("POST", "/api/v1/namespaces/{ns}/pods", {"metadata": {"name": "x"}}),
    ("DELETE", "/api/v1/namespaces/{ns}/pods/x", None),
    ("POST", "/apis/batch/v1/namespaces/{ns}/jobs", {"metadata": {"name": "x"}}),
    ("DELETE", "/apis/batch/v1/namespaces/{ns}/jobs/r-a", None),
    ("GET", f"{RUNS}/namespaces/{{ns}}/stepruns", None),
    ("POST", f"{RUNS}/namespaces/{{ns}}/stepruns", {"metadata": {"name": "x"}}),
    ("PATCH", f"{RUNS}/namespaces/{{ns}}/stepruns/r-a", {"metadata": {"labels": {"a": "b"}}}),
    ("DELETE", f"{RUNS}/namespaces/{{ns}}/stepruns/r-a", None),
    ("GET", f"{RUNS}/namespaces/{{ns}}/storyruns/r", None),
    ("PATCH", f"{RUNS}/namespaces/{{ns}}/storyruns/r/status", {"status": {"phase": "Succeeded"}}),
    ("POST", f"{RUNS}/namespaces/{{ns}}/storyruns", {"metadata": {"name": "x"}}),
    ("DELETE", f"{RUNS}/namespaces/{{ns}}/effectclaims/claim", None),
    ("GET", "/apis/bubustack.io/v1alpha1/namespaces/{ns}/engrams", None),
    ("GET", "/apis/bubustack.io/v1alpha1/namespaces/{ns}/stories/s", None),
    ("GET", "/apis/catalog.bubustack.io/v1alpha1/engramtemplates", None),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings", {"metadata": {"name": "x"}}),
    ("PATCH", "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles/s-engram-runner", {"rules": []}),
    ("GET", "/api/v1/namespaces", None),
    ("GET", "/api/v1/nodes", None),
    ("GET", f"{RUNS}/namespaces/{{other}}/stepruns/r-a", None),
    ("PATCH", f"{RUNS}/namespaces/{{other}}/stepruns/r-a/status", {"status": {"phase": "Succeeded"}}),
    ("POST", f"{RUNS}/namespaces/{{other}}/effectclaims", {"metadata": {"name": "x"}}),
    ("GET", "/api/v1/namespaces/{other}/secrets/mine", None),
    ("GET", "/api/v1/namespaces/{other}/pods", None),
]


def test_a_component_can_do_nothing_else(setting: Setting) -> None:
    allowed = [f"{method} {path}" for method, path, body in TEMPTATIONS if _code(setting, method, path, body) != 403]
    assert allowed == []


def _code(setting: Setting, method: str, path: str, body: Object | None) -> int:
    target = path.format(ns=setting.namespace, other=setting.elsewhere)
    content = "application/merge-patch+json" if method == "PATCH" else "application/json"
    try:
        setting.component.call(method, target, body, content)
    except ApiFailure as failure:
        return failure.code
    return 200


def _rights(setting: Setting, namespace: str) -> set[tuple[str, str, str, tuple[str, ...]]]:
    """Group, resource, verb and names of all that the component may do in a namespace, as the authorizer tells."""
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    review: Any = setting.component.call("POST", path, {"spec": {"namespace": namespace}})
    assert not review["status"]["incomplete"]
    return {
        (group, resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in review["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _secret(name: str, namespace: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": "value"}}
