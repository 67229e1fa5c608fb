"""Payloads in S3, in both worlds: credentials from a Secret, and a server that fails for a while."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import Object
from tests.behaviour.worlds import World
from tests.unit.storage.faulty_s3 import FaultyS3, faulty_s3

SIZE = 100_000


@pytest.fixture
def s3() -> Iterator[FaultyS3]:
    with faulty_s3() as server:
        yield server


def secret(namespace: str) -> Object:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hush"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "payload-keys", "namespace": namespace},
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in keys.items()},
    }


def exchanging(server: FaultyS3, namespace: str, *, timeout: int = 60, retries: int = 8, **spec: Any) -> Object:
    """A Story whose second step reads what the first one stores, on a condition that the operator reads too."""
    storage = {
        "timeoutSeconds": timeout,
        "s3": {
            "bucket": "payloads",
            "endpoint": server.url,
            "usePathStyle": True,
            "authentication": {"secretRef": {"name": "payload-keys"}},
        },
    }
    return story(
        "s",
        namespace,
        step("make", "produce", with_={"size": SIZE}, execution={"retry": {"maxRetries": retries, "delay": "1s"}}),
        step(
            "use",
            "consume",
            with_={"text": "{{ steps.make.output.text }}", "rows": "{{ steps.make.output.rows }}"},
            if_="{{ gt (len steps.make.output.rows) 100 }}",
        ),
        policy={"storage": storage},
        output={"found": "{{ steps.use.output.found }}"},
        **spec,
    )


def test_steps_and_operator_use_the_credentials_of_the_secret(world: World, namespace: str, s3: FaultyS3) -> None:
    world.cluster.apply(secret(namespace), exchanging(s3, namespace), storyrun("r", namespace, "s"))
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["output"] == {"found": {"text": SIZE, "rows": SIZE // 10}}
    assert f"/payloads/outputs/{namespace}/r-make/text.json" in s3.objects
    assert all("Credential=key/" in signed for signed in s3.authorizations)


def test_a_server_that_fails_for_a_while_delays_the_run_and_nothing_else(
    world: World, namespace: str, s3: FaultyS3
) -> None:
    s3.script = [500, 503, 403, 500, 403, 403]
    world.cluster.apply(secret(namespace), exchanging(s3, namespace), storyrun("r", namespace, "s"))
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["output"] == {"found": {"text": SIZE, "rows": SIZE // 10}}
    assert s3.script == []


def test_a_server_that_does_not_answer_or_breaks_off_delays_the_run_and_nothing_else(
    world: World, namespace: str, s3: FaultyS3
) -> None:
    s3.script = ["hang", "truncate", "truncate"]
    world.cluster.apply(
        secret(namespace), exchanging(s3, namespace, timeout=5, retries=8), storyrun("r", namespace, "s")
    )
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["output"] == {"found": {"text": SIZE, "rows": SIZE // 10}}
    assert s3.script == []


def test_a_server_that_refuses_the_credentials_fails_the_step_and_says_which_to_correct(
    world: World, namespace: str, s3: FaultyS3
) -> None:
    s3.script = [403] * 100
    world.cluster.apply(secret(namespace), exchanging(s3, namespace, retries=0), storyrun("r", namespace, "s"))
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Failed", run["status"]
    message = world.cluster.get("StepRun", namespace, "r-make")["status"]["lastFailureMsg"]
    assert "403" in message
    assert s3.url.removeprefix("http://") in message
    assert "credentials" in message
    assert world.cluster.find("StepRun", namespace, "r-use") is None
