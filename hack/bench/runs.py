#!/usr/bin/env python3
"""Measures the operator on a real control plane: throughput, handoff, writes, CPU and memory.

    hack/bench/runs.py --bench DIR [SCENARIO ...]      (DIR: see `plane.py`; or BOBRAPET_BENCH)

Everything runs on this machine, so compare figures of one run only; CPU seconds move less with what else the machine
does than wall time. `floor.py` measures what the same writes cost without an operator.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plane import OPERATOR, ROOT, Plane, bench_option, control_plane, cpu, rss

from bobrapet.runtime.envtest import PortLease


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
    bench_option(parser)
    parser.add_argument("--runs", type=int, help="another number of runs")
    parser.add_argument(
        "--profile",
        type=Path,
        help="folder for two records of each scenario: the operator's (py-spy in PATH), 10 seconds of kube-apiserver's "
        "(for `go tool pprof`)",
    )
    parser.add_argument("--requests", action="store_true", help="count all requests, whoever makes them")
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="bobrapet-bench-") as folder:
        measure(options.bench.resolve(), Path(folder), ["warm-up", *(options.scenarios or DEFAULT)], options)
    return 0


def measure(bench: Path, folder: Path, scenarios: list[str], options: argparse.Namespace) -> None:
    with control_plane(bench, folder) as plane, manager(plane.operator, folder / "manager.log") as process:
        print(f"idle: RSS {rss(process.pid):.0f} MB")
        for name in scenarios:
            scenario = SCENARIOS[name]
            row = run(plane, process, name, scenario, options)
            if name != "warm-up":
                tell(name, scenario, row)
        print(f"\nin the end: RSS {rss(process.pid):.0f} MB (peak {rss(process.pid, 'VmHWM'):.0f})")


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


def run(plane: Plane, process: Manager, name: str, scenario: Scenario, options: argparse.Namespace) -> dict[str, Any]:
    """One scenario, with what it cost."""
    is_counted = name != "warm-up"
    runs = options.runs if options.runs and is_counted else scenario.runs
    command: list[Any] = [plane.node, "-story", scenario.story, "-runs", str(runs), "-delay", scenario.delay]
    command += ["-prefix", name]
    command += ["-inflight", str(scenario.inflight)] if scenario.inflight else []
    before, passes, asked = plane.writes(), process.passes(), plane.requests()
    spent = {**plane.spent(), OPERATOR: cpu(process.pid)}
    with ExitStack() as stack:
        if options.profile and is_counted:
            options.profile.mkdir(exist_ok=True)
            stack.enter_context(recorded(process.pid, options.profile / name))
            stack.enter_context(plane.profiled(options.profile / f"{name}.pprof", 10))
        row = play(command, plane)
        row["cpu"] |= {who: now - spent[who] for who, now in {**plane.spent(), OPERATOR: cpu(process.pid)}.items()}
        row["passes"] = process.passes() - passes
    time.sleep(2)  # Events are sent in the operator's own time
    row["writes"] = plane.writes() - before
    row["requests"] = plane.requests() - asked if options.requests else Counter()
    row["rss"] = rss(process.pid)
    return row


def play(command: list[Any], plane: Plane) -> dict[str, Any]:
    """What the node has to say, and the CPU seconds that it needed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environ = {**os.environ, "KUBECONFIG": str(plane.admin)}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    row: dict[str, Any] = json.loads(done.stdout)
    return {**row, "cpu": {"node": now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime}}


@contextmanager
def recorded(pid: int, file: Path) -> Iterator[None]:
    """Has py-spy write down where a Python process spends its time."""
    command = ["py-spy", "record", "-p", str(pid), "-f", "raw", "-r", "200", "-o", str(file)]
    profiler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        profiler.send_signal(signal.SIGINT)
        profiler.wait()


def tell(name: str, scenario: Scenario, row: dict[str, Any]) -> None:
    runs = row["runs"]
    handoff = f"{row['handoff_p50'] * 1000:.0f} / {row['handoff_p95'] * 1000:.0f} ms" if row["handoff_n"] else "-"
    print(f"\n{name}: {runs} {scenario.what} ({scenario.delay} each): {row['phases']}")
    print(f"  runs per second      {row['runs_per_s']:.1f}")
    print(f"  latency p50 / p95    {row['latency_p50'] * 1000:.0f} / {row['latency_p95'] * 1000:.0f} ms")
    print(f"  handoff p50 / p95    {handoff}")
    spent = ", ".join(f"{who} {seconds / runs * 1000:.1f}" for who, seconds in row["cpu"].items())
    spent += f"; together {sum(row['cpu'].values()) / runs * 1000:.1f}"
    print(f"  CPU ms per run       {spent}")
    print(f"  operator RSS         {row['rss']:.0f} MB")
    counted = ", ".join(f"{what} {number / runs:.2f}" for what, number in sorted(row["writes"].items()))
    passes = ", ".join(f"{who} {number / runs:.2f}" for who, number in sorted(row["passes"].items()))
    print(f"  reconciles per run   {passes}")
    print(f"  writes per run       {sum(row['writes'].values()) / runs:.2f}: {counted}", flush=True)
    if row["requests"]:
        asked = ", ".join(f"{what} {number / runs:.2f}" for what, number in row["requests"].most_common(40))
        print(f"  requests per run     {sum(row['requests'].values()) / runs:.2f}: {asked}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
