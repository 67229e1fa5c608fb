#!/usr/bin/env python3
"""Measures the operator on a real control plane: throughput, handoff, writes, CPU and memory.

    hack/bench/runs.py --bench DIR [SCENARIO ...]      (DIR may be given as BOBRAPET_BENCH)

DIR holds `bench.yaml` (the Stories `one` and `chain5` in the namespace `bench`) and `node/`, a Go program that plays
kubelet and component and prints one line of JSON; it is built once into a folder of ours. KUBEBUILDER_ASSETS names the
control plane (`hack/envtest` prints it). Everything runs on this machine, so compare figures of one run only; CPU
seconds of the operator move less with what else the machine does than wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)

import yaml  # noqa: E402
from tests.behaviour.cluster import Cluster  # noqa: E402
from tests.behaviour.worlds import OPERATOR, real_control_plane  # noqa: E402

from bobrapet.runtime.envtest import PortLease  # noqa: E402

NAMESPACE = "bench"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Scenario:
    """One call of the node."""

    story: str
    runs: int
    inflight: int | None
    delay: str
    what: str


SCENARIOS = {
    "warm-up": Scenario("one", 10, 1, "0s", "not counted"),
    "idle": Scenario("one", 20, 1, "50ms", "one-step runs, one at a time"),
    "handoff": Scenario("chain5", 20, 1, "50ms", "five-step runs, one at a time"),
    "at-once": Scenario("chain5", 200, 20, "0s", "five-step runs, components finish at once"),
    "loaded": Scenario("chain5", 60, None, "200ms", "five-step runs, all at once"),
    "throughput": Scenario("one", 1000, 100, "200ms", "one-step runs, 100 in flight"),
}
DEFAULT = ("idle", "handoff", "throughput", "at-once")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--bench", type=Path, default=os.environ.get("BOBRAPET_BENCH"), help="folder of the node")
    parser.add_argument("--runs", type=int, help="another number of runs")
    parser.add_argument("--profile", type=Path, help="folder for a py-spy record of each scenario (py-spy in PATH)")
    options = parser.parse_args()
    if options.bench is None:
        parser.error("--bench or BOBRAPET_BENCH must name the folder with bench.yaml and node/")
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    bench = Path(options.bench).resolve()
    with tempfile.TemporaryDirectory(prefix="bobrapet-bench-") as folder:
        measure(bench, Path(folder), ["warm-up", *(options.scenarios or DEFAULT)], options)
    return 0


def measure(bench: Path, folder: Path, scenarios: list[str], options: argparse.Namespace) -> None:
    node = folder / "node"
    subprocess.run(["go", "build", "-buildvcs=false", "-o", node, "."], cwd=bench / "node", check=True)
    with real_control_plane(folder) as environment:
        admin = environment.kubeconfig(folder / "kubeconfig")
        operator = environment.kubeconfig(folder / "operator", environment.add_user(OPERATOR, "system:masters"))
        with manager(operator, folder / "manager.log") as process, Cluster(admin) as cluster:
            cluster.apply(*yaml.safe_load_all((bench / "bench.yaml").read_text()))
            print(f"idle: RSS {rss(process.pid):.0f} MB")
            others = {
                "kube-apiserver": environment.api_server,
                "etcd": environment.etcd,
                "kube-controller-manager": environment.controller_manager,
            }
            pids = {name: program.pid for name, program in others.items() if program is not None}
            place = Place(node, admin, process, {"operator": process.pid, **pids}, folder / "audit.log")
            for name in scenarios:
                scenario = SCENARIOS[name]
                row = run(place, name, scenario, options)
                if name != "warm-up":
                    tell(name, scenario, row)
            peak = rss(process.pid, "VmHWM")
            print(f"\nin the end: RSS {rss(process.pid):.0f} MB (peak {peak:.0f})")


@dataclass(frozen=True)
class Manager:
    """The operator's process."""

    pid: int
    metrics: str
    """Where its metrics are read."""

    def passes(self) -> Counter[str]:
        """Reconciles so far, by controller."""
        counted: Counter[str] = Counter()
        with urllib.request.urlopen(self.metrics) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("controller_runtime_reconcile_total{"):
                    found = re.search(r'controller="([^"]*)"', line)
                    counted[found.group(1) if found else ""] += int(float(line.rpartition(" ")[2]))
        return counted


