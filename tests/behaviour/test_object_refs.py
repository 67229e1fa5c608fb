"""Inputs that name ConfigMaps and Secrets: read by the component, with the rights that its Engram was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.worlds import World

RULES = [
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["settings"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["keys"]},
]


def test_a_component_reads_what_it_may_and_is_told_what_it_may_not(
    world: World, namespace: str, component: Callable[..., str]
) -> None:
    for kind, name in (("ConfigMap", "settings"), ("ConfigMap", "private"), ("Secret", "keys")):
        data: dict[str, Any] = {"data": {"n": "5"}} if kind == "ConfigMap" else {"stringData": {"k": "s3cr3t-value"}}
        meta = {"name": name, "namespace": namespace}
        world.cluster.create({"apiVersion": "v1", "kind": kind, "metadata": meta, **data})
    reader = component("shows", {"overrides": {"rbac": {"rules": RULES}}})
    may = {"n": {"$bubuConfigMapRef": "settings:n"}, "k": {"$bubuSecretRef": {"name": "keys", "key": "k"}}}
    world.cluster.apply(
        story(
            "s",
            namespace,
            step("may", reader, with_=may),
            step("maynot", reader, with_={"n": {"$bubuConfigMapRef": "private:n"}}, allowFailure=True),
        ),
        storyrun("r", namespace, "s"),
    )
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    read = world.cluster.get("StepRun", namespace, "r-may")["status"]
    assert read["output"] == {"input": {"n": 5, "k": "s3cr3t-value"}}
    if world.name == "embedded":
        return  # its API server lets every authenticated user do everything: docs/limits.md
    refused = world.cluster.get("StepRun", namespace, "r-maynot")["status"]
    assert (refused["phase"], refused["error"]["type"]) == ("Failed", "validation_error")
    assert 'configmaps "private" is forbidden' in refused["error"]["message"]
