"""The control plane of the benchmarks: the programs that ran for the Go operator's figures, what they cost, who asked.

`--bench DIR` of the scripts names a folder with `controlplane`, which starts etcd, kube-apiserver and
kube-controller-manager with the flags of those figures, `bench.yaml` (the Stories `one` and `chain5` in the namespace
`bench`) and `node/`, a Go program that plays kubelet and component. KUBEBUILDER_ASSETS names the programs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import urllib3  # noqa: E402
import yaml  # noqa: E402
from tests.behaviour.cluster import Cluster  # noqa: E402
from tests.behaviour.worlds import wait_for_the_garbage_collector  # noqa: E402

from bobrapet.api.crds import crd_manifests  # noqa: E402
from bobrapet.runtime.client.config import load_kubeconfig  # noqa: E402
from bobrapet.runtime.envtest import install_crds  # noqa: E402

OPERATOR = "operator"
"""The user of `op.kubeconfig`, in the audit log."""

PROGRAMS = {"kube-apiserver": "apiserver", "kube-controller-manager": "kcm", "etcd": "etcd"}
"""What `controlplane` starts, and how it names the file with the pid."""

START_TIMEOUT = 90
urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the certificate is made for this run
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Plane:
    """A control plane that runs, with our kinds and the Stories of the benchmarks."""

    folder: Path
    node: Path
    """The program that plays kubelet and component."""
    pids: Mapping[str, int]
    cluster: Cluster

    @property
    def admin(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def operator(self) -> Path:
        """The kubeconfig for whoever plays the operator: an administrator with a name of its own."""
        return self.folder / "op.kubeconfig"

    def requests(self) -> Counter[str]:
        """Requests that the API server has answered so far, of everybody, by verb and resource; watches left out."""
        counted: Counter[str] = Counter()
        for line in self.cluster.call("GET", "/metrics").splitlines():
            if line.startswith("apiserver_request_total{"):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
                if labels["verb"] not in ("WATCH", "CONNECT"):
                    target = "/".join(filter(None, (labels["resource"], labels["subresource"])))
                    counted[f"{labels['verb'].lower()} {target}"] += int(float(line.rpartition(" ")[2]))
        return counted

    def writes(self, user: str = OPERATOR) -> Counter[str]:
        """Writes of a user so far, by verb and resource."""
        counted: Counter[str] = Counter()
        with (self.folder / "audit.log").open() as lines:
            for line in lines:
                if user not in line:
                    continue
                entry = json.loads(line)
                target = entry.get("objectRef") or {}
                if entry["user"]["username"] == user:
                    resource = "/".join(filter(None, (target.get("resource"), target.get("subresource"))))
                    counted[f"{entry['verb']} {resource}"] += 1
        return counted

    def spent(self) -> dict[str, float]:
        """CPU seconds that each program has used."""
        return {name: cpu(pid) for name, pid in self.pids.items()}

    @contextmanager
    def profiled(self, file: Path, seconds: int) -> Iterator[None]:
        """Records where the API server spends its time, for `go tool pprof`, from now on for `seconds`."""

        def record() -> None:
            command = ["kubectl", "--kubeconfig", str(self.admin), "get", "--raw"]
            with file.open("wb") as output:
                subprocess.run([*command, f"/debug/pprof/profile?seconds={seconds}"], stdout=output, check=True)

        recording = threading.Thread(target=record)
        recording.start()
        try:
            yield
        finally:
            recording.join()


@contextmanager
def control_plane(bench: Path, folder: Path) -> Iterator[Plane]:
    """Starts everything in `folder`, which must exist, and ends it: on SIGTERM too, since its programs are orphans."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    node = folder / "node"
    subprocess.run(["go", "build", "-buildvcs=false", "-o", node, "."], cwd=bench / "node", check=True)
    audit = folder / "audit.log"
    port = row_of_ports()
    environ = {**os.environ, "AUDIT": str(audit)}
    pids: dict[str, int] = {}
    try:
        with (folder / "controlplane.log").open("w") as log:
            command: list[str | Path] = [bench / "controlplane", folder, str(port)]
            subprocess.run(command, env=environ, stdout=log, stderr=log, check=True, timeout=START_TIMEOUT)
        pids = {name: int((folder / f"{file}.pid").read_text()) for name, file in PROGRAMS.items()}
        asyncio.run(install_crds(load_kubeconfig(str(folder / "kubeconfig")), crd_manifests()))
        with Cluster(folder / "kubeconfig") as cluster:
            cluster.apply(*yaml.safe_load_all((bench / "bench.yaml").read_text()))
            plane = Plane(folder, node, pids, cluster)
            wait_for_the_garbage_collector(plane.cluster)  # a cluster in use has known our kinds for long
            yield plane
    finally:
        for file in PROGRAMS.values():
            with suppress(OSError, ValueError):
                end(int((folder / f"{file}.pid").read_text()))


def row_of_ports() -> int:
    """The first of four free ports in a row, below those that the system hands out to clients."""
    for _ in range(100):
        first = random.randrange(20_000, 30_000)
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + 4):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise OSError("no four free ports in a row")


def end(pid: int) -> None:
    """Ends a process that is no child of ours, gently at first."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


def bench_option(parser: argparse.ArgumentParser) -> None:
    given = os.environ.get("BOBRAPET_BENCH")
    parser.add_argument(
        "--bench", type=Path, default=given, required=not given, help="folder of controlplane, bench.yaml and node/"
    )


def cpu(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def rss(pid: int, which: str = "VmRSS") -> float:
    """Resident memory, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024
