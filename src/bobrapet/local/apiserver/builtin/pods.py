"""Pods and pod templates: defaults, checks, graceful deletion."""

from __future__ import annotations

from typing import Any

from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.metadata import generated_name, label_errors, quote
from bobrapet.local.apiserver.strategy import Strategy, Writing
from bobrapet.local.apiserver.types import Object

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_SECONDS = 3607
_FILE_MODE = 0o644
_TOLERATED_SECONDS = 300


class PodStrategy(Strategy):
    """Pod."""

    has_status = True
    has_generation = True
    returns_deleted = True
    graceful = True

    def default(self, obj: Object) -> None:
        """Everything a kube-apiserver fills in."""
        spec = obj.setdefault("spec", {})
        default_pod_spec(spec)
        spec.setdefault("enableServiceLinks", True)
        for container in _containers(spec):
            resources = container["resources"]
            for name, limit in (resources.get("limits") or {}).items():
                resources.setdefault("requests", {}).setdefault(name, limit)

    def prepare_create(self, obj: Object, writing: Writing) -> None:
        """A new pod is Pending; its ServiceAccount and token volume are decided here, as by admission on a cluster."""
        super().prepare_create(obj, writing)
        spec = obj["spec"]
        spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default")
        spec["serviceAccount"] = spec["serviceAccountName"]
        if spec.get("automountServiceAccountToken", True):
            _mount_token(spec)
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
        _tolerate_lost_nodes(spec)
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}

    def prepare_update(self, obj: Object, old: Object, writing: Writing) -> None:
        """A binding sets the node and the condition that tells it, and is no new generation."""
        if writing.subresource != "binding":
            super().prepare_update(obj, old, writing)

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """Containers have names and images; of a running pod almost nothing changes."""
        faults = pod_spec_errors(obj["spec"], "spec")
        before = dict(old["spec"]) if old is not None else {}
        if "nodeName" not in before and "nodeName" in obj["spec"]:
            before["nodeName"] = obj["spec"]["nodeName"]  # a binding
        if old is not None and _fixed(obj["spec"]) != _fixed(before):
            text = (
                "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
                "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
                "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
                "(allow it to be set to 1 if it was previously negative)"
            )
            faults.append(FieldError("spec", text, "FieldValueForbidden"))
        return faults

    def grace_period(self, obj: Object, asked: int | None) -> int:
        """A pod that runs gets its time to stop; one that was never bound or has ended is removed at once."""
        spec = obj["spec"]
        period = spec.get("terminationGracePeriodSeconds", 30) if asked is None else asked
        if not spec.get("nodeName") or obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        return max(int(period), 0)


def default_pod_spec(spec: Object) -> None:
    """The defaults of a pod template."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in _containers(spec):
        _default_container(container)
    for volume in spec.get("volumes") or []:
        _default_volume(volume)


def pod_spec_errors(spec: Object, path: str) -> list[FieldError]:
    """The faults that keep a pod from being run at all."""
    faults = []
    if not spec.get("containers"):
        faults.append(FieldError(f"{path}.containers", "Required value", "FieldValueRequired"))
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for position, container in enumerate(spec.get(field) or []):
            where = f"{path}.{field}[{position}]"
            name = container.get("name", "")
            if not name:
                faults.append(FieldError(f"{where}.name", "Required value", "FieldValueRequired"))
            elif problems := label_errors(name):
                faults += [FieldError(f"{where}.name", f"Invalid value: {quote(name)}: {text}") for text in problems]
            elif name in seen:
                faults.append(FieldError(f"{where}.name", f"Duplicate value: {quote(name)}", "FieldValueDuplicate"))
            seen.add(name)
            if not container.get("image"):
                faults.append(FieldError(f"{where}.image", "Required value", "FieldValueRequired"))
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    for field in ("initContainers", "containers"):
        for position, container in enumerate(spec.get(field) or []):
            for number, mount in enumerate(container.get("volumeMounts") or []):
                if mount.get("name") not in volumes:
                    where = f"{path}.{field}[{position}].volumeMounts[{number}].name"
                    faults.append(FieldError(where, f"Not found: {quote(mount.get('name', ''))}", "FieldValueNotFound"))
    if (policy := spec.get("restartPolicy")) not in ("Always", "OnFailure", "Never"):
        text = f'Unsupported value: {quote(policy or "")}: supported values: "Always", "OnFailure", "Never"'
        faults.append(FieldError(f"{path}.restartPolicy", text, "FieldValueNotSupported"))
    return faults


def qos_class(spec: Object) -> str:
    """BestEffort, Burstable or Guaranteed."""
    resources = [container.get("resources") or {} for container in _containers(spec)]
    if not any(item.get("requests") or item.get("limits") for item in resources):
        return "BestEffort"
    for item in resources:
        limits, requests = item.get("limits") or {}, item.get("requests") or {}
        if any(name not in limits or limits[name] != requests.get(name) for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"


def _containers(spec: Object) -> list[Object]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _default_container(container: Object) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", _pull_policy(container.get("image", "")))
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            defaults = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
            for field, value in defaults.items():
                probe.setdefault(field, value)
            if "httpGet" in probe:
                probe["httpGet"].setdefault("scheme", "HTTP")
                probe["httpGet"].setdefault("path", "/")
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")


def _pull_policy(image: str) -> str:
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].rpartition(":")
    return "IfNotPresent" if colon and tag != "latest" else "Always"


def _default_volume(volume: Object) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for name in ("configMap", "secret", "downwardAPI", "projected"):
        if name in volume:
            volume[name].setdefault("defaultMode", _FILE_MODE)
    for source in (volume.get("projected") or {}).get("sources") or []:
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")


def _mount_token(spec: Object) -> None:
    containers = [
        container
        for container in _containers(spec)
        if all(mount.get("mountPath") != TOKEN_PATH for mount in container.get("volumeMounts") or [])
    ]
    if not containers:
        return
    name = generated_name("kube-api-access-")
    for container in containers:
        container.setdefault("volumeMounts", []).append({"name": name, "readOnly": True, "mountPath": TOKEN_PATH})
    namespace = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"}
    sources: list[Object] = [
        {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    volume = {"name": name, "projected": {"sources": sources, "defaultMode": _FILE_MODE}}
    spec.setdefault("volumes", []).append(volume)


def _tolerate_lost_nodes(spec: Object) -> None:
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(toleration.get("key") in (key, None, "") for toleration in tolerations):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATED_SECONDS}
            )


def _fixed(spec: Object) -> Any:
    """A spec without what an update may change."""
    fixed = {
        name: value
        for name, value in spec.items()
        if name not in ("activeDeadlineSeconds", "tolerations", "containers", "initContainers", "ephemeralContainers")
    }
    for name in ("containers", "initContainers"):
        fixed[name] = [
            {field: value for field, value in container.items() if field != "image"}
            for container in spec.get(name) or []
        ]
    return fixed
