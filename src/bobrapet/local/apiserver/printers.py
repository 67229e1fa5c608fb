"""Tables: what `kubectl get` shows of an object.

Columns of built-in kinds are functions of the object; columns of CRDs are the JSONPaths written there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from bobrapet.local.apiserver.types import Column, Object, Resource

Clock = Callable[[], datetime]


def columns_of(resource: Resource) -> Sequence[Column]:
    """The columns of a resource: name first; age last unless its CRD says otherwise."""
    name = Column("Name", "string", format="name", description="Name of the object", value=_name)
    if resource.columns:
        return (name, *resource.columns)
    return (name, _AGE)


def row(resource: Resource, obj: Object, now: datetime) -> list[Any]:
    """The cells of an object."""
    return [_cell(column, obj, now) for column in columns_of(resource)]


def definitions(resource: Resource) -> list[Object]:
    """`columnDefinitions`."""
    return [
        {
            "name": column.name,
            "type": "string" if column.type == "date" and not resource.strategy.custom else column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns_of(resource)
    ]


def _cell(column: Column, obj: Object, now: datetime) -> Any:
    value = column.value(obj) if callable(column.value) else _first(evaluate(column.value, obj))
    if column.type == "date":
        return age(value, now) if value else "<unknown>" if callable(column.value) else None
    if value is None and callable(column.value):
        return "<none>"
    if isinstance(value, list | dict):
        return str(value)
    if column.type == "string" and value is not None and not isinstance(value, str):
        return ("true" if value else "false") if isinstance(value, bool) else str(value)
    return value


def age(timestamp: str, now: datetime) -> str:
    """How long ago, in the short form of kubectl."""
    try:
        then = datetime.fromisoformat(timestamp)
    except ValueError:
        return "<invalid>"
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return duration((now - then).total_seconds())


def duration(seconds: float) -> str:
    """Seconds in the units that matter."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y{rest}d" if rest and years < 8 else f"{years}y"


_STEP = re.compile(
    r"\.(?P<name>(?:\\.|[^.\[\]\\])+)"
    r"|\[(?P<index>-?\d+|\*)\]"
    r"|\['(?P<quoted>(?:[^'\\]|\\.)*)'\]"
    r"|\[\?\(@\.(?P<field>[\w.]+)\s*==\s*[\"'](?P<value>[^\"']*)[\"']\)\]"
)


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[tuple[str, Any], ...]:
    steps: list[tuple[str, Any]] = []
    text = path if path.startswith((".", "[")) else f".{path}"
    for match in _STEP.finditer(text):
        if (name := match["name"]) is not None:
            steps.append(("field", name.replace("\\.", ".")))
        elif (index := match["index"]) is not None:
            steps.append(("all", None) if index == "*" else ("index", int(index)))
        elif (quoted := match["quoted"]) is not None:
            steps.append(("field", quoted.replace("\\'", "'")))
        else:
            steps.append(("filter", (match["field"], match["value"])))
    return tuple(steps)


def evaluate(path: str, obj: Any) -> list[Any]:
    """The values at a JSONPath of the kind CRD columns use: fields, indexes, `[*]`, equality filters."""
    found = [obj]
    for kind, argument in _steps(path):
        following: list[Any] = []
        for value in found:
            if kind == "field" and isinstance(value, dict) and argument in value:
                following.append(value[argument])
            elif isinstance(value, list):
                if kind == "all":
                    following += value
                elif kind == "index" and -len(value) <= argument < len(value):
                    following.append(value[argument])
                elif kind == "filter":
                    field, wanted = argument
                    following += [item for item in value if wanted in map(str, evaluate(field, item))]
            elif kind == "all" and isinstance(value, dict):
                following += value.values()
        found = following
    return found


def _first(values: list[Any]) -> Any:
    return values[0] if values else None


def _name(obj: Object) -> str:
    return str(obj["metadata"].get("name", ""))


def _at(path: str, default: Any = "<none>") -> Callable[[Object], Any]:
    def value(obj: Object) -> Any:
        found = _first(evaluate(path, obj))
        return default if found in (None, "") else found

    return value


def _created(obj: Object) -> Any:
    return obj["metadata"].get("creationTimestamp")


def _count(path: str) -> Callable[[Object], Any]:
    return lambda obj: len(_first(evaluate(path, obj)) or ())


def _number(path: str) -> Callable[[Object], Any]:
    return _at(path, 0)


def _containers(obj: Object) -> list[Object]:
    spec = obj.get("spec") or {}
    template = spec.get("template")
    pod = (template.get("spec") or {}) if isinstance(template, dict) else spec
    return pod.get("containers") or []


def _container_names(obj: Object) -> str:
    return ",".join(container.get("name", "") for container in _containers(obj))


