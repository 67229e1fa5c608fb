"""Each right of the manager is needed: without it a behaviour is missing. Takes minutes: `make soak`."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bobrapet.runtime.envtest import PortLease
from tests.behaviour import rights, worlds
from tests.behaviour.builders import engram, step, story, storyrun, storytrigger, template
from tests.behaviour.cluster import Cluster

Object = dict[str, Any]
PATIENCE = 12
"""Seconds after which a behaviour counts as missing. With all rights each takes a second or two."""

NOT_SHOWN: dict[str, str] = {
    " configmaps": "the operator's ConfigMap is read before anything starts; without it the manager ends",
    " events": "told nowhere else: Events are lost, runs go on",
    "events.k8s.io events": "told nowhere else: Events are lost, runs go on",
    " pods": "explains failures of pods; a run goes on by its Jobs",
    "bubustack.io stories/finalizers": "only clusters with OwnerReferencesPermissionEnforcement ask for it",
    "runs.bubustack.io stepruns/finalizers": "only clusters with OwnerReferencesPermissionEnforcement ask for it",
    "runs.bubustack.io storyruns/finalizers": "only clusters with OwnerReferencesPermissionEnforcement ask for it",
    "policy.bubustack.io referencegrants": "asked for across namespaces only, under the policy `grant`",
    "catalog.bubustack.io impulsetemplates": "streaming",
    "catalog.bubustack.io impulsetemplates/status": "streaming",
    "bubustack.io impulses": "streaming",
    "bubustack.io impulses/status": "streaming",
    "transport.bubustack.io transports": "streaming",
    "transport.bubustack.io transports/status": "streaming",
    "runs.bubustack.io effectclaims": "made by components that ask for an effect",
    "runs.bubustack.io effectclaims/status": "made by components that ask for an effect",
    " secrets": "large inputs and storage",
}
"""Group and resource whose absence this scenario need not notice -> why. It still may."""


def singled(rules: list[Object]) -> Iterator[tuple[str, list[Object]]]:
    """Each group and resource, with all rules but those for it."""
    every = sorted({(rule["apiGroups"][0], resource) for rule in rules for resource in rule["resources"]})
    for group, resource in every:
        kept = []
        for rule in rules:
            left = [each for each in rule["resources"] if (rule["apiGroups"][0], each) != (group, resource)]
            if left:
                kept.append({**rule, "resources": left})
        yield f"{group} {resource}", kept


@contextmanager
def manager(account: Path, log: Path, port: int) -> Iterator[None]:
    command = worlds.bobrapet("manager", f"--kubeconfig={account}", f"--health-probe-bind-address=127.0.0.1:{port}")
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def missing(cluster: Cluster, port: int, namespace: str) -> str:
    """The first behaviour that does not come; empty when all do."""
    run, story_name = f"r-{namespace}", "s"

    def is_ready() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)

    def status(kind: str, name: str, space: str = "") -> Object:
        found = cluster.find(kind, space, name)
        return (found or {}).get("status", {})

    behaviours: dict[str, Callable[[], bool]] = {
        "the manager becomes ready": is_ready,
        "templates are validated": lambda: (
            status("EngramTemplate", f"test-{namespace}").get("validationStatus") == "valid"
        ),
        "Engrams are validated": lambda: status("Engram", "e", namespace).get("validationStatus") == "valid",
        "Stories are validated": lambda: status("Story", story_name, namespace).get("validationStatus") == "valid",
        "a run succeeds": lambda: status("StoryRun", run, namespace).get("phase") == "Succeeded",
        "a StoryTrigger makes a run": lambda: len(cluster.list("StoryRun", namespace)) >= 2,
    }
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    made = template("echo")
    made["metadata"]["name"] = f"test-{namespace}"
    cluster.apply(made, engram("echo", namespace, name="e", of=f"test-{namespace}"))
    cluster.apply(
        story(story_name, namespace, step("a", "e"), step("b", "e", "a")), storyrun(run, namespace, story_name)
    )
    trigger = storytrigger(namespace, story_name, "k")
    cluster.call("POST", f"/apis/runs.bubustack.io/v1alpha1/namespaces/{namespace}/storytriggers", trigger)
    for name, there in behaviours.items():
        if not _within(there):
            return name
    cluster.delete("StoryRun", namespace, run, propagationPolicy="Background")
    if not _within(lambda: cluster.find("StoryRun", namespace, run) is None):
        return "a deleted run goes"
    return ""


def _within(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if true():
                return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


@pytest.mark.soak
@pytest.mark.real
@pytest.mark.timeout(1800)
def test_each_rule_is_needed_by_a_behaviour_and_all_together_suffice(tmp_path: Path) -> None:
    if why := worlds.real_missing():
        pytest.skip(why)
    found: dict[str, str] = {}
    with PortLease() as ports, worlds.real_control_plane(tmp_path) as environment:
        admin = environment.kubeconfig(tmp_path / "kubeconfig")
        node = worlds.bobrapet("node", f"--kubeconfig={admin}", f"--data-dir={tmp_path / 'node'}", *worlds.IMAGES)
        with Cluster(admin) as cluster, worlds.process(node, tmp_path / "node.log"):
            rights.grant(cluster)
            account = rights.kubeconfig(cluster, environment, tmp_path / "account")
            rules = rights.manager_rules()
            for number, (name, kept) in enumerate([("", rules), *singled(rules)]):
                rights.set_manager_rules(cluster, kept)
                port = ports.take()
                with manager(account, tmp_path / f"manager-{number}.log", port):
                    found[name] = missing(cluster, port, f"n{number}")
                print(f"without {name or 'nothing':55} {found[name] or '-'}", flush=True)
    assert found.pop("") == "", "the rights as they are do not suffice"
    superfluous = {name for name, behaviour in found.items() if not behaviour}
    assert superfluous <= NOT_SHOWN.keys(), f"no behaviour needs {sorted(superfluous - NOT_SHOWN.keys())}"
