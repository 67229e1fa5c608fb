"""A full disk is an ordinary day: a clear error, nothing lost, and on it goes once there is space."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.behaviour.builders import step, story
from tests.behaviour.worlds import IMAGES, ROOT, bobrapet
from tests.cli.conftest import Terminal, Write

SMALL_DISK = ["unshare", "--map-root-user", "--mount"]


def test_a_full_disk_is_told_and_harms_nothing(terminal: Terminal, write: Write, tmp_path: Path) -> None:
    if subprocess.run([*SMALL_DISK, "true"], capture_output=True).returncode:
        pytest.skip("this machine permits no mount namespace for a small disk")
    path = write(story("s", "default", step("a", "echo", with_={"v": 1})))
    disk = tmp_path / "disk"
    disk.mkdir()
    command = shlex.join(bobrapet("run", str(path), "--data-dir", str(disk / "data"), *IMAGES))
    script = f"""
        mount -t tmpfs -o size=8m none {disk}
        head -c 7900k /dev/zero > {disk}/fill
        {command}; echo "full: $?" >&2
        rm {disk}/fill
        {command}; echo "free: $?" >&2
        head -c $(($(df --output=avail -k {disk} | tail -1) - 60))k /dev/zero > {disk}/fill
        {command}; echo "filled meanwhile: $?" >&2
        rm {disk}/fill
        {command}; echo "free again: $?" >&2
    """
    done = subprocess.run(
        [*SMALL_DISK, "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=280,
        env=terminal.environment,
        cwd=ROOT,
    )
    assert "Traceback" not in done.stderr
    assert "full: 1" in done.stderr
    assert "free: 0" in done.stderr, done.stderr
    assert "filled meanwhile: 1" in done.stderr, done.stderr
    assert "free again: 0" in done.stderr, done.stderr
    assert done.stderr.count("error: no space left under the data directory") == 2