def _images(obj: Object) -> str:
    return ",".join(container.get("image", "") for container in _containers(obj))


def _selector(obj: Object) -> str:
    selector = (obj.get("spec") or {}).get("selector") or {}
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for entry in selector.get("matchExpressions") or []:
        values = ",".join(entry.get("values") or [])
        parts.append(f"{entry['key']} {entry['operator'].lower()} ({values})" if values else entry["key"])
    return ",".join(parts) or "<none>"


def _plain_selector(obj: Object) -> str:
    selector = (obj.get("spec") or {}).get("selector") or {}
    return ",".join(f"{key}={value}" for key, value in selector.items()) or "<none>"


def _pod_ready(obj: Object) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or []
    ready = sum(bool(status.get("ready")) for status in statuses)
    return f"{ready}/{len(_containers(obj))}"


def _pod_status(obj: Object) -> str:
    status = obj.get("status") or {}
    reason = status.get("reason") or status.get("phase") or "Unknown"
    for position, container in enumerate(status.get("initContainerStatuses") or []):
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated and terminated.get("exitCode") == 0:
            continue
        if terminated:
            return f"Init:{terminated.get('reason') or _exit(terminated)}"
        if waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        total = len((obj.get("spec") or {}).get("initContainers") or [])
        return f"Init:{position}/{total}"
    running = False
    for container in reversed(status.get("containerStatuses") or []):
        state = container.get("state") or {}
        waiting, terminated = state.get("waiting"), state.get("terminated")
        if waiting and waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated:
            reason = terminated.get("reason") or _exit(terminated)
        elif container.get("ready") and state.get("running"):
            running = True
    if reason == "Completed" and running:
        reason = "Running"
    if "deletionTimestamp" in obj["metadata"] and status.get("phase") not in ("Succeeded", "Failed"):
        reason = "Terminating"
    return str(reason)


def _exit(terminated: Object) -> str:
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _restarts(obj: Object) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or []
    return str(sum(status.get("restartCount", 0) for status in statuses))


def _job_status(obj: Object) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or []
    true = {condition["type"] for condition in conditions if condition.get("status") == "True"}
    for type, word in (("Complete", "Complete"), ("Failed", "Failed")):
        if type in true:
            return word
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    for type in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if type in true:
            return type
    return "Running"


def _completions(obj: Object) -> str:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    done = status.get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallelism = spec.get("parallelism", 1)
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _job_duration(obj: Object) -> str:
    status = obj.get("status") or {}
    if not status.get("startTime"):
        return ""
    start = datetime.fromisoformat(status["startTime"])
    end = status.get("completionTime")
    return duration(((datetime.fromisoformat(end) if end else datetime.now(UTC)) - start).total_seconds())


def _of(ready: str, total: str) -> Callable[[Object], str]:
    return lambda obj: f"{_number(ready)(obj)}/{_number(total)(obj)}"


def _ports(obj: Object) -> str:
    parts = []
    for port in (obj.get("spec") or {}).get("ports") or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        parts.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(parts) or "<none>"


def _node_status(obj: Object) -> str:
    words = [
        "Ready" if condition.get("status") == "True" else "NotReady"
        for condition in (obj.get("status") or {}).get("conditions") or []
        if condition["type"] == "Ready"
    ]
    if (obj.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words) or "Unknown"


