"""The operator's storage Secret in the namespaces of its steps (spec workloads 10.5)."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest

from bobrapet.api import labels
from bobrapet.config.operator import S3, OperatorConfig, Storage
from bobrapet.reconcilers.apply import merge_patch
from bobrapet.reconcilers.builtin import Secret
from bobrapet.reconcilers.stores import Access, Stores
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.world import World

HOME = "bobrapet-system"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hush"}
CONFIG = dataclasses.replace(
    OperatorConfig(), storage=Storage(provider="s3", s3=S3(bucket="payloads", auth_secret_name="storage"))
)


def secret(namespace: str, data: dict[str, str], **annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "storage", "namespace": namespace, "annotations": annotations},
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def world_with(*secrets: dict[str, Any]) -> World:
    return World(
        template(),
        engram(),
        story(step("fetch")),
        storyrun(),
        *secrets,
        config=CONFIG,
        stores=Stores(Access(config_namespace=HOME)),
    )


async def found(world: World) -> Secret | None:
    return await get_or_none(world.client, Secret, ObjectKey(NAMESPACE, "storage"))


async def ready(world: World) -> tuple[str, str]:
    steprun = await world.step("run1-fetch")
    (condition,) = (c for c in steprun.status.conditions if c.type == "Ready")
    return condition.reason, condition.message


@pytest.mark.spec("workloads-46")
async def test_the_default_secret_is_copied_before_the_job_that_reads_it() -> None:
    world = world_with(secret(HOME, CREDENTIALS))
    await world.settle()
    copied = await found(world)
    assert copied is not None
    assert copied.object["data"] == secret(HOME, CREDENTIALS)["data"]
    assert copied.metadata.annotations == {
        labels.ANNOTATION_MANAGED_STORAGE_SECRET: "true",
        labels.ANNOTATION_MANAGED_STORAGE_SECRET_SOURCE: f"{HOME}/storage",
    }
    writes = [write for write in world.writes if "secrets" in write or "jobs" in write]
    assert [write.split("/")[-1] for write in writes] == ["secrets", "jobs"]


@pytest.mark.spec("workloads-46")
async def test_drift_is_corrected_when_the_next_step_starts() -> None:
    world = world_with(secret(HOME, CREDENTIALS))
    await world.settle()
    copied = await found(world)
    assert copied is not None
    await world.client.patch(copied, merge_patch({"data": {"AWS_ACCESS_KEY_ID": "b2xk", "more": "eA=="}}))
    await world.sleep(61)
    await world.client.create(world_run("run2"))
    await world.settle()
    copied = await found(world)
    assert copied is not None
    assert copied.object["data"] == secret(HOME, CREDENTIALS)["data"]


@pytest.mark.spec("workloads-46")
async def test_a_secret_of_the_user_with_the_keys_is_used_and_left_alone() -> None:
    own = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "mine"}
    world = world_with(secret(HOME, CREDENTIALS), secret(NAMESPACE, own))
    await world.settle()
    kept = await found(world)
    assert kept is not None
    assert kept.object["data"] == secret(NAMESPACE, own)["data"]
    assert await world.job("run1-fetch") is not None


@pytest.mark.spec("workloads-46")
@pytest.mark.parametrize(
    ("existing", "message"),
    [
        (secret(NAMESPACE, {"token": "x"}), "lacks AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; add the keys"),
        (
            secret(
                NAMESPACE,
                CREDENTIALS,
                **{
                    labels.ANNOTATION_MANAGED_STORAGE_SECRET: "true",
                    labels.ANNOTATION_MANAGED_STORAGE_SECRET_SOURCE: "elsewhere/storage",
                },
            ),
            'is a copy of "elsewhere/storage"',
        ),
    ],
)
async def test_a_secret_that_is_something_else_is_never_overwritten(existing: Any, message: str) -> None:
    world = world_with(secret(HOME, CREDENTIALS), existing)
    await world.settle()
    kept = await found(world)
    assert kept is not None
    assert kept.object["data"] == existing["data"]
    reason, told = await ready(world)
    assert reason == "StorageUnavailable"
    assert message in told
    assert await world.job("run1-fetch") is None


async def test_a_source_that_is_missing_is_waited_for() -> None:
    world = world_with()
    await world.settle()
    assert "controller.storage.s3.auth-secret-name" in (await ready(world))[1]
    await world.client.create(Secret(secret(HOME, CREDENTIALS)))
    await world.sleep(6)
    assert await world.job("run1-fetch") is not None


@pytest.mark.spec("workloads-46")
async def test_no_other_secret_is_ever_copied() -> None:
    policy = {"storage": {"s3": {"bucket": "own", "authentication": {"secretRef": {"name": "storage"}}}}}
    world = World(
        template(),
        engram(),
        story(step("fetch"), policy=policy),
        storyrun(),
        secret(HOME, CREDENTIALS),
        stores=Stores(Access(config_namespace=HOME)),
    )
    await world.settle()
    assert await found(world) is None
    assert await world.job("run1-fetch") is not None


async def test_in_its_own_namespace_nothing_is_copied() -> None:
    world = World(
        template(),
        engram(),
        story(step("fetch")),
        storyrun(),
        secret(NAMESPACE, CREDENTIALS),
        config=CONFIG,
        stores=Stores(Access(config_namespace=NAMESPACE)),
    )
    await world.settle()
    assert not [write for write in world.writes if "secrets" in write]


def world_run(name: str) -> Any:
    from bobrapet.api import StoryRun

    return StoryRun.model_validate(storyrun(name))
