"""The commands of docs/engrams.md print what the page shows, and every shipped component has its part of it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/engrams.md").read_text()
SESSIONS = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
COMMANDS = re.findall(r"^\$ bobrapet ([^\n]*)\n(.*?)(?=^\$ |\Z)", SESSIONS, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("command", "printed"), COMMANDS, ids=[command.split()[2] for command, _ in COMMANDS])
def test_a_command_prints_what_the_page_shows(command: str, printed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bobrapet.cli", *shlex.split(command)], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, printed), done.stderr


def test_every_shipped_component_has_its_part_of_the_page() -> None:
    shipped = {file.stem for file in (ROOT / "manifests/engrams").glob("*.yaml")}
    assert set(re.findall(r"^## (.*)$", PAGE, re.MULTILINE)) == shipped
    assert len(COMMANDS) == 5
