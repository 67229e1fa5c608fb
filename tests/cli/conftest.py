"""Running the command as a user does: whole processes, with a temporary directory of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.behaviour import worlds
from tests.behaviour.builders import Object, engram, template

Write = Callable[..., Path]


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> Any:
        return json.loads(self.stdout)


class Terminal:
    """Starts `bobrapet` with its own TMPDIR, so that a test sees what it leaves behind."""

    def __init__(self, folder: Path) -> None:
        self.tmp = folder / "tmp"
        self.tmp.mkdir()
        self.environment = {**os.environ, "TMPDIR": str(self.tmp), "NO_COLOR": "1"}

    def run(self, *arguments: str, stdin: str = "", timeout: float = 180) -> Finished:
        """Runs the command to its end."""
        process = subprocess.run(
            worlds.bobrapet(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            cwd=worlds.ROOT,
        )
        return Finished(process.returncode, process.stdout, process.stderr)

    def start(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Starts the command; its stderr is read by the test, or is a terminal of the test's."""
        return subprocess.Popen(
            worlds.bobrapet(*arguments),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=self.environment,
            cwd=worlds.ROOT,
        )

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self.tmp.iterdir())


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    for path in terminal.tmp.glob("bobrapet-*"):
        assert not path.exists(), "a temporary folder was left behind"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes manifests into one file: the given objects, and template and Engram of the test components they name."""

    def write(*objects: Object, namespace: str = "default") -> Path:
        used = {
            step["ref"]["name"]
            for obj in objects
            if obj["kind"] == "Story"
            for step in obj["spec"]["steps"]
            if step.get("ref", {}).get("name") in worlds.MODES
        }
        components = [made for mode in sorted(used) for made in (template(mode), engram(mode, namespace))]
        path = tmp_path / "story.yaml"
        path.write_text("---\n".join(yaml.safe_dump(obj, sort_keys=False) for obj in (*components, *objects)))
        return path

    return write
