"""Runs across namespaces, in both worlds: only as far as the owner of the other namespace allows it (spec runs 5)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.behaviour.builders import story, storyrun
from tests.behaviour.cluster import PATIENCE, ApiFailure, Cluster, Object
from tests.behaviour.worlds import World

SYSTEM, CONFIG = "bobrapet-system", "bobrapet-operator-config"


@pytest.fixture
def library(world: World, namespace: str) -> Iterator[str]:
    """Another namespace with the Story `leaf`, under the policy that asks for grants."""
    cluster, name = world.cluster, f"{namespace}-lib"
    for found in (SYSTEM, name):
        if cluster.find("Namespace", "", found) is None:
            cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found}})
    if cluster.find("ConfigMap", SYSTEM, CONFIG) is None:
        metadata = {"name": CONFIG, "namespace": SYSTEM}
        cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}})
    nothing_to_do = {"name": "x", "type": "condition"}
    cluster.apply(story("leaf", name, nothing_to_do, output={"n": "{{ inputs.n }}"}))
    cluster.merge("ConfigMap", SYSTEM, CONFIG, {"data": {"references.cross-namespace-policy": "grant"}})
    try:
        yield name
    finally:
        cluster.merge("ConfigMap", SYSTEM, CONFIG, {"data": {"references.cross-namespace-policy": None}})


def allow(cluster: Cluster, library: str, kind: str, namespace: str) -> None:
    """The owner of the library lets objects of a kind refer to its Stories."""
    group = "bubustack.io" if kind == "Story" else "runs.bubustack.io"
    cluster.apply(
        {
            "apiVersion": "policy.bubustack.io/v1alpha1",
            "kind": "ReferenceGrant",
            "metadata": {"name": f"to-{kind.lower()}", "namespace": library},
            "spec": {
                "from": [{"group": group, "kind": kind, "namespace": namespace}],
                "to": [{"group": "bubustack.io", "kind": "Story", "name": "leaf"}],
            },
        }
    )


def run_abroad(cluster: Cluster, namespace: str, library: str, name: str) -> tuple[str, str]:
    """Runs a Story that executes `leaf`; phase and message of its step, or `refused` and what admission said."""
    reference = {"name": "leaf", "namespace": library}
    execute = {"name": "e", "type": "executeStory", "with": {"storyRef": reference, "with": {"n": 7}}}
    try:
        cluster.apply(story("abroad", namespace, execute, output={"n": "{{ steps.e.output.n }}"}))
    except ApiFailure as failure:
        if failure.code != 422:
            raise
        return "refused", str(failure)
    cluster.apply(storyrun(name, namespace, "abroad"))
    run = cluster.wait_run(namespace, name)
    state = run["status"]["stepStates"]["e"]
    return state["phase"], state.get("message", "")


@pytest.mark.spec("runs-42", "runs-43")
def test_a_story_of_another_namespace_is_executed_only_with_the_grants_of_its_owner(
    world: World, namespace: str, library: str
) -> None:
    cluster = world.cluster
    phase, told = run_abroad(cluster, namespace, library, "without")
    assert phase in ("refused", "Failed")
    assert "cross-namespace" in told
    assert cluster.find("StoryRun", namespace, "without-e") is None

    allow(cluster, library, "Story", namespace)
    deadline, tried, told = time.monotonic() + PATIENCE, 0, ""
    while "StoryRun" not in told and time.monotonic() < deadline:  # the policy and the grant are on their way
        tried += 1
        phase, told = run_abroad(cluster, namespace, library, f"half-{tried}")
    assert (phase, "StoryRun" in told) == ("Failed", True), told
    assert cluster.find("StoryRun", namespace, f"half-{tried}-e") is None

    allow(cluster, library, "StoryRun", namespace)
    while phase != "Succeeded" and time.monotonic() < deadline + PATIENCE:
        tried += 1
        phase, told = run_abroad(cluster, namespace, library, f"with-{tried}")
    assert phase == "Succeeded", told
    child: Object = cluster.get("StoryRun", namespace, f"with-{tried}-e")
    assert child["spec"]["storyRef"]["namespace"] == library
    assert cluster.get("StoryRun", namespace, f"with-{tried}")["status"]["output"] == {"n": 7}
