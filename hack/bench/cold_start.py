#!/usr/bin/env python3
"""How long `make demo` takes with a warm virtual environment, as a user waits: whole processes, wall clock."""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_READY = re.compile(r"control plane ready after ([0-9.]+) s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--runs", type=int, default=7, help="counted runs, after one that is not (default 7)")
    runs = parser.parse_args().runs

    walls: list[float] = []
    ready: list[float] = []
    for number in range(runs + 1):
        started = time.perf_counter()
        process = subprocess.run(
            [sys.executable, str(ROOT / "hack/demo"), "--verbose"], cwd=ROOT, capture_output=True, text=True
        )
        wall = time.perf_counter() - started
        if process.returncode != 0:
            print(process.stderr, file=sys.stderr)
            return 1
        if number:
            walls.append(wall)
            if match := _READY.search(process.stderr):
                ready.append(float(match[1]))
    print(f"{'figure':<34}{'goal':>8}{'min':>8}{'median':>8}{'max':>8}")
    for name, goal, values in (("demo, wall seconds", 3.0, walls), ("control plane ready, seconds", 1.0, ready)):
        if values:
            print(f"{name:<34}{goal:>8.1f}{min(values):>8.2f}{statistics.median(values):>8.2f}{max(values):>8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
