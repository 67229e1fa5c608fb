"""What a pod's status says, from what its containers do. Pure; the words are those of a kubelet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

Object = Mapping[str, Any]
Role = Literal["init", "sidecar", "app"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not started: `reason` as in ContainerCreating, ErrImagePull, CrashLoopBackOff."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Terminated:
    """Ended: `exit_code` is 128 + `signal` when a signal ended it."""

    exit_code: int
    reason: str
    finished_at: datetime
    started_at: datetime | None = None
    message: str = ""
    container_id: str = ""
    signal: int = 0


State = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod and what is known of it."""

    name: str
    image: str
    role: Role
    state: State
    last_state: Terminated | None = None
    restarts: int = 0
    container_id: str = ""
    ready: bool = False
    started: bool = False
    """Its startup probe succeeded and its postStart hook is done."""

    def waits(self, reason: str, message: str = "") -> Container:
        return replace(self, state=Waiting(reason, message), ready=False, started=False)

    def runs(self, container_id: str, started_at: datetime, *, ready: bool = True, started: bool = True) -> Container:
        """Runs (again); what ended before becomes the last state."""
        running = Running(started_at)
        return replace(self, state=running, container_id=container_id, ready=ready, started=started)

    def ends(self, end: Terminated) -> Container:
        return replace(self, state=replace(end, container_id=self.container_id), ready=False, started=False)

    def restarts_after(self, reason: str, message: str) -> Container:
        """Waits for its next start: the end moves to the last state."""
        last = self.state if isinstance(self.state, Terminated) else self.last_state
        return replace(self, state=Waiting(reason, message), last_state=last, restarts=self.restarts + 1, ready=False,
                       started=False)  # fmt: skip

    @property
    def succeeded(self) -> bool:
        return isinstance(self.state, Terminated) and self.state.exit_code == 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A phase that the node decided for the pod as a whole, for example after its deadline."""

    phase: Literal["Failed", "Succeeded"]
    reason: str = ""
    message: str = ""


def containers_of(pod: Object) -> list[Container]:
    """The containers of a pod that nobody has started yet, init containers first."""
    spec = pod["spec"]
    inits = spec.get("initContainers") or ()
    reason = "PodInitializing" if inits else "ContainerCreating"
    return [
        *(_new(entry, "sidecar" if entry.get("restartPolicy") == "Always" else "init", reason) for entry in inits),
        *(_new(entry, "app", reason) for entry in spec["containers"]),
    ]


def recall(
    pod: Object, starts: Mapping[str, int], now: datetime, message: str = "the node was restarted meanwhile"
) -> list[Container]:
    """The containers of a pod that an earlier process of this node dealt with.

    `starts` has for each container that ever ran the number of its last start. What the API server was not told the end
    of has ended without a witness, which a kubelet reports as exit code 137: its processes do not outlive the node.
    """
    status = pod.get("status") or {}
    known = {
        entry["name"]: entry
        for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    }
    recalled = []
    for container in containers_of(pod):
        entry = known.get(container.name) or {}
        state = entry.get("state") or {}
        started = starts.get(container.name, -1)
        restarts = max(int(entry.get("restartCount") or 0), started)
        container = replace(
            container,
            restarts=max(restarts, 0),
            container_id=entry.get("containerID") or "",
            last_state=_terminated((entry.get("lastState") or {}).get("terminated")),
        )
        told = _terminated(state.get("terminated"))
        if told is not None and int(entry.get("restartCount") or 0) >= started:
            container = replace(container, state=told)
        elif "running" in state or started >= 0:
            begun = _moment((state.get("running") or {}).get("startedAt"))
            container = container.ends(Terminated(137, "Error", now, begun, message, signal=9))
        recalled.append(container)
    return recalled


def phase(containers: Sequence[Container], restart_policy: str) -> str:
    """Pending, Running, Succeeded or Failed, by the rules of a kubelet."""
    for container in containers:
        if container.role == "init" and not container.succeeded:
            failed = isinstance(container.state, Terminated) and restart_policy == "Never"
            return "Failed" if failed else "Pending"
    apps = [container for container in containers if container.role == "app"]
    if any(isinstance(app.state, Waiting) and app.last_state is None for app in apps):
        return "Pending"
    if any(not isinstance(app.state, Terminated) for app in apps) or restart_policy == "Always":
        return "Running"
    if all(app.succeeded for app in apps):
        return "Succeeded"
    return "Running" if restart_policy == "OnFailure" else "Failed"


def pod_status(
    pod: Object,
    containers: Sequence[Container],
    *,
    started_at: datetime,
    now: datetime,
    ip: str,
    verdict: Verdict | None = None,
    sandbox_ready: bool = True,
) -> dict[str, Any]:
    """The status to write: only the fields that the node owns."""
    decided = verdict.phase if verdict else phase(containers, pod["spec"].get("restartPolicy") or "Always")
    status: dict[str, Any] = {
        "phase": decided,
        "conditions": _conditions(pod, containers, decided, sandbox_ready, now),
        "hostIP": ip,
        "hostIPs": [{"ip": ip}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": timestamp(started_at),
        "containerStatuses": [_container_status(entry) for entry in containers if entry.role == "app"],
    }
    inits = [_container_status(entry) for entry in containers if entry.role != "app"]
    if inits:
        status["initContainerStatuses"] = inits
    if verdict is not None and verdict.reason:
        status |= {"reason": verdict.reason, "message": verdict.message}
    return status


def timestamp(moment: datetime) -> str:
    """RFC 3339 in whole seconds, as metav1.Time is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _new(entry: Object, role: Role, reason: str) -> Container:
    return Container(entry["name"], entry.get("image") or "", role, Waiting(reason))


