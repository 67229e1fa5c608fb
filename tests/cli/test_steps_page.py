"""docs/steps.md: its example runs as it stands there, and its tables say what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bobrapet.api import env
from bobrapet.engine.retry import exit_class, is_retryable

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/steps.md").read_text()
SOURCES = "".join(file.read_text() for file in (ROOT / "src/bobrapet/engine").rglob("*.py"))


def block(language: str) -> str:
    """The code block of the page in one language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_example_gives_the_output_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "charge.py").write_text(block("python"))
    (tmp_path / "order.yaml").write_text(block("yaml"))
    command, expected = block("console").split("\n", 1)
    assert command == ('$ bobrapet run order.yaml --input order=o-17 --image example/charge="python charge.py"')
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bobrapet.cli", "run", "order.yaml", "--input", "order=o-17"),
            f"--image=example/charge={sys.executable} {tmp_path / 'charge.py'}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(expected)


@pytest.mark.parametrize("row", re.findall(r"^\| (-?\d+) \| `(\w+)` \| (yes|no) \|$", PAGE, re.MULTILINE))
def test_the_exit_codes_are_those_of_the_engine(row: tuple[str, str, str]) -> None:
    code, name, again = row
    found = exit_class(int(code))
    assert (found.value, is_retryable(found)) == (name, again == "yes")


def test_the_variables_and_reasons_of_the_page_exist() -> None:
    variables = set(re.findall(r"`(BUBU_[A-Z_]+[A-Z])`", PAGE))
    known = {value for value in vars(env).values() if isinstance(value, str)}
    assert variables - known == set()
    rows = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+)(?: \.\.\.)? \|", PAGE.split("## When it does not start")[1], re.MULTILINE
    )
    reasons = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert len(reasons) >= 12
    assert {reason for reason in reasons if f'"{reason}"' not in SOURCES} <= {"Unschedulable"}
