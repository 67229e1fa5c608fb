#!/usr/bin/env python3
"""Measures what finished runs cost the operator for as long as they are kept: memory, and CPU when it starts.

    hack/bench/kept.py [RUNS ...]        (default: 0 100 1000 3000)

An embedded API server holds RUNS finished StoryRuns of three steps each, with outputs of 1 KB. The operator is started
beside it as a process and read from /proc once it has looked at all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from bobrapet.api import KINDS, Engram, EngramTemplate, StepRun, Story, StoryRun
from bobrapet.api.crds import crd_manifests
from bobrapet.local.apiserver import ApiServer, Options
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.envtest import PortLease
from bobrapet.runtime.envtest.crd import install_crds
from bobrapet.runtime.envtest.kubeconfig import write_kubeconfig
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.scheme import Scheme

STEPS = ("fetch", "transform", "store")
OUTPUT = {"text": "x" * 1000}
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=int, default=[0, 100, 1000, 3000])
    print(f"{'runs kept':>10} {'StepRuns':>9} {'memory, MB':>11} {'CPU until looked at, s':>23}")
    for number in parser.parse_args().runs:
        with tempfile.TemporaryDirectory() as folder, PortLease() as ports:
            megabytes, seconds = asyncio.run(measure(number, Path(folder), ports.take()))
        print(f"{number:>10} {number * len(STEPS):>9} {megabytes:>11.0f} {seconds:>23.1f}", flush=True)


async def measure(runs: int, folder: Path, port: int) -> tuple[float, float]:
    server = ApiServer(Options())
    await server.start()
    config = RestConfig(host=server.url, ca_data=server.ca_pem.encode(), token=server.admin_token)
    await install_crds(config, crd_manifests())
    write_kubeconfig(folder / "kubeconfig", config)
    scheme = Scheme()
    scheme.add_known_types(*KINDS)
    async with ApiClient(RestClient(config), scheme) as client:
        await client.create(Unstructured.of("v1", "Namespace")({"metadata": {"name": "bench"}}))
        await define(client)
        for begin in range(0, runs, 50):
            await asyncio.gather(*(finished(client, f"r{number}") for number in range(begin, min(begin + 50, runs))))
        command = [sys.executable, "-m", "bobrapet.manager", f"--kubeconfig={folder / 'kubeconfig'}"]
        command += [f"--health-probe-bind-address=127.0.0.1:{port}", "--zap-log-level=error"]
        process = await asyncio.to_thread(subprocess.Popen, command)
        try:
            return await asyncio.to_thread(settled, process.pid, port)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)
            await server.stop()


async def define(client: ApiClient) -> None:
    meta = {"name": "bench", "namespace": "bench"}
    template = {"version": "1", "image": "example/bench:1", "supportedModes": ["job"]}
    await client.create(EngramTemplate.model_validate({"metadata": {"name": "bench"}, "spec": template}))
    engram = {"mode": "job", "templateRef": {"name": "bench"}}
    await client.create(Engram.model_validate({"metadata": meta, "spec": engram}))
    steps = [{"name": name, "ref": {"name": "bench"}} for name in STEPS]
    await client.create(Story.model_validate({"metadata": meta, "spec": {"pattern": "batch", "steps": steps}}))


async def finished(client: ApiClient, name: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"phase": "Succeeded", "startedAt": now, "finishedAt": now}
    labels = {"bubustack.io/storyrun": name, "bubustack.io/story-name": "bench"}
    spec = {"storyRef": {"name": "bench"}, "inputs": OUTPUT}
    run = await client.create(
        StoryRun.model_validate({"metadata": {"name": name, "namespace": "bench", "labels": labels}, "spec": spec})
    )
    owner = {
        "apiVersion": StoryRun.API_VERSION,
        "kind": "StoryRun",
        "name": name,
        "uid": run.metadata.uid,
        "controller": True,
    }
    for step in STEPS:
        meta = {"name": f"{name}-{step}", "namespace": "bench", "labels": labels, "ownerReferences": [owner]}
        spec = {"storyRunRef": {"name": name}, "stepId": step, "engramRef": {"name": "bench"}, "input": OUTPUT}
        made = await client.create(StepRun.model_validate({"metadata": meta, "spec": spec}))
        await client.status().update(made.model_validate({**made.to_wire(), "status": {**ended, "output": OUTPUT}}))
    states = dict.fromkeys(STEPS, ended)
    await client.status().update(
        run.model_validate({**run.to_wire(), "status": {**ended, "stepStates": states, "output": OUTPUT}})
    )


def settled(pid: int, port: int) -> tuple[float, float]:
    """Memory and CPU once the operator is ready and has stopped working."""
    while not is_ready(port):
        time.sleep(0.1)
    before, quiet = cpu(pid), 0
    while quiet < 5:
        time.sleep(1)
        now = cpu(pid)
        quiet, before = (quiet + 1 if now - before < 0.1 else 0), now
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1e3, before
    raise AssertionError(json.dumps({"pid": pid}))


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
