"""What a user would apply: the overlays by kubectl, the chart by helm."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MANIFESTS = ROOT / "manifests"
CHART = MANIFESTS / "chart/bobrapet"

Object = dict[str, Any]


def tool(name: str) -> str:
    """The path of a program; without it the test is skipped, in CI it fails."""
    found = shutil.which(name, path=f"{ROOT}/.cache/tools:{os.environ['PATH']}")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"{name} is missing: hack/tools {name} makes it"
        )
    return found


def call(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@functools.cache
def kustomize(overlay: str) -> str:
    return call(tool("kubectl"), "kustomize", str(MANIFESTS / overlay))


@functools.cache
def chart(*values: str, release: str = "bobrapet", namespace: str = "bobrapet-system", crds: bool = False) -> str:
    """The twelve kinds take most of the time, so they are left out unless a test is about them."""
    if not crds:
        values = (*values, "crds.enabled=false")
    flags = [word for value in values for word in ("--set", value)]
    return call(tool("helm"), "template", release, str(CHART), "--namespace", namespace, *flags)


def objects(text: str) -> dict[str, Object]:
    """By `Kind namespace/name`."""
    found = {}
    for each in yaml.safe_load_all(text):
        if each:
            meta = each["metadata"]
            key = f"{each['kind']} {meta.get('namespace', '')}/{meta['name']}"
            assert key not in found, f"{key} is there twice"
            found[key] = each
    return found
