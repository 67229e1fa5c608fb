"""The two worlds of the behaviour tests, each as a user starts it: processes, and a kubeconfig to talk to them.

- embedded: `bobrapet dev`, everything in one process.
- envtest: the real etcd, kube-apiserver and kube-controller-manager, with our manager and node as processes. The
  manager is its own ServiceAccount there and may do what manifests/rbac says: every behaviour proves these rights.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bobrapet.api.crds import crd_manifests
from bobrapet.runtime.envtest import Environment, install_crds
from bobrapet.runtime.envtest import Options as EnvironmentOptions
from tests.behaviour import rights
from tests.behaviour.builders import template
from tests.behaviour.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = ROOT / "tests/behaviour/components.py"
MODES = ("echo", "silent", "crash", "exits", "killed", "hang", "flaky", "counted", "big", "liar")
FAULTY = (
    "late",
    "told_then_hangs",
    "hangs_once",
    "hangs",
    "worsens",
    "recovers",
    "late_once",
    "lingers",
    "contradicts",
    "environment",
    "quiet",
)
"""Modes without an Engram in every namespace; tests that want one make it."""
WITH_SDK = ("charges", "signals", "signals_at_once", "shows")
SDK_COMPONENTS = ROOT / "tests/behaviour/sdk_components.py"
WIRE = ROOT / "tests/behaviour/wire"
WIRE_GO = ROOT / ".cache/tests/wire-go"
PAYLOAD_COMPONENTS = ROOT / "tests/behaviour/payload_components.py"
PAYLOAD_MODES = ("produce", "consume")
IMAGES = [
    *(f"--image=test/{mode}={sys.executable} {COMPONENTS} {mode}" for mode in (*MODES, *FAULTY)),
    *(f"--image=test/{mode}={sys.executable} {SDK_COMPONENTS} {mode}" for mode in WITH_SDK),
    f"--image=test/wire-python={sys.executable} {WIRE / 'wire.py'}",
    f"--image=test/wire-shell=/bin/sh {WIRE / 'wire.sh'}",
    f"--image=test/wire-go={WIRE_GO}",
    *(f"--image=test/{mode}={sys.executable} {PAYLOAD_COMPONENTS} {mode}" for mode in PAYLOAD_MODES),
    f"--image=example/shop={sys.executable} {ROOT / 'examples/order-approval/shop.py'}",
]
NODE = "bobrapet-local"
START_TIMEOUT = 180
STOP_TIMEOUT = 90
"""Seconds, for what takes a few on an idle machine."""
OPERATOR = rights.ACCOUNT
AUDIT_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: None, verbs: [get, list, watch]}
- {level: Metadata}
"""


@dataclass(frozen=True)
class World:
    """A running control plane with the operator and a node."""

    name: str
    cluster: Cluster
    folder: Path
    claims: Path
    """Where the node keeps the content of PersistentVolumeClaims."""
    audit: Path | None = None
    """Where the real API server notes every write; the operator is the user `OPERATOR` there."""
    restart_api_server: Callable[..., None] | None = None
    """Kills the API server and starts it again, some seconds later if asked; None where it is the whole world."""
    logs: tuple[Path, ...] = ()
    """What the processes of this world say."""

    def asks_webhooks(self) -> bool:
        """Whether the operator is asked before an object is stored."""
        path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
        return bool(self.cluster.call("GET", path)["items"])


def bobrapet(*arguments: str) -> list[str]:
    """The command line of our console script in the environment of the tests."""
    return [sys.executable, "-m", "bobrapet.cli", *arguments]


