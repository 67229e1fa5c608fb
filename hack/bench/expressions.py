#!/usr/bin/env python3
"""How many expressions a second one core evaluates and parses, with time and output limits on, against the goals.

The Go operator, on two cores and cached: 321,000/s for the short template and 9,600/s for the long one (issue 6).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from bobrapet.expressions import Evaluator  # noqa: E402
from bobrapet.expressions.functions import LIBRARY  # noqa: E402
from bobrapet.expressions.parser import parse  # noqa: E402
from bobrapet.expressions.program import Program  # noqa: E402

SHORT = "{{ inputs.url }}"
LONG = (
    "Hello {{ inputs.name | title }}, you have {{ len inputs.list }} items: "
    "{{ range $i, $e := inputs.list }}{{ if $i }}, {{ end }}{{ $e | upper }}{{ end }}; "
    "body={{ steps.fetch.output.body | trunc 3 | quote }} and n is {{ add inputs.n 4 }}."
)
CONTEXT = {
    "inputs": {"url": "https://example.org", "name": "ada lovelace", "list": ["a", "b", "c"], "n": 3},
    "steps": {"fetch": {"output": {"body": "hello"}}},
}


def rate(call: Callable[[], object], seconds: float) -> float:
    """Calls per second of this process's time, the best of five portions."""
    best = 0.0
    portion = 100
    for _ in range(5):
        done, started = 0, time.process_time()
        while (elapsed := time.process_time() - started) < seconds / 5:
            for _ in range(portion):
                call()
            done += portion
        best = max(best, done / elapsed)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-s", "--seconds", type=float, default=2.0, help="time per figure (default 2)")
    seconds = parser.parse_args().seconds

    evaluator = Evaluator(max_output_bytes=65536, timeout=30)
    assert evaluator.resolve(LONG, CONTEXT) == ('Hello Ada Lovelace, you have 3 items: A, B, C; body="hel" and n is 7.')
    figures = (
        ("evaluate the short template", 400_000, 321_000, lambda: evaluator.resolve(SHORT, CONTEXT)),
        ("evaluate the long template", 25_000, 9_600, lambda: evaluator.resolve(LONG, CONTEXT)),
        ("parse the short template", 10_000, None, lambda: parse(SHORT, LIBRARY)),
        ("parse the long template", 10_000, None, lambda: parse(LONG, LIBRARY)),
        ("parse and compile the short one", None, None, lambda: Program(SHORT, LIBRARY)),
        ("parse and compile the long one", None, None, lambda: Program(LONG, LIBRARY)),
    )
    missed = False
    print(f"{'per second, one core':<34}{'goal':>12}{'Go, 2 cores':>14}{'measured':>12}")
    for name, goal, reference, call in figures:
        measured = rate(call, seconds)
        missed = missed or (goal is not None and measured < goal)
        shown = [f"{value:,}" if value else "-" for value in (goal, reference)]
        print(f"{name:<34}{shown[0]:>12}{shown[1]:>14}{measured:>12,.0f}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
