"""A control plane that is killed in the middle of a run goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import yaml

from tests.behaviour.builders import engram, step, story, storyrun, template
from tests.behaviour.cluster import Cluster
from tests.behaviour.worlds import IMAGES, bobrapet, dev


def test_a_killed_dev_finishes_its_run_after_a_restart_and_repeats_no_recorded_success(tmp_path: Path) -> None:
    data, calls = tmp_path / "data", tmp_path / "calls"
    slow = {"calls": str(calls), "seconds": 2}
    retry = {"retry": {"maxRetries": 3, "delay": "50ms"}}
    with dev(data, *IMAGES) as (process, kubeconfig), Cluster(kubeconfig) as cluster:
        cluster.apply(
            template("counted"),
            engram("counted", "default"),
            story(
                "s",
                "default",
                step("a", "counted", with_={"calls": str(calls)}, execution=retry),
                step("b", "counted", "a", with_=slow, execution=retry),
                step("c", "counted", "b", with_={"calls": str(calls)}, execution=retry),
            ),
            storyrun("r", "default", "s"),
        )
        cluster.wait("StepRun", "default", "r-b", lambda s: s.get("status", {}).get("phase") == "Running")
        before = yaml.safe_load(kubeconfig.read_text())
        process.send_signal(signal.SIGKILL)
        process.wait()

    with dev(data, *IMAGES) as (_, kubeconfig), Cluster(kubeconfig) as cluster:
        after = yaml.safe_load(kubeconfig.read_text())
        assert after == before, "port, authority and keys survive"
        run = cluster.wait_run("default", "r", timeout=60)
    assert run["status"]["phase"] == "Succeeded", run["status"]
    ran = calls.read_text().split()
    assert ran.count("r-a") == 1
    assert ran.count("r-c") == 1


def test_a_port_that_was_taken_meanwhile_ends_the_start_with_2(tmp_path: Path) -> None:
    with dev(tmp_path / "one") as (_, kubeconfig):
        server = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        listen = server.removeprefix("https://")
        done = subprocess.run(
            bobrapet("dev", "--data-dir", str(tmp_path / "two"), "--listen", listen),
            capture_output=True,
            text=True,
            timeout=90,
            env=os.environ,
        )
    assert done.returncode == 2
    assert "taken" in done.stderr


def test_two_servers_do_not_share_a_data_dir(tmp_path: Path) -> None:
    with dev(tmp_path / "one"):
        done = subprocess.run(
            bobrapet("dev", "--data-dir", str(tmp_path / "one")), capture_output=True, text=True, timeout=90
        )
    assert done.returncode == 2
    assert "in use" in done.stderr