def _conditions(
    pod: Object, containers: Sequence[Container], decided: str, sandbox_ready: bool, now: datetime
) -> list[dict[str, Any]]:
    over = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(decided, "")
    incomplete = [entry.name for entry in containers if entry.role == "init" and not entry.succeeded]
    unready = [entry.name for entry in containers if entry.role != "init" and not entry.ready]
    initialized = (
        ("True", "PodCompleted" if over == "PodCompleted" else "", "")
        if not incomplete
        else ("False", "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]")
    )
    if over:
        ready = ("False", over, "")
    elif unready:
        ready = ("False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    else:
        ready = ("True", "", "")
    wanted = {
        "PodReadyToStartContainers": ("True" if sandbox_ready and not over else "False", "", ""),
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": ready,
    }
    before = {entry["type"]: entry for entry in (pod.get("status") or {}).get("conditions") or ()}
    return [_condition(kind, *value, before.get(kind), now) for kind, value in wanted.items()]


def _condition(
    kind: str, status: str, reason: str, message: str, before: Object | None, now: datetime
) -> dict[str, Any]:
    unchanged = before is not None and before.get("status") == status
    since = before.get("lastTransitionTime") if before is not None and unchanged else None
    return {
        "type": kind,
        "status": status,
        "lastTransitionTime": since or timestamp(now),
        # null takes away what an earlier patch set; where nothing was, nothing is sent.
        **{
            name: text or None
            for name, text in (("reason", reason), ("message", message))
            if text or (before is not None and name in before)
        },
    }


def _container_status(container: Container) -> dict[str, Any]:
    running = isinstance(container.state, Running)
    status: dict[str, Any] = {
        "name": container.name,
        "image": container.image,
        "imageID": f"bobrapet://{container.image}" if container.container_id else "",
        "ready": container.ready or (container.role == "init" and container.succeeded),
        "started": running and container.started,
        "restartCount": container.restarts,
        "state": _state(container.state),
        "lastState": _state(container.last_state) if container.last_state else {},
    }
    if container.container_id:
        status["containerID"] = container.container_id
    return status


def _state(state: State) -> dict[str, Any]:
    match state:
        case Waiting(reason, message):
            return {"waiting": _present(reason=reason, message=message)}
        case Running(started_at):
            return {"running": {"startedAt": timestamp(started_at)}}
        case Terminated():
            return {
                "terminated": {
                    "exitCode": state.exit_code,
                    **_present(
                        reason=state.reason,
                        message=state.message,
                        startedAt=timestamp(state.started_at) if state.started_at else "",
                        finishedAt=timestamp(state.finished_at),
                        containerID=state.container_id,
                        signal=state.signal,
                    ),
                }
            }


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _terminated(entry: Object | None) -> Terminated | None:
    if entry is None:
        return None
    return Terminated(
        exit_code=int(entry.get("exitCode") or 0),
        reason=entry.get("reason") or "",
        finished_at=_moment(entry.get("finishedAt")) or datetime.fromtimestamp(0, UTC),
        started_at=_moment(entry.get("startedAt")),
        message=entry.get("message") or "",
        container_id=entry.get("containerID") or "",
        signal=int(entry.get("signal") or 0),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
