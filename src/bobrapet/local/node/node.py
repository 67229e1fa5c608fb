"""The node: takes pods of an API server and runs their containers as local processes.

It plays scheduler and kubelet at once: a pod without a node is bound to this one, a pod bound to it is run. How it
differs from a kubelet, in short: containers see the machine's own files and network, and the pod's volumes mounted in
these where the machine permits that; limits of memory hold where it permits control groups; users, capabilities and the
like are those of the node unless it is told to be strict. The list: docs/process-runner.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import shutil
import sys
from collections import deque
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bobrapet import __version__
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.errors import Conflict, ControllerRuntimeError, NotFound
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig

from . import cgroups, credentials
from .api import LEASE_SECONDS, NodeApi
from .cgroups import ControlGroups
from .environment import Machine
from .images import ImageResolver
from .kubelet import Kubelet
from .logsource import PodLogs
from .pod import PodWorker
from .podwatch import PodWatch
from .processes import Launcher
from .reporting import EventRecorder
from .services import CRASH_BACKOFF, SETUP_BACKOFF, Backoff, Services
from .status import Verdict, timestamp

log = logging.getLogger(__name__)

Object = Mapping[str, Any]

INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
"""What a container takes over from the environment of the node: enough to find programs and the way out, no secrets."""

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
FINISHED = ("Succeeded", "Failed")
SHUTDOWN = Verdict("Failed", "Terminated", "Pod was terminated in response to imminent node shutdown.")


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """How a `Node` runs."""

    data_dir: Path
    """Where volumes and logs of pods are kept. A node that starts again with it knows what ran before."""

    name: str = "local"
    """The name of the Node object, and of `spec.nodeName`."""

    address: str = "127.0.0.1"
    """Of the node and of all its pods. Endpoints of Services need one that is no loopback address; one of this
    machine's."""

    images: ImageResolver = field(default_factory=ImageResolver)
    """What to execute for an image."""

    bind: bool = True
    """Takes pods that have no node, in order of arrival. False: a scheduler assigns them."""

    max_pods: int = 110
    """Pods at once, as a kubelet's default; further ones wait unbound."""

    strict: bool = False
    """Also holds containers to `readOnlyRootFilesystem`, limits of CPU, and where this process is root to users, groups
    and capabilities. False: they may do what this process may."""

    volume_refresh: float = 60.0
    """Seconds until running containers see a changed Secret or ConfigMap in a volume, at most."""

    log_port: int | None = None
    """Port of an HTTPS endpoint on loopback from which a kube-apiserver fetches logs; 0 takes a free one. None: none,
    as the embedded API server reads `Node.logs` directly. Everybody on this machine can read from it."""

    heartbeat: bool = True
    """Renews the node's Lease every 10 s; False only where nobody looks at it, as in the embedded control plane."""

    inherit: tuple[str, ...] = INHERITED
    """Names of environment variables that containers take over from this process."""

    working_directory: str | None = None
    """Where containers without `workingDir` start. None: where this process does."""

    shutdown_grace: float = 5.0
    """Seconds that running containers get between SIGTERM and SIGKILL when the node stops."""

    crash_backoff: Backoff = CRASH_BACKOFF
    setup_backoff: Backoff = SETUP_BACKOFF
    clock: Clock = REAL_CLOCK