def _roles(obj: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or "<none>"


def _event_object(obj: Object) -> str:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _event_seen(obj: Object) -> Any:
    series = obj.get("series") or {}
    return (
        series.get("lastObservedTime")
        or obj.get("lastTimestamp")
        or obj.get("deprecatedLastTimestamp")
        or obj.get("eventTime")
        or _created(obj)
    )


def _event_first(obj: Object) -> Any:
    return obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime") or _created(obj)


def _role(obj: Object) -> str:
    reference = obj.get("roleRef") or {}
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"


_AGE = Column("Age", "date", _created, description="Time since the object was created")
_WORKLOAD_WIDE = (
    Column("Containers", value=_container_names, priority=1),
    Column("Images", value=_images, priority=1),
    Column("Selector", value=_selector, priority=1),
)


COLUMNS: dict[tuple[str, str], tuple[Column, ...]] = {
    ("", "ConfigMap"): (
        Column("Data", "integer", lambda obj: len(obj.get("data") or ()) + len(obj.get("binaryData") or ())),
        _AGE,
    ),
    ("", "Event"): (
        Column("Last Seen", "date", _event_seen),
        Column("Type", value=_at(".type", "")),
        Column("Reason", value=_at(".reason", "")),
        Column("Object", value=_event_object),
        Column("Subobject", value=_at(".involvedObject.fieldPath", ""), priority=1),
        Column("Source", value=_at(".source.component", ""), priority=1),
        Column("Message", value=_at(".message", "")),
        Column("First Seen", "date", _event_first, priority=1),
        Column("Count", value=_at(".count", 1), priority=1),
        Column("Name", value=_name, priority=1),
    ),
    ("", "Namespace"): (Column("Status", value=_at(".status.phase")), _AGE),
    ("", "Node"): (
        Column("Status", value=_node_status),
        Column("Roles", value=_roles),
        _AGE,
        Column("Version", value=_at(".status.nodeInfo.kubeletVersion", "")),
        Column("Internal-IP", value=_at(".status.addresses[?(@.type=='InternalIP')].address"), priority=1),
        Column("OS-Image", value=_at(".status.nodeInfo.osImage", "<unknown>"), priority=1),
    ),
    ("", "PersistentVolumeClaim"): (
        Column("Status", value=_at(".status.phase")),
        Column("Volume", value=_at(".spec.volumeName", "")),
        Column("Capacity", value=_at(".status.capacity.storage", "")),
        Column("StorageClass", value=_at(".spec.storageClassName", "")),
        _AGE,
    ),
    ("", "Pod"): (
        Column("Ready", value=_pod_ready),
        Column("Status", value=_pod_status),
        Column("Restarts", value=_restarts),
        _AGE,
        Column("IP", value=_at(".status.podIP"), priority=1),
        Column("Node", value=_at(".spec.nodeName"), priority=1),
        Column("Nominated Node", value=_at(".status.nominatedNodeName"), priority=1),
        Column("Readiness Gates", value=lambda _obj: "<none>", priority=1),
    ),
    ("", "Secret"): (
        Column("Type", value=_at(".type", "")),
        Column("Data", "integer", _count(".data")),
        _AGE,
    ),
    ("", "Service"): (
        Column("Type", value=_at(".spec.type", "")),
        Column("Cluster-IP", value=_at(".spec.clusterIP")),
        Column("External-IP", value=_at(".spec.externalName")),
        Column("Port(s)", value=_ports),
        _AGE,
        Column("Selector", value=_plain_selector, priority=1),
    ),
    ("", "ServiceAccount"): (Column("Secrets", "integer", _count(".secrets")), _AGE),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (Column("Created At", "string", _created),),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): (
        Column("Webhooks", "integer", _count(".webhooks")),
        _AGE,
    ),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): (
        Column("Webhooks", "integer", _count(".webhooks")),
        _AGE,
    ),
    ("apps", "Deployment"): (
        Column("Ready", value=_of(".status.readyReplicas", ".spec.replicas")),
        Column("Up-to-date", "integer", _number(".status.updatedReplicas")),
        Column("Available", "integer", _number(".status.availableReplicas")),
        _AGE,
        *_WORKLOAD_WIDE,
    ),
    ("apps", "ReplicaSet"): (
        Column("Desired", "integer", _number(".spec.replicas")),
        Column("Current", "integer", _number(".status.replicas")),
        Column("Ready", "integer", _number(".status.readyReplicas")),
        _AGE,
        *_WORKLOAD_WIDE,
    ),
    ("apps", "StatefulSet"): (
        Column("Ready", value=_of(".status.readyReplicas", ".spec.replicas")),
        _AGE,
        *_WORKLOAD_WIDE[:2],
    ),
    ("batch", "CronJob"): (
        Column("Schedule", value=_at(".spec.schedule", "")),
        Column("Timezone", value=_at(".spec.timeZone")),
        Column("Suspend", value=lambda obj: "True" if (obj.get("spec") or {}).get("suspend") else "False"),
        Column("Active", "integer", _count(".status.active")),
        _AGE,
    ),
    ("batch", "Job"): (
        Column("Status", value=_job_status),
        Column("Completions", value=_completions),
        Column("Duration", value=_job_duration),
        _AGE,
        *_WORKLOAD_WIDE,
    ),
    ("coordination.k8s.io", "Lease"): (Column("Holder", value=_at(".spec.holderIdentity", "")), _AGE),
    ("rbac.authorization.k8s.io", "ClusterRole"): (Column("Created At", "string", _created),),
    ("rbac.authorization.k8s.io", "Role"): (Column("Created At", "string", _created),),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): (Column("Role", value=_role), _AGE),
    ("rbac.authorization.k8s.io", "RoleBinding"): (Column("Role", value=_role), _AGE),
    ("scheduling.k8s.io", "PriorityClass"): (
        Column("Value", "integer", _number(".value")),
        Column("Global-Default", "boolean", _at(".globalDefault", False)),
        _AGE,
    ),
}
COLUMNS["events.k8s.io", "Event"] = COLUMNS["", "Event"]