@contextmanager
def process(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that must not fail meanwhile, is asked to stop at the end, and has to do so in time."""
    with log.open("w") as stderr:
        child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT)
        try:
            yield child
        finally:
            if child.poll() not in (None, 0, -signal.SIGKILL):
                raise AssertionError(f"{arguments} ended with {child.returncode}: {log.read_text()[-2000:]}")
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                try:
                    child.wait(STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    child.kill()
                    said = f"{arguments} did not stop within {STOP_TIMEOUT} s of SIGTERM; its log: {log}"
                    raise AssertionError(said) from None
            if child.stdout is not None:
                child.stdout.close()


@contextmanager
def dev(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """`bobrapet dev` with `folder` as its data dir, ready; yields it and its kubeconfig."""
    command = bobrapet("dev", "--data-dir", str(folder), *arguments)
    with process(command, folder.with_suffix(".log")) as child:
        wait_for_line(child, "ready", folder.with_suffix(".log"))
        yield child, folder / "kubeconfig"


def wait_for_line(child: subprocess.Popen[str], word: str, log: Path) -> list[str]:
    """Reads standard output until a line is `word`; the lines before it are returned."""
    assert child.stdout is not None
    timer = threading.Timer(START_TIMEOUT, child.kill)
    timer.start()
    seen: list[str] = []
    try:
        for line in child.stdout:
            if line.strip() == word:
                return seen
            seen.append(line.rstrip("\n"))
    finally:
        timer.cancel()
    raise AssertionError(f"ended with {child.wait()} before it said {word!r}: {seen}\n{log.read_text()[-4000:]}")


@contextmanager
def embedded(folder: Path) -> Iterator[World]:
    with dev(folder / "data", *IMAGES) as (_, kubeconfig), Cluster(kubeconfig) as cluster:
        yield World("embedded", cluster, folder, folder / "data" / "claims", logs=(folder / "data.log",))


@contextmanager
def real_control_plane(folder: Path) -> Iterator[Environment]:
    """etcd, kube-apiserver and kube-controller-manager with our CRDs installed; writes are noted in `audit.log`."""
    policy = folder / "audit-policy.yaml"
    policy.write_text(AUDIT_POLICY)
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={folder / 'audit.log'}", "--audit-log-mode=blocking")
    with Environment(EnvironmentOptions(api_server_args=flags)) as environment:
        asyncio.run(install_crds(environment.config, crd_manifests()))
        yield environment


@contextmanager
def envtest(folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        environment = stack.enter_context(real_control_plane(folder))
        admin = environment.kubeconfig(folder / "kubeconfig")
        cluster = stack.enter_context(Cluster(admin))
        wait_for_the_garbage_collector(cluster)
        rights.grant(cluster)
        operator = rights.kubeconfig(cluster, environment, folder / "operator")
        stack.enter_context(
            process(
                bobrapet(
                    "manager",
                    "--kubeconfig",
                    str(operator),
                    "--health-probe-bind-address=0",
                    f"--storage-claims-path={folder / 'node' / 'claims'}",
                ),
                folder / "manager.log",
            )
        )
        node = bobrapet("node", "--kubeconfig", str(admin), "--data-dir", str(folder / "node"), *IMAGES)
        stack.enter_context(process(node, folder / "node.log"))
        wait_for_processes(cluster)
        yield World(
            "envtest",
            cluster,
            folder,
            folder / "node" / "claims",
            folder / "audit.log",
            environment.restart_api_server,
            (folder / "manager.log", folder / "node.log", *environment.logs()),
        )


def wait_for_the_garbage_collector(cluster: Cluster) -> None:
    """kube-controller-manager looks every 30 seconds for new kinds. Before, it cannot tell whether the owner of an
    object is there, and what it failed to judge it looks at again with pauses that grow to minutes."""
    wanted = {'resource="storyruns"', 'resource="stepruns"'}
    deadline = time.monotonic() + 180
    while wanted and time.monotonic() < deadline:
        for line in cluster.call("GET", "/metrics").splitlines():
            if line.startswith("apiserver_longrunning_requests{") and 'verb="WATCH"' in line:
                wanted -= {kind for kind in wanted if kind in line and float(line.rpartition(" ")[2]) > 0}
        time.sleep(0.5)
    assert not wanted, f"kube-controller-manager does not watch our kinds: {wanted}"


def wait_for_processes(cluster: Cluster) -> None:
    """On a busy machine a process may take half a minute to start: that shall be no test's time."""
    probe = template("probe")
    cluster.apply(probe)
    name = probe["metadata"]["name"]
    cluster.wait("EngramTemplate", "", name, lambda found: "validationStatus" in found.get("status", {}))
    cluster.delete("EngramTemplate", "", name)
    cluster.wait("Node", "", NODE, lambda node: bool(node.get("status", {}).get("conditions")))


def real_missing() -> str | None:
    """Why there is no real control plane here; None when there is one."""
    if os.environ.get("KUBEBUILDER_ASSETS"):
        return None
    return "KUBEBUILDER_ASSETS is not set: hack/envtest prints a folder for it"
