"""The operator's own payload store, whose credentials follow the steps into their namespaces (workloads 10.5)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from bobrapet.api import labels
from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import Object
from tests.behaviour.operatorconfig import SYSTEM, configure
from tests.behaviour.worlds import World
from tests.unit.storage.faulty_s3 import FaultyS3, faulty_s3

NAME = "operator-payload-keys"
SIZE = 100_000


@pytest.fixture
def s3() -> Iterator[FaultyS3]:
    with faulty_s3() as server:
        yield server


def keys(namespace: str, access_key: str, **metadata: Any) -> Object:
    values = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": "hush"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME, "namespace": namespace, **metadata},
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()},
    }


@pytest.fixture
def store(world: World, s3: FaultyS3) -> Iterator[FaultyS3]:
    """The S3 server, as the store of an operator whose credentials lie in its own namespace."""
    cluster = world.cluster
    configure(world, {})
    cluster.apply(keys(SYSTEM, "key"))
    settings = {
        "controller.storage.provider": "s3",
        "controller.storage.s3.bucket": "payloads",
        "controller.storage.s3.endpoint": s3.url,
        "controller.storage.s3.use-path-style": "true",
        "controller.storage.s3.auth-secret-name": NAME,
    }
    configure(world, settings)
    try:
        yield s3
    finally:
        configure(world, dict.fromkeys(settings))
        cluster.delete("Secret", SYSTEM, NAME)


def run_and_store(world: World, namespace: str, store: FaultyS3) -> None:
    """Runs a Story with large values, which are in the store then."""
    world.cluster.apply(story("s", namespace, step("make", "produce", with_={"size": SIZE})))
    world.cluster.apply(storyrun("r", namespace, "s"))
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert f"/payloads/outputs/{namespace}/r-make/text.json" in store.objects


@pytest.mark.spec("workloads-46")
def test_the_operators_credentials_follow_the_steps_into_their_namespace(
    world: World, namespace: str, store: FaultyS3
) -> None:
    run_and_store(world, namespace, store)
    copied = world.cluster.get("Secret", namespace, NAME)
    assert copied["data"] == keys(SYSTEM, "key")["data"]
    assert copied["metadata"]["annotations"] == {
        labels.ANNOTATION_MANAGED_STORAGE_SECRET: "true",
        labels.ANNOTATION_MANAGED_STORAGE_SECRET_SOURCE: f"{SYSTEM}/{NAME}",
    }
    assert all("Credential=key/" in signed for signed in store.authorizations)


@pytest.mark.spec("workloads-46")
def test_a_secret_of_that_name_that_belongs_to_the_user_is_used_and_left_alone(
    world: World, namespace: str, store: FaultyS3
) -> None:
    world.cluster.apply(keys(namespace, "mine"))
    run_and_store(world, namespace, store)
    kept = world.cluster.get("Secret", namespace, NAME)
    assert kept["data"] == keys(namespace, "mine")["data"]
    assert not kept["metadata"].get("annotations")
    assert any("Credential=mine/" in signed for signed in store.authorizations)
