#!/usr/bin/env python3
"""How long importing the API takes: whole processes, the interpreter's own start taken off (argument: how many)."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

GOAL_MS = 150
STATEMENTS = (
    "import bobrapet.api",
    "from bobrapet.api import KINDS",  # every model
    "import bobrapet.sdk",
    "import bobrapet.validation",
    "import bobrapet.config.operator",
)


def run(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - started) * 1000


def main(rounds: int) -> None:
    bare = [run("pass") for _ in range(rounds)]
    print(f"{'import':32s} {'goal ms':>8s} {'best ms':>8s} {'median':>8s}")
    for statement in STATEMENTS:
        times = [run(statement) for _ in range(rounds)]
        goal = str(GOAL_MS) if "bobrapet.api" in statement else ""
        best, median = min(times) - min(bare), statistics.median(times) - statistics.median(bare)
        print(f"{statement:32s} {goal:>8s} {best:8.0f} {median:8.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
