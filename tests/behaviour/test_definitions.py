"""Definitions tell whether they are usable and how often they are used, in both worlds (spec workloads 23)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.behaviour.builders import Object, engram, step, story, storyrun
from tests.behaviour.cluster import ApiFailure, Cluster
from tests.behaviour.worlds import World

SEED = list(yaml.safe_load_all((Path(__file__).parents[1] / "data/seed-objects.yaml").read_text()))
CATALOG = "catalog.bubustack.io/v1alpha1"
VALIDATED = ("EngramTemplate", "ImpulseTemplate", "Engram", "Story", "Transport")


def cluster_object(api_version: str, kind: str, name: str, **spec: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def always_on(name: str) -> Object:
    """A template whose Engrams keep running."""
    return cluster_object(
        CATALOG, "EngramTemplate", name, version="1.0.0", supportedModes=["deployment"], image="test/none:1"
    )


@pytest.fixture
def made(world: World) -> Iterator[list[Object]]:
    """Objects that the test adds here are deleted at its end."""
    objects: list[Object] = []
    yield objects
    for each in reversed(objects):
        try:
            world.cluster.delete(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
        except ApiFailure as failure:
            if failure.code != 404:
                raise


def create_anew(cluster: Cluster, obj: Object) -> None:
    """Creates an object instead of the one that another test may have left under its name."""
    at = (obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
    if cluster.find(*at) is not None:
        cluster.delete(*at)
        cluster.wait_gone(*at)
    cluster.create(obj)


def settled(cluster: Cluster, obj: Object, **status: Any) -> Object:
    """The object, once its controller has seen it as it is and its status has these members."""

    def holds(found: Object) -> bool:
        seen = found.get("status", {})
        is_new = seen.get("observedGeneration") == found["metadata"]["generation"]
        return is_new and all(seen.get(name) == value for name, value in status.items())

    metadata = obj["metadata"]
    return cluster.wait(obj["kind"], metadata.get("namespace", ""), metadata["name"], holds)


def test_definitions_heal_and_count_as_what_they_need_comes_and_goes(
    world: World, namespace: str, made: list[Object]
) -> None:
    cluster = world.cluster
    hook = cluster_object(
        CATALOG, "ImpulseTemplate", f"hook-{namespace}", version="1", supportedModes=["deployment"], image="test/none:1"
    )
    lane = cluster_object(
        "transport.bubustack.io/v1alpha1",
        "Transport",
        f"lane-{namespace}",
        provider="p",
        driver="d",
        supportedBinary=["application/json"],
    )
    impulse = {
        **cluster_object(
            "bubustack.io/v1alpha1",
            "Impulse",
            "listener",
            templateRef={"name": hook["metadata"]["name"]},
            storyRef={"name": "told"},
        ),
        "metadata": {"name": "listener", "namespace": namespace},
    }
    told = story(
        "told", namespace, step("a", "echo"), transports=[{"name": "t", "transportRef": lane["metadata"]["name"]}]
    )
    made += [hook, lane]

    cluster.apply(impulse)
    blocked = settled(cluster, impulse, phase="Blocked")
    assert {c["type"]: c["reason"] for c in blocked["status"]["conditions"]}["Ready"] == "SchedulingFailed"
    cluster.apply(told)
    invalid = settled(cluster, told, validationStatus="invalid")
    assert invalid["status"]["validationErrors"] == [
        f"spec.transports[0].transportRef: Transport '{lane['metadata']['name']}' not found"
    ]
    cluster.apply(hook, lane)
    used = [{"name": "t", "transportRef": lane["metadata"]["name"], "mode": "fallback", "modeReason": "batch-pattern"}]
    settled(cluster, told, validationStatus="valid", validationErrors=None, transports=used, usageCount=1, stepsTotal=1)
    settled(cluster, impulse, phase="Pending")
    settled(cluster, hook, validationStatus="valid", usageCount=1)
    settled(cluster, lane, validationStatus="valid", usageCount=1, availableBinary=["application/json"])

    cluster.apply(storyrun("one", namespace, "told"), storyrun("two", namespace, "told"))
    cluster.wait_run(namespace, "one")
    cluster.wait_run(namespace, "two")
    settled(cluster, told, triggers=2)
    echo = engram("echo", namespace)
    counted = settled(cluster, echo, usageCount=1, triggers=2, totalExecutions=2)
    assert counted["status"].get("failedExecutions", 0) == 0

    cluster.delete("Impulse", namespace, "listener")
    settled(cluster, told, usageCount=0)
    settled(cluster, hook, usageCount=0)


def test_a_template_is_invalid_until_it_is_mended(world: World, namespace: str, made: list[Object]) -> None:
    cluster = world.cluster
    bad = cluster_object(
        CATALOG,
        "EngramTemplate",
        f"bad-{namespace}",
        version=" ",
        supportedModes=["job"],
        inputSchema={"properties": {"a": {"type": "strng"}}},
    )
    made.append(bad)
    cluster.apply(bad)
    errors = settled(cluster, bad, validationStatus="invalid")["status"]["validationErrors"]
    assert [error.partition(":")[0] for error in errors] == ["spec.version", "spec.image", "spec.inputSchema"]
    assert 'at /properties/a/type: no type is called "strng"' in errors[2]
    good = copy.deepcopy(bad)
    good["spec"] |= {"version": "1", "image": "test/none:1", "inputSchema": {"properties": {"a": {"type": "string"}}}}
    cluster.apply(good)
    settled(cluster, good, validationStatus="valid", validationErrors=None)


def test_the_examples_of_the_design_apply_unchanged_and_become_valid(world: World, made: list[Object]) -> None:
    cluster = world.cluster
    for name in ("workflows", "shared"):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    beside = [
        always_on("speech"),
        *(engram("x", "workflows", name=name, of="speech") for name in ("speech-to-text", "intent-classifier")),
        *(engram("echo", "workflows", name=name) for name in ("http-client", "json-transform")),
    ]
    for each in beside:
        if each["kind"] == "Engram" and each["spec"]["templateRef"]["name"] == "speech":
            each["spec"]["mode"] = "deployment"
    for each in (*beside, *SEED):
        made.append(each)
        create_anew(cluster, each)
    for each in SEED:
        if each["kind"] in VALIDATED:
            settled(cluster, each, validationStatus="valid")
        stored = cluster.get(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
        assert_kept(each["spec"], stored["spec"])


def assert_kept(written: Any, stored: Any) -> None:
    """Nothing of what was written is lost or changed; defaults may have come."""
    if isinstance(written, dict):
        for name, value in written.items():
            assert_kept(value, stored[name])
    else:
        assert stored == written