@dataclass(frozen=True)
class Place:
    """Everything that runs."""

    node: Path
    kubeconfig: Path
    manager: Manager
    pids: Mapping[str, int]
    audit: Path


@contextmanager
def manager(kubeconfig: Path, log: Path) -> Iterator[Manager]:
    """The operator as a cluster runs it, ready."""
    with PortLease() as ports:
        port = ports.take()
    metrics = f"http://127.0.0.1:{port}/metrics"
    command = [sys.executable, "-m", "bobrapet.manager", "--kubeconfig", kubeconfig, "--health-probe-bind-address=0"]
    command += [f"--metrics-bind-address=127.0.0.1:{port}", "--metrics-secure=false"]
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr, cwd=ROOT) as process:
        try:
            made = Manager(process.pid, metrics)
            for _ in range(100):
                try:
                    made.passes()
                    break
                except OSError:
                    time.sleep(0.1)
            yield made
        finally:
            process.send_signal(signal.SIGTERM)


def run(place: Place, name: str, scenario: Scenario, options: argparse.Namespace) -> dict[str, Any]:
    """One scenario, with what it cost."""
    is_counted = name != "warm-up"
    runs = options.runs if options.runs and is_counted else scenario.runs
    command: list[Any] = [place.node, "-story", scenario.story, "-runs", str(runs), "-delay", scenario.delay]
    command += ["-prefix", name]
    command += ["-inflight", str(scenario.inflight)] if scenario.inflight else []
    before, passes = writes(place.audit), place.manager.passes()
    spent = {who: cpu(pid) for who, pid in place.pids.items()}
    profiler = None
    if options.profile and is_counted:
        options.profile.mkdir(exist_ok=True)
        record = ["py-spy", "record", "-p", str(place.manager.pid), "-f", "raw", "-r", "200"]
        record += ["-o", str(options.profile / name)]
        profiler = subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    environ = {**os.environ, "KUBECONFIG": str(place.kubeconfig)}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout)
    row["cpu"] = {who: cpu(pid) - spent[who] for who, pid in place.pids.items()}
    row["passes"] = place.manager.passes() - passes
    if profiler is not None:
        profiler.send_signal(signal.SIGINT)
        profiler.wait()
    time.sleep(2)  # Events are sent in the operator's own time
    row["writes"] = writes(place.audit) - before
    row["rss"] = rss(place.manager.pid)
    return row


def tell(name: str, scenario: Scenario, row: dict[str, Any]) -> None:
    runs = row["runs"]
    handoff = f"{row['handoff_p50'] * 1000:.0f} / {row['handoff_p95'] * 1000:.0f} ms" if row["handoff_n"] else "-"
    print(f"\n{name}: {runs} {scenario.what} ({scenario.delay} each): {row['phases']}")
    print(f"  runs per second      {row['runs_per_s']:.1f}")
    print(f"  latency p50 / p95    {row['latency_p50'] * 1000:.0f} / {row['latency_p95'] * 1000:.0f} ms")
    print(f"  handoff p50 / p95    {handoff}")
    spent = ", ".join(f"{who} {seconds / runs * 1000:.1f}" for who, seconds in row["cpu"].items())
    print(f"  CPU ms per run       {spent}")
    print(f"  operator RSS         {row['rss']:.0f} MB")
    counted = ", ".join(f"{what} {number / runs:.2f}" for what, number in sorted(row["writes"].items()))
    passes = ", ".join(f"{who} {number / runs:.2f}" for who, number in sorted(row["passes"].items()))
    print(f"  reconciles per run   {passes}")
    print(f"  writes per run       {sum(row['writes'].values()) / runs:.2f}: {counted}", flush=True)


def writes(audit: Path) -> Counter[str]:
    """Writes of the operator so far, by verb and resource."""
    counted: Counter[str] = Counter()
    with audit.open() as lines:
        for line in lines:
            if OPERATOR not in line:
                continue
            entry = json.loads(line)
            target = entry.get("objectRef") or {}
            if entry["user"]["username"] == OPERATOR:
                resource = "/".join(filter(None, (target.get("resource"), target.get("subresource"))))
                counted[f"{entry['verb']} {resource}"] += 1
    return counted


def cpu(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def rss(pid: int, which: str = "VmRSS") -> float:
    """Resident memory, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


if __name__ == "__main__":
    sys.exit(main())
