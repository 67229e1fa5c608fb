"""Objects for the tests, one line each."""

from __future__ import annotations

from typing import Any

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


def configmap(name: str = "a", /, metadata: dict[str, Any] | None = None, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **(metadata or {})}, "data": data}


def pod(name: str = "p", /, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    spec.setdefault("containers", [{"name": "main", "image": "x:1"}])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **(metadata or {})}, "spec": spec}


def owned_by(owner: dict[str, Any], *, block: bool = False) -> dict[str, Any]:
    """`metadata` with a reference to `owner`."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": block,
    }
    return {"ownerReferences": [reference]}


def crd(schema: dict[str, Any] | None = None, *, status: bool = True, **version: Any) -> dict[str, Any]:
    """The definition of widgets.example.com with `schema` as its spec."""
    spec = schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties = {"spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}} if status else {},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                    **version,
                }
            ],
        },
    }


def widget(name: str = "w", /, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name, **(metadata or {})},
        "spec": spec,
    }


RULES_GROUP = "rules.example.com"


def rules_crd(
    spec: dict[str, Any],
    *,
    name: str = "rule",
    status: dict[str, Any] | None = None,
    root_rules: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A definition in rules.example.com whose objects have this spec."""
    root: dict[str, Any] = {"type": "object", "properties": {"spec": spec}}
    if status is not None:
        root["properties"]["status"] = status
    if root_rules is not None:
        root["x-kubernetes-validations"] = root_rules
    definition = crd(status=status is not None)
    definition["metadata"]["name"] = f"{name}s.{RULES_GROUP}"
    definition["spec"].update(group=RULES_GROUP, names={"plural": f"{name}s", "kind": name.title()})
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = root
    return definition
