"""The answer of `pods/log`: finds the log that a request means and reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bobrapet.local.apiserver.errors import ApiError

from .errors import NodeError
from .logs import LogOptions, read_log
from .pod import PodWorker
from .volumes import PodFolder

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


class LogUnavailable(NodeError, ApiError):
    """There is no such log: to the API server a bad request (400), with the sentence that a cluster has for it."""

    def __init__(self, message: str) -> None:
        ApiError.__init__(self, 400, "BadRequest", message)


class PodLogs:
    """Logs of the pods of one node, running or ended, until the pod is deleted: a `LogSource` of the API server."""

    def __init__(
        self, folder: Path, find: Callable[[str, str], tuple[Mapping[str, Any], PodWorker | None] | None]
    ) -> None:
        self._folder = folder
        self._find = find

    async def open(
        self,
        namespace: str,
        pod: str,
        container: str | None = None,
        *,
        follow: bool = False,
        previous: bool = False,
        timestamps: bool = False,
        tail_lines: int | None = None,
        since: datetime | None = None,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        """Opens a log; `container` may be left out where the pod leaves no doubt. Raises LogUnavailable."""
        found = self._find(namespace, pod)
        if found is None:
            raise LogUnavailable(f'pod "{pod}" of namespace "{namespace}" is not on this node')
        obj, worker = found
        name = _container(obj, pod, container)
        folder = PodFolder(self._folder, namespace, pod, obj["metadata"]["uid"])
        last = folder.starts().get(name)
        number = None if last is None else last - 1 if previous else last
        if number is None or not folder.log(name, number).exists():
            if previous:
                raise LogUnavailable(f'previous terminated container "{name}" in pod "{pod}" not found')
            raise LogUnavailable(f'container "{name}" in pod "{pod}" is waiting to start: {_waiting_reason(obj, name)}')
        live = worker.live_log(name) if worker is not None and not previous else None
        options = LogOptions(
            follow=follow, tail_lines=tail_lines, since=since, timestamps=timestamps, limit_bytes=limit_bytes
        )
        return read_log(folder.log(name, number), options, live)

    def remove(self, namespace: str, pod: str, uid: str) -> None:
        """Removes what is left of a deleted pod."""
        PodFolder(self._folder, namespace, pod, uid).remove()


def _container(pod: Mapping[str, Any], pod_name: str, wanted: str | None) -> str:
    spec = pod["spec"]
    apps = [entry["name"] for entry in spec["containers"]]
    inits = [entry["name"] for entry in spec.get("initContainers") or ()]
    if wanted:
        if wanted not in (*apps, *inits):
            raise LogUnavailable(f"container {wanted} is not valid for pod {pod_name}")
        return wanted
    default = (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
    if default in apps:
        return str(default)
    if len(apps) == 1 and not inits:
        return str(apps[0])
    choices = f"[{' '.join(apps)}]"
    if inits:
        choices += f" or one of the init containers: [{' '.join(inits)}]"
    raise LogUnavailable(f"a container name must be specified for pod {pod_name}, choose one of: {choices}")


def _waiting_reason(pod: Mapping[str, Any], name: str) -> str:
    status = pod.get("status") or {}
    for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if entry["name"] == name:
            return str(((entry.get("state") or {}).get("waiting") or {}).get("reason") or "ContainerCreating")
    return "ContainerCreating"