class Node:
    """Runs the pods of one API server on this machine.

    `await node.start()` returns at once and pods are taken from then on; `await node.stop()` ends every container.
    The log source of `pods/log` is `node.logs`.
    """

    def __init__(self, config: RestConfig, options: NodeOptions) -> None:
        self.options = options
        self._clock = options.clock
        self._config = config
        self._client = RestClient(config)
        self._api = NodeApi(self._client)
        self._groups = ControlGroups({})
        self._launcher = Launcher()
        self._events = EventRecorder(self._api, options.name, options.clock)
        self._machine = Machine(options.name, str(os.cpu_count() or 1), str(_memory_bytes()), options.address)
        self._pods: dict[str, _Pod] = {}
        self._unbound: deque[str] = deque()
        self._taken = 0
        self._folder = options.data_dir / "pods"
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._services: Services | None = None
        self._stopping = False
        self.logs = PodLogs(self._folder, self._worker_of)
        self._kubelet = Kubelet(self.logs, options.address) if options.log_port is not None else None

    # -- life

    async def start(self) -> None:
        """Starts taking pods. When it cannot, it leaves nothing behind."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)  # below it are Secrets
        self._groups = ControlGroups(cgroups.find())
        self._launcher = Launcher(groups=self._groups.folders)  # which takes them away should this process be killed
        try:
            await self._begin()
        except BaseException:
            await self._launcher.aclose()
            self._groups.close()
            raise

    async def _begin(self) -> None:
        options = self.options
        self._services = Services(
            api=self._api,
            config=self._config,
            launcher=self._launcher,
            images=options.images,
            events=self._events,
            clock=options.clock,
            machine=self._machine,
            folder=self._folder,
            ca=credentials.authority(self._config),
            environment={name: os.environ[name] for name in options.inherit if name in os.environ},
            working_directory=options.working_directory or os.getcwd(),
            visible=tuple({*_python(), *_resolved(self._folder, Path(options.working_directory or os.getcwd()))}),
            python=_python(),
            groups=self._groups,
            strict=options.strict,
            volume_refresh=options.volume_refresh,
            crash_backoff=options.crash_backoff,
            setup_backoff=options.setup_backoff,
        )
        await self._launcher.start()
        if self._kubelet is not None and options.log_port is not None:
            await self._kubelet.start(options.log_port)
        watch = PodWatch(self._client, self, options.clock)
        self._background = {asyncio.create_task(watch.run()), asyncio.create_task(self._stay_registered())}

    async def stop(self) -> None:
        """Ends every container, reports their ends, and leaves no process behind."""
        self._stopping = True
        await _cancel(self._background)
        for pod in self._pods.values():
            if pod.worker is not None:
                pod.worker.stop(self.options.shutdown_grace, SHUTDOWN)
        if self._tasks:
            # SIGKILL comes after the grace period; a second more is for the last status, which may find no server.
            await asyncio.wait(self._tasks, timeout=self.options.shutdown_grace + 1.0)
        await _cancel(self._tasks)
        if self._kubelet is not None:
            await self._kubelet.close()
        await self._events.aclose()
        await self._launcher.aclose()
        self._groups.close()
        await self._client.close()

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- what the watch tells

    def pod_changed(self, pod: Object) -> None:
        """A pod is new or different."""
        meta, spec = pod["metadata"], pod["spec"]
        node = spec.get("nodeName") or ""
        if node not in ("", self.options.name):
            return
        known = self._pods.get(meta["uid"])
        if known is None:
            known = self._pods[meta["uid"]] = _Pod(pod)
            self._spawn(self._welcome(known))
            return
        known.object = pod
        if known.worker is not None:
            known.worker.update(pod)
        elif meta.get("deletionTimestamp") and known.ended:
            self._spawn(self._release(known))

    def pod_deleted(self, pod: Object) -> None:
        """A pod is gone."""
        known = self._pods.get(pod["metadata"]["uid"])
        if known is None:
            return
        known.gone = True
        if known.worker is not None:
            known.worker.removed()
        else:
            self._forget(known)

    def pods_known(self) -> None:
        """Folders of pods that no longer exist are left from an earlier process of this node."""
        uids = set(self._pods)
        for folder in self._folder.iterdir():
            if folder.name.rpartition("_")[2] not in uids:
                shutil.rmtree(folder, ignore_errors=True)

    # -- one pod

    async def _welcome(self, pod: _Pod) -> None:
        meta, spec = pod.object["metadata"], pod.object["spec"]
        if (pod.object.get("status") or {}).get("phase") in FINISHED:
            pod.ended = True
            if meta.get("deletionTimestamp"):
                await self._release(pod)
            return
        if not spec.get("nodeName"):
            if not self.options.bind or spec.get("schedulingGates") or meta.get("deletionTimestamp"):
                # Not ours to start; should a scheduler bind it here, the watch brings it again.
                self._pods.pop(meta["uid"], None)
                return
            if self._taken >= self.options.max_pods:
                self._unbound.append(meta["uid"])
                return
            self._taken += 1
            if not await self._bind(pod):
                self._leave_slot()
                self._pods.pop(meta["uid"], None)
                return
        else:
            self._taken += 1
        try:
            await self._work(pod)
        finally:
            self._leave_slot()

    async def _bind(self, pod: _Pod) -> bool:
        """Assigns the pod to this node; False when it is gone or somebody else was first."""
        delay = 0.05
        while not pod.gone:
            try:
                await self._api.bind(pod.object, self.options.name)
                return True
            except (NotFound, Conflict):
                # Conflict also answers a repeated request whose first answer was lost; then the watch brings the pod.
                return (pod.object["spec"].get("nodeName") or "") == self.options.name
            except ControllerRuntimeError as error:
                log.warning("pod %s cannot be bound yet: %s", pod.name, error)
                await self._clock.sleep(delay)
                delay = min(delay * 2, 5.0)
        return False

    async def _work(self, pod: _Pod) -> None:
        assert self._services is not None
        if pod.gone or self._stopping:
            return
        worker = pod.worker = PodWorker(pod.object, self._services)
        if pod.object["metadata"].get("deletionTimestamp"):
            worker.update(pod.object)
        try:
            await worker.run()
        finally:
            pod.worker = None
            pod.ended = True
        if self._is_gone(pod):
            self._forget(pod)
        elif pod.object["metadata"].get("deletionTimestamp"):
            await self._release(pod)

    async def _release(self, pod: _Pod) -> None:
        """Tells the API server that nothing of a deleted pod runs any more; once, finalizers may keep it for long."""
        if pod.released:
            return
        pod.released = True
        delay = 0.1
        while not pod.gone:
            try:
                await self._api.delete_now(pod.object)
                return
            except (NotFound, Conflict):
                return
            except ControllerRuntimeError as error:
                log.warning("pod %s cannot be removed yet: %s", pod.name, error)
                await self._clock.sleep(delay)
                delay = min(delay * 2, 5.0)

    def _is_gone(self, pod: _Pod) -> bool:
        return pod.gone

    def _leave_slot(self) -> None:
        self._taken -= 1
        while self._unbound and self._taken < self.options.max_pods and not self._stopping:
            pod = self._pods.get(self._unbound.popleft())
            if pod is not None and not pod.gone:
                self._spawn(self._welcome(pod))
                return

    def _forget(self, pod: _Pod) -> None:
        meta = pod.object["metadata"]
        self._pods.pop(meta["uid"], None)
        self._events.forget(meta["uid"])
        self.logs.remove(meta["namespace"], meta["name"], meta["uid"])

    def _worker_of(self, namespace: str, name: str) -> tuple[Object, PodWorker | None] | None:
        for pod in self._pods.values():
            meta = pod.object["metadata"]
            if meta["name"] == name and meta["namespace"] == namespace and not pod.gone:
                return pod.object, pod.worker
        return None

    # -- the Node object

    async def _stay_registered(self) -> None:
        """Keeps the Node object, without which controllers throw its pods away, and its Lease."""
        node: Object | None = None
        while True:
            try:
                if node is None:
                    node = await self._api.register(self._node_object())
                if not self.options.heartbeat:
                    return
                await self._api.renew_lease(node, self._clock.now())
            except NotFound:
                node = None  # removed by somebody: it comes back with the next round
            except ControllerRuntimeError as error:
                log.info("node %s cannot be registered yet: %s", self.options.name, error)
            await self._clock.sleep(LEASE_SECONDS / 4)

    def _node_object(self) -> Object:
        machine, now = self._machine, timestamp(self._clock.now())
        capacity = {"cpu": machine.cpu, "memory": machine.memory, "pods": str(self.options.max_pods)}
        labels = {
            "kubernetes.io/hostname": machine.name,
            "kubernetes.io/os": platform.system().lower(),
            "kubernetes.io/arch": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "type": "bobrapet-node",
        }
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "NodeReady",
            "message": "bobrapet node runs pods as processes",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": machine.name, "labels": labels},
            "status": {
                "capacity": capacity,
                "allocatable": capacity,
                "conditions": [ready],
                # No Hostname: an API server would try that first, and the name of the node is none.
                "addresses": [{"type": "InternalIP", "address": machine.ip}],
                "nodeInfo": _node_info(),
                **({"daemonEndpoints": {"kubeletEndpoint": {"Port": self._kubelet.port}}} if self._kubelet else {}),
            },
        }

    # -- tasks

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._stopping:
            work.close()
            return
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("the node met a fault of its own", exc_info=task.exception())


@dataclass(eq=False)
class _Pod:
    """A pod as the node knows it."""

    object: Object
    worker: PodWorker | None = None
    gone: bool = False
    ended: bool = False
    released: bool = False

    @property
    def name(self) -> str:
        meta = self.object["metadata"]
        return f"{meta['namespace']}/{meta['name']}"


async def run(config: RestConfig, options: NodeOptions) -> None:
    """Runs a node until cancelled: the body of `bobrapet node`."""
    async with Node(config, options):
        await asyncio.Event().wait()


def _python() -> tuple[Path, ...]:
    """The Python that the node runs with, through which components are found."""
    return _resolved(Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).parent, Path(__file__).parent)


def _resolved(*folders: Path) -> tuple[Path, ...]:
    return tuple({folder.resolve() for folder in folders})


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tuple(tasks):
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _node_info() -> Object:
    return {
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
        "kernelVersion": platform.release(),
        "osImage": platform.system(),
        "containerRuntimeVersion": f"bobrapet://{__version__}",
        "kubeletVersion": f"v{__version__}-bobrapet",
        "kubeProxyVersion": "",
        "operatingSystem": platform.system().lower(),
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
    }


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
