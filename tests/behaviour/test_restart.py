"""A control plane that is killed in the middle of a run goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import yaml

from bobrapet.runtime.envtest import PortLease
from tests.behaviour.builders import engram, step, story, storyrun, template
from tests.behaviour.cluster import Cluster, eventually
from tests.behaviour.worlds import IMAGES, bobrapet, dev


def test_a_killed_dev_finishes_its_run_after_a_restart_and_repeats_no_recorded_success(tmp_path: Path) -> None:
    data, calls, begun = tmp_path / "data", tmp_path / "calls", tmp_path / "begun"
    retry = {"retry": {"maxRetries": 3, "delay": "50ms"}}
    hanging = template("hangs_once")
    hanging["metadata"]["name"] = "test-hangs-once"
    with PortLease() as ports:
        listen = f"--listen=127.0.0.1:{ports.take()}"  # nobody takes it while nobody listens on it
        with dev(data, listen, *IMAGES) as (process, kubeconfig), Cluster(kubeconfig) as cluster:
            cluster.apply(
                template("counted"),
                engram("counted", "default"),
                hanging,
                engram("hangs-once", "default"),
                story(
                    "s",
                    "default",
                    step("a", "counted", with_={"calls": str(calls)}, execution=retry),
                    step("b", "hangs-once", "a", with_={"calls": str(begun)}, execution=retry),
                    step("c", "counted", "b", with_={"calls": str(calls)}, execution=retry),
                ),
                storyrun("r", "default", "s"),
            )
            eventually(lambda: begun.exists() and begun.read_text(), "the second step begins")
            assert cluster.get("StepRun", "default", "r-b")["status"]["phase"] == "Running"
            before = yaml.safe_load(kubeconfig.read_text())
            process.send_signal(signal.SIGKILL)
            process.wait()

        with dev(data, *IMAGES) as (_, kubeconfig), Cluster(kubeconfig) as cluster:
            after = yaml.safe_load(kubeconfig.read_text())
            assert after == before, "port, authority and keys survive"
            run = cluster.wait_run("default", "r")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert calls.read_text().split() == ["r-a", "r-c"]


def test_a_port_that_was_taken_meanwhile_ends_the_start_with_2(tmp_path: Path) -> None:
    with dev(tmp_path / "one") as (_, kubeconfig):
        server = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        listen = server.removeprefix("https://")
        done = subprocess.run(
            bobrapet("dev", "--data-dir", str(tmp_path / "two"), "--listen", listen),
            capture_output=True,
            text=True,
            timeout=180,
            env=os.environ,
        )
    assert done.returncode == 2
    assert "taken" in done.stderr


def test_two_servers_do_not_share_a_data_dir(tmp_path: Path) -> None:
    with dev(tmp_path / "one"):
        done = subprocess.run(
            bobrapet("dev", "--data-dir", str(tmp_path / "one")), capture_output=True, text=True, timeout=180
        )
    assert done.returncode == 2
    assert "in use" in done.stderr
