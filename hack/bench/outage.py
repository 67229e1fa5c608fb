#!/usr/bin/env python3
"""Measures how soon the operator works again after the API server was away.

    hack/bench/outage.py [--away 12] [--rounds 6]

The API server of a real control plane is killed and started again after some seconds. As soon as it is ready, a Story
and a run of it are created: the figure is the time until that run has ended. KUBEBUILDER_ASSETS names the programs.
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
        found = [measure(world, given.away, number) for number in range(given.rounds)]
    print(f"{'seconds away':>14}{'rounds':>8}{'min':>8}{'median':>8}{'max':>8}")
    print(f"{given.away:>14.0f}{len(found):>8}{min(found):>8.1f}{statistics.median(found):>8.1f}{max(found):>8.1f}")


def measure(world: World, away: float, number: int) -> float:
    """Seconds from the moment at which the API server is ready to the end of a run."""
    assert world.restart_api_server is not None
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
    return time.monotonic() - ready


if __name__ == "__main__":
    main()
