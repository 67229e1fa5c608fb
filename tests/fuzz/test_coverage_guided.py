"""Fuzzing that follows the branches of the code (atheris): minutes per target, so only in `make soak`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 120


@pytest.mark.soak
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform")
@pytest.mark.parametrize("target", ["expressions", "manifests", "schemas", "amounts"])
def test_no_input_breaks(target: str) -> None:
    command = [sys.executable, "hack/fuzz", target, "--seconds", str(SECONDS)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS * 3)
    assert ended.returncode == 0, ended.stderr[-4000:]
