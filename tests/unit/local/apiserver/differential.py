"""Requests whose answers must be those of a real kube-apiserver, and what of an answer is compared."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
NS = "/api/v1/namespaces/diff"
WIDGETS = "/apis/diff.example.com/v1/namespaces/diff/widgets"
JOBS = "/apis/batch/v1/namespaces/diff/jobs"
DEPLOYMENTS = "/apis/apps/v1/namespaces/diff/deployments"


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    body: Any = None
    type: str = "application/json"

    def __str__(self) -> str:
        return f"{self.method} {self.path} {str(self.body)[:60] if self.body is not None else ''}".strip()


def widget(name: str = "w", /, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "diff.example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


def configmap(name: str = "c", /, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def pod(name: str = "p", /, **spec: Any) -> dict[str, Any]:
    spec.setdefault("containers", [{"name": "a", "image": "x:1"}])
    # A cluster without the ServiceAccount plugin mounts no token.
    spec.setdefault("automountServiceAccountToken", False)
    spec.setdefault("serviceAccountName", "default")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def job(name: str = "j", /, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x"}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        # Suspended, so that no controller of the real control plane touches it.
        "spec": {"suspend": True, "template": template, **spec},
    }


def deployment(name: str = "d", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    labels = labels or {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    spec = {"paused": True, "replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


_STRING = {"type": "string"}
_AB = {"type": "object", "properties": {"a": _STRING, "b": _STRING}}
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.diff.example.com"},
    "spec": {
        "group": "diff.example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["dwd"], "categories": ["all"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"type": "integer", "minimum": 1, "maximum": 10},
                                    "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                                    "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                                    "port": {"x-kubernetes-int-or-string": True},
                                    "items": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {
                                            "type": "object",
                                            "required": ["name"],
                                            "properties": {"name": _STRING, "v": {"type": "integer", "default": 7}},
                                        },
                                    },
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "maybe": {"type": "string", "nullable": True},
                                    "arr": {"type": "array", "maxItems": 2, "minItems": 1, "items": _STRING},
                                    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": _STRING},
                                    "num": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                                    "half": {"type": "number", "multipleOf": 0.5},
                                    "mp": {
                                        "type": "object",
                                        "maxProperties": 1,
                                        "additionalProperties": {"type": "integer"},
                                    },
                                    "dt": {"type": "string", "format": "date-time"},
                                    "b": {"type": "boolean"},
                                    "min": {"type": "string", "minLength": 3},
                                    "emb": {
                                        "type": "object",
                                        "x-kubernetes-embedded-resource": True,
                                        "x-kubernetes-preserve-unknown-fields": True,
                                    },
                                    "any": {**_AB, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
                                    "one": {**_AB, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
                                    "nt": {"type": "string", "not": {"enum": ["x"]}},
                                    "i32": {"type": "integer", "format": "int32"},
                                    "dur": {"type": "string", "format": "duration"},
                                    "sub": {
                                        "type": "object",
                                        "default": {},
                                        "properties": {"deep": {"type": "string", "default": "d"}},
                                    },
                                },
                            },
                            "status": {"type": "object", "properties": {"phase": _STRING, "n": {"type": "integer"}}},
                        },
                    }
                },
            }
        ],
    },
}

SETUP = (
    Call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "diff"}}),
    Call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD),
)

_WRONG_SPECS: tuple[dict[str, Any], ...] = (
    {},
    {"size": "x"},
    {"size": 0},
    {"size": 11},
    {"size": 1.5},
    {"size": None},
    {"size": 1, "color": "green"},
    {"size": 1, "name": "ABC"},
    {"size": 1, "name": "abcdefg"},
    {"size": 1, "arr": ["a", "b", "c"]},
    {"size": 1, "arr": []},
    {"size": 1, "arr": [1]},
    {"size": 1, "arr": "x"},
    {"size": 1, "set": ["a", "a"]},
    {"size": 1, "items": [{"name": "a"}, {"name": "a"}]},
    {"size": 1, "items": [{"v": 1}]},
    {"size": 1, "num": 0},
    {"size": 1, "half": 0.3},
    {"size": 1, "mp": {"a": 1, "b": 2}},
    {"size": 1, "mp": {"a": "x"}},
    {"size": 1, "dt": "x"},
    {"size": 1, "dt": "2020-01-01"},
    {"size": 1, "b": "true"},
    {"size": 1, "min": "a"},
    {"size": 1, "port": True},
    {"size": 1, "port": 1.5},
    {"size": 1, "emb": {}},
    {"size": 1, "any": {}},
    {"size": 1, "one": {}},
    {"size": 1, "one": {"a": "1", "b": "2"}},
    {"size": 1, "nt": "x"},
    {"size": 1, "dur": "x"},
    {"size": 1, "free": "x"},
    {"size": 1, "sub": "x"},
)

_RIGHT_SPECS: tuple[dict[str, Any], ...] = (
    {"size": 1},
    {"size": 2.0, "port": "http", "items": [{"name": "a"}, {"name": "b", "v": 1}]},
    {"size": 1, "unknown": 1, "free": {"x": {"y": [1]}}, "maybe": None, "name": None},
    {"size": 1, "emb": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "q"}, "z": 1}},
    {"size": 1, "dt": "2020-01-01T00:00:00Z", "dur": "1h5m", "num": 0.5, "half": 1.5, "mp": {"a": 1}},
    {"size": 1, "color": None, "sub": None},
    {"size": 1, "sub": {}, "i32": 2**31 - 1, "set": ["a", "b"], "any": {"a": "1"}, "one": {"b": "1"}},
)

CALLS: tuple[Call, ...] = (
    *(Call("POST", WIDGETS, widget("wrong", **spec)) for spec in _WRONG_SPECS),
    *(Call("POST", WIDGETS, widget(f"right{i}", **spec)) for i, spec in enumerate(_RIGHT_SPECS)),
    Call("POST", WIDGETS + "?fieldValidation=Strict", widget(size=1, bogus=1)),
    Call("POST", WIDGETS + "?fieldValidation=Strict", widget(size=1, bogus=1, items=[{"name": "a", "zz": 1}])),
    Call("POST", WIDGETS + "?fieldValidation=Strict", {**widget(size=1), "x": 1, "metadata": {"name": "w", "f": 1}}),
    Call("POST", WIDGETS + "?fieldValidation=Bad", widget(size=1)),
    Call("POST", WIDGETS + "?fieldValidation=Warn", widget("warned", size=1, bogus=1)),
    Call("POST", WIDGETS, {**widget(size=1), "metadata": {"name": "w", "labels": {"a": 1}}}),
    Call("POST", WIDGETS, {**widget(size=1), "metadata": {"name": "w", "labels": {"a_": "-"}}}),
    Call("POST", WIDGETS, {**widget(size=1), "metadata": {"name": "w", "annotations": {"B b": "x"}}}),
    Call("POST", WIDGETS, {**widget(size=1), "metadata": {"name": "w", "finalizers": ["a b"]}}),
    Call("POST", WIDGETS, {**widget(size=1), "metadata": {"name": "w", "ownerReferences": [{"kind": "A"}]}}),
    Call("POST", WIDGETS, {**widget(size=1), "metadata": {"name": "w", "namespace": "other"}}),
    Call("POST", WIDGETS, {**widget(size=1), "metadata": {"name": "w", "resourceVersion": "5"}}),
    Call("POST", WIDGETS, widget("W3", size=1)),
    Call("POST", WIDGETS, widget("", size=1)),
    Call("POST", WIDGETS, widget("x" * 254, size=1)),
    Call("POST", WIDGETS, b"{"),
    Call("POST", WIDGETS, b""),
    Call("POST", WIDGETS, b"abc", type="text/plain"),
    Call("POST", WIDGETS, {"kind": "Widget", "apiVersion": "diff.example.com/v2"}),
    Call("POST", WIDGETS, {"metadata": {"name": "q"}, "spec": {"size": 1}}),
    Call("POST", WIDGETS, widget(size=1)),
    Call("POST", WIDGETS, widget(size=1)),
    Call("GET", WIDGETS + "/w"),
    Call("GET", WIDGETS + "/nope"),
    Call("PUT", WIDGETS + "/w", widget(size=2)),
    Call("PUT", WIDGETS + "/w", widget("w8", size=2)),
    Call("PUT", WIDGETS + "/nope", {**widget("nope", size=2), "metadata": {"name": "nope", "resourceVersion": "1"}}),
    Call("PATCH", WIDGETS + "/w", {"spec": {"size": "x"}}, MERGE),
    Call("PATCH", WIDGETS + "/w", {"spec": {"size": 3, "name": "abc"}}, MERGE),
    Call("PATCH", WIDGETS + "/w", {"spec": {"name": None}}, MERGE),
    Call("PATCH", WIDGETS + "/w", {"status": {"phase": "Ignored"}}, MERGE),
    Call("PATCH", WIDGETS + "/w/status", {"status": {"phase": "On"}, "spec": {"size": 9}}, MERGE),
    Call("PATCH", WIDGETS + "/w", [{"op": "replace", "path": "/spec/size", "value": 4}], JSON_PATCH),
    Call("PATCH", WIDGETS + "/w", [{"op": "replace", "path": "/spec/nope/x", "value": 1}], JSON_PATCH),
    Call("PATCH", WIDGETS + "/w", [{"op": "test", "path": "/spec/size", "value": 9}], JSON_PATCH),
    Call("PATCH", WIDGETS + "/w", [{"op": "remove", "path": "/spec/color"}], JSON_PATCH),
    Call("PATCH", WIDGETS + "/w", {"a": 1}, JSON_PATCH),
    Call("PATCH", WIDGETS + "/w", {}, STRATEGIC),
    Call("PATCH", WIDGETS + "/w", {}, "application/json"),
    Call("PATCH", WIDGETS + "/w", b"[]", MERGE),
    Call("PATCH", WIDGETS + "/w", {}, MERGE),
    Call("PATCH", WIDGETS + "/w", {"metadata": {"name": "x"}}, MERGE),
    Call("PATCH", WIDGETS + "/w", {"metadata": {"resourceVersion": "1"}}, MERGE),
    Call("PATCH", WIDGETS + "/w", {"metadata": {"labels": {"a": "b"}}}, MERGE),
    Call("PATCH", WIDGETS + "/nope", {}, MERGE),
    Call("GET", WIDGETS + "?labelSelector=a%3Db"),
    Call("GET", WIDGETS + "?labelSelector=a%21%3Db&fieldSelector=metadata.name%3Dright0"),
    Call("GET", WIDGETS + "?fieldSelector=spec.color%3Dblue"),
    Call("GET", WIDGETS + "?fieldSelector=spec.size%3D1"),
    Call("DELETE", WIDGETS + "/w?dryRun=All"),
    Call("DELETE", WIDGETS + "/w?dryRun=Some"),
    Call("DELETE", WIDGETS + "/w", {"preconditions": {"uid": "x"}}),
    Call("DELETE", WIDGETS + "/w", {"propagationPolicy": "Nope"}),
    Call("DELETE", WIDGETS + "/w"),
    Call("DELETE", WIDGETS + "/w"),
    Call("POST", WIDGETS, {**widget("held", size=1), "metadata": {"name": "held", "finalizers": ["x.io/hold"]}}),
    Call("DELETE", WIDGETS + "/held"),
    Call("PATCH", WIDGETS + "/held", {"metadata": {"finalizers": ["x.io/hold", "x.io/more"]}}, MERGE),
    Call("DELETE", WIDGETS + "/held"),
    Call("PATCH", WIDGETS + "/held", {"metadata": {"finalizers": None}}, MERGE),
    Call("GET", WIDGETS + "/held"),
    Call("PATCH", WIDGETS + "/applied?fieldManager=one", widget("applied", size=1), APPLY),
    Call("PATCH", WIDGETS + "/applied", widget("applied", size=1), APPLY),
    Call("PATCH", WIDGETS + "/applied?fieldManager=two", widget("applied", size=2), APPLY),
    Call("PATCH", WIDGETS + "/applied?fieldManager=two", widget("applied", size=1, name="abc"), APPLY),
    Call("PATCH", WIDGETS + "/applied?fieldManager=two&force=true", widget("applied", size=2), APPLY),
    Call("PATCH", WIDGETS + "/applied?fieldManager=one", widget("applied", size=1, bogus=1), APPLY),
    # built-in kinds
    Call("POST", NS + "/configmaps", configmap(data={"a": 1})),
    Call("POST", NS + "/configmaps", configmap(data={"a": None})),
    Call("POST", NS + "/configmaps", configmap("bad", data={"a b": "x"})),
    Call("POST", NS + "/configmaps", {**configmap(), "metadata": {"name": "c", "labels": {"a": 1}}}),
    Call("POST", NS + "/configmaps?fieldValidation=Strict", configmap(bogus=1)),
    Call("POST", NS + "/configmaps", {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "c"}}),
    Call("POST", NS + "/configmaps", {"metadata": {"name": "c2"}}),
    Call("POST", NS + "/configmaps", b"{"),
    Call("POST", NS + "/configmaps", configmap("C_")),
    Call("POST", NS + "/configmaps?dryRun=All", configmap("dry", data={"a": "b"})),
    Call("GET", NS + "/configmaps/dry"),
    Call("POST", "/api/v1/namespaces/nope/configmaps", configmap()),
    Call("PUT", NS + "/configmaps/c2", configmap("c2", data={"x": "y"})),
    Call("PATCH", NS + "/configmaps/c2", {"immutable": True}, MERGE),
    Call("PATCH", NS + "/configmaps/c2", {"data": {"x": "z"}}, MERGE),
    Call(
        "POST", NS + "/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "!"}}
    ),
    Call(
        "POST",
        NS + "/secrets",
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}},
    ),
    Call("PATCH", NS + "/secrets/s", {"type": "other"}, MERGE),
    Call("DELETE", NS + "/secrets/s"),
    Call("POST", NS + "/pods", pod(containers=[])),
    Call("POST", NS + "/pods", pod(containers=[{"name": "a"}])),
    Call("POST", NS + "/pods", pod(containers=[{"name": "A b", "image": "x"}])),
    Call("POST", NS + "/pods", pod(restartPolicy="Sometimes")),
    Call(
        "POST",
        NS + "/pods",
        pod(containers=[{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]),
    ),
    Call(
        "POST",
        NS + "/pods",
        pod(
            "full",
            containers=[
                {
                    "name": "a",
                    "image": "x",
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "ports": [{"containerPort": 80}],
                    "livenessProbe": {"httpGet": {"port": 80}},
                    "resources": {"limits": {"cpu": "1"}},
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                }
            ],
            volumes=[{"name": "v", "secret": {"secretName": "s"}}],
        ),
    ),
    Call("PATCH", NS + "/pods/full", {"spec": {"containers": [{"name": "a", "image": "y"}]}}, STRATEGIC),
    Call("PATCH", NS + "/pods/full", {"spec": {"restartPolicy": "Never"}}, MERGE),
    Call("PATCH", NS + "/pods/full/status", {"status": {"phase": "Running"}}, MERGE),
    Call("GET", NS + "/pods?fieldSelector=status.phase%3DRunning"),
    Call("GET", NS + "/pods/full/log?container=nope"),
    Call("DELETE", NS + "/pods/full"),
    Call("GET", NS + "/pods/full"),
    Call("POST", DEPLOYMENTS, deployment(replicas="x")),
    Call("POST", DEPLOYMENTS, deployment(replicas=1.5)),
    Call("POST", DEPLOYMENTS, deployment(template={"spec": {"containers": {"a": 1}}})),
    Call("POST", DEPLOYMENTS, deployment(template={"spec": {"containers": [{"name": 1}]}})),
    Call("POST", DEPLOYMENTS, deployment(labels={"app": "other"})),
    Call("POST", DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {}}),
    Call("POST", DEPLOYMENTS, deployment()),
    Call(
        "PATCH",
        DEPLOYMENTS + "/d",
        {"spec": {"template": {"spec": {"containers": [{"name": "b", "image": "z"}]}}}},
        STRATEGIC,
    ),
    Call(
        "PATCH",
        DEPLOYMENTS + "/d",
        {"spec": {"template": {"spec": {"containers": [{"name": "b", "$patch": "delete"}]}}}},
        STRATEGIC,
    ),
    Call("PATCH", DEPLOYMENTS + "/d", {"spec": {"template": {"spec": {"containers": [{"image": "z"}]}}}}, STRATEGIC),
    Call("GET", DEPLOYMENTS + "/d/scale"),
    Call("PATCH", DEPLOYMENTS + "/d/scale", {"spec": {"replicas": 2}}, MERGE),
    Call("PATCH", DEPLOYMENTS + "/d/scale", {"spec": {"replicas": -1}}, MERGE),
    Call("DELETE", DEPLOYMENTS + "/d"),
    Call("POST", JOBS, job()),
    Call("PATCH", JOBS + "/j", {"spec": {"completions": 3}}, MERGE),
    Call("PATCH", JOBS + "/j", {"spec": {"parallelism": 3}}, MERGE),
    Call("POST", JOBS, job("k", parallelism=-1)),
    Call("DELETE", JOBS + "/j"),
    Call(
        "POST",
        "/apis/coordination.k8s.io/v1/namespaces/diff/leases",
        {
            "kind": "Lease",
            "apiVersion": "coordination.k8s.io/v1",
            "metadata": {"name": "l"},
            "spec": {"leaseDurationSeconds": 0},
        },
    ),
    Call(
        "PUT",
        "/apis/coordination.k8s.io/v1/namespaces/diff/leases/l",
        {
            "kind": "Lease",
            "apiVersion": "coordination.k8s.io/v1",
            "metadata": {"name": "l"},
            "spec": {"holderIdentity": "me"},
        },
    ),
    Call(
        "POST",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/diff/rolebindings",
        {
            "kind": "RoleBinding",
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "metadata": {"name": "r:b"},
            "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "diff"}],
        },
    ),
    Call(
        "POST",
        NS + "/events",
        {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": "e"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "diff"},
            "reason": "R",
            "message": "m",
            "type": "Normal",
        },
    ),
    Call("GET", "/apis/events.k8s.io/v1/namespaces/diff/events/e"),
    Call("GET", NS + "/events?fieldSelector=involvedObject.name%3Dp"),
    Call(
        "POST",
        NS + "/serviceaccounts/default/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 60}},
    ),
    Call(
        "POST",
        NS + "/serviceaccounts/nope/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    ),
    # paths, methods, query parameters
    Call("GET", NS + "/nope"),
    Call("GET", "/apis/nope/v1/x"),
    Call("GET", "/nope"),
    Call("GET", "/api/v2"),
    Call("GET", "/apis/apps/v9"),
    Call("GET", "/apis/apps/v1/nope"),
    Call("GET", NS + "/pods/p/nope"),
    Call("POST", NS + "/pods/p"),
    Call("PUT", NS + "/pods"),
    Call("GET", NS + "/pods?labelSelector=a%20in%20x"),
    Call("GET", NS + "/pods?labelSelector=a%20in%20(b,c),d,!e"),
    Call("GET", NS + "/pods?fieldSelector=nope%3D1"),
    Call("GET", NS + "/pods?fieldSelector=nope"),
    Call("GET", NS + "/pods?resourceVersion=x"),
    Call("GET", NS + "/pods?limit=x"),
    Call("GET", NS + "/pods?continue=x"),
    Call("GET", NS + "/pods?resourceVersionMatch=Exact"),
    Call("GET", NS + "/pods?resourceVersionMatch=Foo&resourceVersion=1"),
    Call("GET", NS + "/pods?watch=1&sendInitialEvents=true"),
    Call("GET", NS + "/pods?sendInitialEvents=true"),
    Call("DELETE", "/api/v1/namespaces/default"),
    Call("POST", NS + "/configmaps?dryRun=x", configmap()),
    Call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {**CRD, "metadata": {"name": "wrong"}}),
    Call(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}},
        },
    ),
)

_NOISE = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields", "generation")


def comparable(code: int, body: Any) -> Any:
    """An answer without what two servers can never agree on."""
    if not isinstance(body, dict):
        return code, str(body).strip()
    body = copy.deepcopy(body)
    if body.get("kind") == "Status":
        details = body.get("details") or {}
        details.pop("uid", None)
        # A set: the real one tells some faults twice.
        causes = sorted(
            {(c.get("reason", ""), c.get("field", ""), _text(c.get("message", ""))) for c in details.pop("causes", [])}
        )
        return code, body.get("reason"), _message(body.get("message")), details, causes
    for item in [body, *(body.get("items") or [])]:
        metadata = item.get("metadata") or {}
        if metadata.get("continue") == "":
            del metadata["continue"]
        if item.get("kind") in ("Deployment", "Job"):
            item.pop("status", None)  # the controllers of the real one are at work
        for name in _NOISE:
            metadata.pop(name, None)
        item.pop("kind", None)
        item.pop("apiVersion", None)
    return code, _blank(body)


def _message(message: str | None) -> str:
    """Faults of one object come in any order."""
    text = _text(message or "")
    head, bracket, rest = text.partition(": [")
    return head + " ".join(sorted(rest.rstrip("]").replace(",", "").split())) if bracket else text


def _text(text: str) -> str:
    text = text.partition("\n")[0]  # what follows is a diff of Go structs
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", text)
    return re.sub(r"current: \d+", "current: N", text)


def _blank(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "TIME" if isinstance(item, str) and re.match(r"\d{4}-\d\d-\d\dT", item) else _blank(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_blank(item) for item in value]
    return _text(value) if isinstance(value, str) else value
