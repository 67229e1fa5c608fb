"""A release of the chart on a real API server: installed, upgraded, removed, installed again."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bobrapet.api import KINDS
from bobrapet.runtime.envtest import Environment, Options
from tests.behaviour import worlds
from tests.unit.manifests.rendered import CHART, Object, chart, tool

NAMESPACE = "bobrapet-system"
PATIENCE = 240
"""Seconds for one call. Nothing is judged by time."""


class Release:
    """What a user does, at a cluster."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig

    def helm(self, *arguments: str) -> str:
        done = self._run(tool("helm"), *arguments)
        assert done.returncode == 0, done.stderr
        assert "arning" not in done.stderr, done.stderr
        return done.stdout

    def install(self, *arguments: str) -> str:
        """Installs; where the API server is slow to serve the new kinds, as an upgrade once more (docs/install.md)."""
        command = ("bobrapet", str(CHART), "--namespace", NAMESPACE, "--create-namespace", *arguments)
        done = self._run(tool("helm"), "install", *command)
        deadline = time.monotonic() + PATIENCE
        while "no matches for kind" in done.stderr and time.monotonic() < deadline:
            time.sleep(1)
            done = self._run(tool("helm"), "upgrade", "--install", *command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, kind: str, name: str, namespace: str = NAMESPACE) -> Object | None:
        where = [f"--namespace={namespace}"] if namespace else []
        done = self._run(tool("kubectl"), "get", kind, name, *where, "-o", "json")
        if "NotFound" in done.stderr or "doesn't have a resource type" in done.stderr:
            return None
        assert done.returncode == 0, done.stderr
        found: Object = json.loads(done.stdout)
        return found

    def named(self, kind: str, *flags: str) -> set[str]:
        done = self._run(tool("kubectl"), "get", kind, "-o", "name", *flags)
        assert done.returncode == 0, done.stderr
        return set(done.stdout.split())

    def missing(self, manifest: str) -> str:
        """What kubectl says about objects of a manifest that are not there."""
        return self._run(tool("kubectl"), "get", "-f", "-", "-o", "name", stdin=manifest).stderr

    def wait_for_no(self, kind: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while left := self.named(kind):
            assert time.monotonic() < deadline, self._run(tool("kubectl"), "describe", *left).stdout
            time.sleep(1)

    def _run(self, program: str, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [program, f"--kubeconfig={self._kubeconfig}", *arguments]
        # What was kept of another server that had this port is no business of this one's.
        environ = {**os.environ, "KUBECACHEDIR": str(self._kubeconfig.parent / "cache")}
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environ
        )


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    if why := worlds.real_missing():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    with Environment(Options()) as environment:
        yield Release(environment.kubeconfig(tmp_path / "kubeconfig"))


@pytest.mark.real
@pytest.mark.timeout(600)
def test_a_release_is_installed_upgraded_removed_and_installed_again(release: Release) -> None:
    kinds = {
        f"customresourcedefinition.apiextensions.k8s.io/{kind.PLURAL}.{kind.API_VERSION.partition('/')[0]}"
        for kind in KINDS
    }

    said = release.install()
    assert "STATUS: deployed" in said
    assert release.named("crd") == kinds
    assert release.missing(chart()) == ""
    shipped = release.get("engramtemplate", "materialize", "")
    assert shipped is not None
    assert shipped["spec"]["image"].startswith("ghcr.io/bubustack/materialize-engram:")

    release.helm("upgrade", "bobrapet", str(CHART), "--namespace", NAMESPACE, "--set", "controllerManager.replicas=2")
    upgraded = release.get("deployment", "bobrapet-controller-manager")
    assert upgraded is not None
    assert upgraded["spec"]["replicas"] == 2
    assert release.get("engramtemplate", "materialize", "") is not None

    release.helm("uninstall", "bobrapet", "--namespace", NAMESPACE)
    assert release.named("crd") == kinds, "the kinds hold what users wrote, so they are kept"
    left = release.named("clusterrole,clusterrolebinding", "--selector=app.kubernetes.io/name=bobrapet")
    left |= release.named("mutatingwebhookconfiguration,validatingwebhookconfiguration")
    left |= release.named("deployment,service,role,rolebinding,pdb", f"--namespace={NAMESPACE}")
    assert left == set()

    release.install("--set", "crds.keep=false")
    release.helm("uninstall", "bobrapet", "--namespace", NAMESPACE)
    release.wait_for_no("crd")
