"""`make demo`: what a newcomer sees first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_prints_the_output_that_the_readme_shows() -> None:
    demo = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.endswith("hack/demo"))
    assert demo.strip() == "@$(BIN)/python hack/demo"
    done = subprocess.run(
        [sys.executable, "hack/demo"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["report"]["recorded"] == 297
