"""The tests of the engine notice when the engine is broken (hack/mutate)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MUTATE = Path(__file__).parents[3] / "hack" / "mutate"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_mutation_of_the_engine_fails_a_test_of_it() -> None:
    done = subprocess.run([sys.executable, MUTATE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
