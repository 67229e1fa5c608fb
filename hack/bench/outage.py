#!/usr/bin/env python3
"""Measures how soon the operator works again after the API server was away.

    hack/bench/outage.py [--away 12] [--rounds 6]

The API server of a real control plane is killed and started again after some seconds. As soon as it is ready, a Story
and a run of it are created: the first figure is the time until that run has ended. The second is the time until twenty
runs have ended whose `sleep` was over in the middle of the outage. KUBEBUILDER_ASSETS names the programs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import urllib3
from tests.behaviour.builders import story, storyrun
from tests.behaviour.cluster import ApiFailure
from tests.behaviour.worlds import World, envtest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--away", type=float, default=12, help="seconds without an API server (default 12)")
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, envtest(Path(folder)) as world:
        world.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}})
        rounds = [measure(world, given.away, number) for number in range(given.rounds)]
    print(f"{given.away:.0f} s away, seconds after the return{'rounds':>8}{'min':>8}{'median':>8}{'max':>8}")
    for name, found in zip(
        ("a run created then has ended", "runs due meanwhile have ended"), zip(*rounds, strict=True), strict=True
    ):
        print(f"{name:<34}{len(found):>8}{min(found):>8.1f}{statistics.median(found):>8.1f}{max(found):>8.1f}")


def measure(world: World, away: float, number: int) -> tuple[float, float]:
    """Seconds from the moment at which the API server is ready to the end of a run created then, and of runs that
    fell due meanwhile."""
    assert world.restart_api_server is not None
    due = [f"due{number}-{run}" for run in range(20)]
    sleep = {"name": "a", "type": "sleep", "with": {"duration": f"{away / 2 + 2:.0f}s"}}
    world.cluster.apply(
        story(f"sleeps{number}", "bench", sleep, {"name": "b", "type": "condition", "needs": ["a"]}),
        *(storyrun(name, "bench", f"sleeps{number}") for name in due),
    )
    time.sleep(2)
    world.restart_api_server(away)
    ready = time.monotonic()
    step = {"name": "a", "type": "condition"}
    while True:
        # RBAC and CRDs are served a moment later than the rest.
        with suppress(ApiFailure, urllib3.exceptions.HTTPError):
            world.cluster.apply(story(f"s{number}", "bench", step), storyrun(f"r{number}", "bench", f"s{number}"))
            break
        time.sleep(0.05)
    world.cluster.wait_run("bench", f"r{number}", timeout=240)
    created = time.monotonic() - ready
    for name in due:
        world.cluster.wait_run("bench", name, timeout=240)
    return created, time.monotonic() - ready


if __name__ == "__main__":
    main()
