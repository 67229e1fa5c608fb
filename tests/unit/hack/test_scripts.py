"""hack/envtest and hack/tools: what they print and when they refuse. Nothing is built here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HACK = Path(__file__).parents[3] / "hack"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")


def executable(path: Path, output: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)


def run(script: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {
        key: value for key, value in os.environ.items() if key not in ("KUBEBUILDER_ASSETS", "BOBRAPET_ENVTEST_DIR")
    }
    return subprocess.run(
        [HACK / script, *arguments], env={**clean, **env}, capture_output=True, text=True, check=False, timeout=180
    )


def test_a_missing_control_plane_is_only_reported_when_nothing_may_be_built(tmp_path: Path) -> None:
    answer = run("envtest", "--cached", XDG_CACHE_HOME=str(tmp_path))
    assert answer.returncode != 0
    assert answer.stdout == ""


def test_the_cached_control_plane_is_printed(tmp_path: Path) -> None:
    folder = tmp_path / "bobrapet/envtest"
    for program in PROGRAMS:
        executable(folder / program)
    for arguments in ([], ["--cached"]):
        answer = run("envtest", *arguments, XDG_CACHE_HOME=str(tmp_path))
        assert (answer.returncode, answer.stdout) == (0, f"{folder}\n")


def test_the_environment_wins_and_has_to_be_complete(tmp_path: Path) -> None:
    for program in PROGRAMS[:2]:
        executable(tmp_path / program)
    refused = run("envtest", KUBEBUILDER_ASSETS=str(tmp_path))
    assert refused.returncode != 0
    assert "kube-controller-manager" in refused.stderr
    executable(tmp_path / PROGRAMS[2])
    assert run("envtest", KUBEBUILDER_ASSETS=str(tmp_path)).stdout == f"{tmp_path}\n"


@pytest.mark.parametrize(
    ("tool", "version"),
    [("kubectl", "Client Version: v1.30.0"), ("helm", "v4.0.1+g123"), ("promtool", "promtool, version 3.1.0")],
)
def test_a_tool_on_the_path_that_is_new_enough_is_taken(tmp_path: Path, tool: str, version: str) -> None:
    executable(tmp_path / tool, version)
    answer = run("tools", tool, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert (answer.returncode, answer.stdout) == (0, f"{tmp_path / tool}\n")


@pytest.mark.parametrize("arguments", [("tools", "docker"), ("envtest", "--nonsense")])
def test_what_is_not_understood_is_answered_with_the_usage(arguments: tuple[str, ...]) -> None:
    answer = run(*arguments)
    assert answer.returncode == 2
    assert arguments[0] in answer.stderr
    assert answer.stdout == ""
