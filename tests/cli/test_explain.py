"""`bobrapet explain` as a user calls it, on a data dir whose server was killed, and on one that is served."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.behaviour.builders import story, storyrun
from tests.behaviour.cluster import Cluster, Object
from tests.behaviour.worlds import IMAGES, dev
from tests.cli.conftest import Terminal


def at_the_gate(run: Object) -> bool:
    return bool(run.get("status", {}).get("stepStates", {}).get("approve", {}).get("phase") == "Paused")


def test_a_run_is_explained_while_it_is_served_and_after_its_server_was_killed(
    terminal: Terminal, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    gate = {"name": "approve", "type": "gate", "with": {"timeout": "1h"}}
    with dev(data, *IMAGES) as (process, kubeconfig), Cluster(kubeconfig) as cluster:
        cluster.apply(story("s", "default", gate), storyrun("r", "default", "s"))
        cluster.wait("StoryRun", "default", "r", at_the_gate)
        served = terminal.run("explain", "r", "--data-dir", str(data), "-o", "json")
        by_kubeconfig = terminal.run("explain", "r", "--kubeconfig", str(kubeconfig))
        process.send_signal(signal.SIGKILL)
        process.wait()
    (step,) = served.output["steps"]
    assert (served.code, step["name"], step["reason"]) == (0, "approve", "AwaitsDecision")
    assert [wake["what"] for wake in served.output["next"]] == ["step approve times out"]
    assert (by_kubeconfig.code, by_kubeconfig.stderr) == (0, "")
    assert "? approve  awaits a decision" in by_kubeconfig.stdout
    alone = terminal.run("explain", "r", "--data-dir", str(data), "-o", "json")
    assert alone.output["steps"] == served.output["steps"]
    assert "nobody serves" in alone.stderr
    missing = terminal.run("explain", "rr", "--data-dir", str(data))
    assert (missing.code, missing.stdout) == (1, "")
    assert 'has no StoryRun "rr"' in missing.stderr
    assert terminal.run("explain", "r", "--data-dir", str(tmp_path / "nothing")).code == 2
