"""A control plane that is killed again and again loses nothing. Takes minutes: `make soak`."""

from __future__ import annotations

import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.behaviour.builders import engram, step, story, storyrun, template
from tests.behaviour.cluster import TERMINAL, Cluster
from tests.behaviour.worlds import IMAGES, dev

RUNS = 20
KILLS = 15


@pytest.mark.soak
def test_runs_end_right_under_a_control_plane_that_is_killed_every_few_seconds(tmp_path: Path) -> None:
    data, calls = tmp_path / "data", tmp_path / "calls"
    chance = random.Random(1)
    retry = {"retry": {"maxRetries": 10, "delay": "20ms", "backoff": "constant"}}
    names = "abcde"
    steps = [
        step(name, "counted", *names[max(0, at - 1) : at], with_={"calls": str(calls)}, execution=retry)
        for at, name in enumerate(names)
    ]
    recorded: dict[str, int] = {}
    for kill in range(KILLS + 1):
        with dev(data, *IMAGES) as (process, kubeconfig), Cluster(kubeconfig) as cluster:
            if kill == 0:
                cluster.apply(template("counted"), engram("counted", "default"), story("s", "default", *steps))
                cluster.apply(*(storyrun(f"r{number}", "default", "s") for number in range(RUNS)))
            if kill == KILLS:
                for number in range(RUNS):
                    run = cluster.wait_run("default", f"r{number}", timeout=300)
                    assert run["status"]["phase"] == "Succeeded", run["status"]
                break
            try:
                process.wait(chance.uniform(0.5, 4))
            except subprocess.TimeoutExpired:
                listed = cluster.list("StepRun", "default")
                ran = Counter(calls.read_text().split()) if calls.exists() else Counter()
                for done in listed:
                    if done.get("status", {}).get("phase") in TERMINAL:
                        recorded.setdefault(done["metadata"]["name"], ran[done["metadata"]["name"]])
                process.send_signal(signal.SIGKILL)
                process.wait()
    ran = Counter(calls.read_text().split())
    assert {name: ran[name] for name in recorded} == recorded, "a step ran again after its end was recorded"
    assert len(ran) == RUNS * len(names)
