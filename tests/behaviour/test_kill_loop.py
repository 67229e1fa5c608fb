"""A control plane, or an operator, that is killed again and again loses nothing. Takes minutes: `make soak`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.behaviour.builders import engram, step, story, storyrun, template
from tests.behaviour.cluster import TERMINAL, Cluster
from tests.behaviour.worlds import IMAGES, bobrapet, dev, process, real_control_plane, real_missing

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


STORIES = int(os.environ.get("BOBRAPET_STORIES", "200"))


@pytest.mark.soak
@pytest.mark.timeout(3500)
def test_two_hundred_runs_end_right_while_the_operator_is_killed_every_second_on_a_real_control_plane(
    tmp_path: Path,
) -> None:
    if why := real_missing():
        pytest.skip(why)
    calls = tmp_path / "calls"
    steps = [step("a", "counted", with_={"calls": str(calls)}), step("b", "counted", "a", with_={"calls": str(calls)})]
    with ExitStack() as stack:
        environment = stack.enter_context(real_control_plane(tmp_path))
        kubeconfig = environment.kubeconfig(tmp_path / "kubeconfig")
        cluster = stack.enter_context(Cluster(kubeconfig))
        node = bobrapet("node", "--kubeconfig", str(kubeconfig), "--data-dir", str(tmp_path / "node"), *IMAGES)
        stack.enter_context(process(node, tmp_path / "node.log"))
        cluster.apply(template("counted"), engram("counted", "default"))
        cluster.apply(*(story(f"s{number}", "default", *steps) for number in range(STORIES)))
        cluster.apply(*(storyrun(f"r{number}", "default", f"s{number}") for number in range(STORIES)))
        kills, deadline = 0, time.monotonic() + 3000
        while not (phases := _phases(cluster)).keys() <= TERMINAL:
            assert time.monotonic() < deadline, f"runs go on after {kills} kills: {phases}"
            _work_for_a_second(kubeconfig, tmp_path / "manager.log")
            kills += 1
    assert phases == {"Succeeded": STORIES}
    assert kills > 5
    ran = Counter(calls.read_text().split())
    assert ran == dict.fromkeys((f"r{number}-{name}" for number in range(STORIES) for name in "ab"), 1)


def _phases(cluster: Cluster) -> Counter[str]:
    """How many runs are in which phase; those that nobody looked at yet are in none."""
    return Counter(run.get("status", {}).get("phase", "") for run in cluster.list("StoryRun", "default"))


def _work_for_a_second(kubeconfig: Path, log: Path) -> None:
    """Starts an operator, and kills it a second after its controllers began to work."""
    command = bobrapet("manager", "--kubeconfig", str(kubeconfig), "--health-probe-bind-address=0")
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr) as operator:
        try:
            while "Starting workers" not in log.read_text():
                assert operator.poll() is None, log.read_text()
                time.sleep(0.02)
            with pytest.raises(subprocess.TimeoutExpired):
                operator.wait(1)
        finally:
            operator.kill()
