"""Outputs that later runs reuse, on a cluster in memory (spec workloads 17.4)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bobrapet.api import StepRun, Story, StoryRun
from bobrapet.config.storage import StorageSettings
from bobrapet.runtime.client.object import ObjectKey
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.world import World

BUCKET = {"s3": {"bucket": "b", "authentication": {"secretRef": {"name": "s3"}}}}


class Memory:
    """A store in memory, which can be broken."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.is_broken = False

    async def read(self, store: StorageSettings, namespace: str, path: str) -> bytes | None:
        if self.is_broken:
            raise ConnectionError("no store")
        return self.objects.get(path)

    async def write(self, store: StorageSettings, namespace: str, path: str, body: bytes) -> None:
        if self.is_broken:
            raise ConnectionError("no store")
        self.objects[path] = body


def world(
    cache: dict[str, Any] | None = None, *, with_: dict[str, Any] | None = None, version: str = "", **schema: Any
) -> World:
    execution = {"cache": {} if cache is None else cache}
    return World(
        template(**schema),
        engram(**({"version": version} if version else {})),
        story(step("fetch", with_=with_ or {"url": "u"}, execution=execution), policy={"storage": BUCKET}),
        outputs=Memory(),
    )


async def run(found: World, name: str, output: dict[str, Any] | None = None) -> StepRun:
    """Runs the Story; when its step really starts, the component reports `output`."""
    await found.client.create(StoryRun.model_validate(storyrun(name)))
    await found.settle()
    if await found.job(f"{name}-fetch") is not None:
        await found.component_reports(f"{name}-fetch", phase="Succeeded", output=output or {"body": name})
        await found.settle()
    return await found.step(f"{name}-fetch")


def status_of(item: StepRun) -> str:
    return item.metadata.annotations.get("cache.bubustack.io/status", "")


@pytest.mark.spec("workloads-39")
async def test_a_second_run_with_equal_inputs_reuses_the_output_without_a_job() -> None:
    found = world()
    first, second = await run(found, "run1"), await run(found, "run2")
    assert (status_of(first), status_of(second)) == ("stored", "hit")
    assert await found.job("run2-fetch") is None
    assert second.status.phase == "Succeeded"
    assert second.status.output == {"body": "run1"}
    assert second.status.last_output_at
    assert (await found.run("run2")).status.phase == "Succeeded"


@pytest.mark.spec("workloads-39")
@pytest.mark.parametrize(
    ("first", "second", "later", "hit"),
    [
        ({"ttlSeconds": 60}, {"ttlSeconds": 60}, 59, True),
        ({"ttlSeconds": 60}, {"ttlSeconds": 60}, 61, False),
        ({"ttlSeconds": 60}, {"ttlSeconds": 600}, 61, False),
        ({"salt": "a"}, {"salt": "b"}, 0, False),
        ({}, {"mode": "write"}, 0, False),
        ({"mode": "read"}, {}, 0, False),
        ({"key": "all"}, {"key": "all"}, 0, True),
        ({"key": "{{ inputs.url }}"}, {"key": "u"}, 0, True),
        ({"key": "{{ .engram.name }}-{{ .step.id }}"}, {"key": "http-fetch"}, 0, True),
        ({}, {"enabled": False}, 0, False),
    ],
)
async def test_when_an_entry_counts(first: dict[str, Any], second: dict[str, Any], later: float, hit: bool) -> None:
    found = world(first)
    await run(found, "run1")
    await found.sleep(later)
    await edit_story(found, cache=second)
    assert (status_of(await run(found, "run2")) == "hit") is hit


async def edit_story(found: World, cache: dict[str, Any]) -> None:
    stored = await found.client.get(Story, ObjectKey(NAMESPACE, "etl"))
    wire = stored.to_wire()
    wire["spec"]["steps"][0]["execution"]["cache"] = cache
    await found.client.update(Story.model_validate(wire))


@pytest.mark.spec("workloads-39")
async def test_an_entry_that_violates_the_output_schema_is_a_miss() -> None:
    found = world(outputSchema={"type": "object", "properties": {"body": {"type": "string"}}})
    await run(found, "run1")
    ((path, body),) = memory(found).objects.items()
    memory(found).objects[path] = json.dumps({**json.loads(body), "output": {"body": 7}}).encode()
    assert status_of(await run(found, "run2")) == "stored"


@pytest.mark.spec("workloads-40")
async def test_an_entry_of_a_versioned_engram_is_found_by_the_next_run() -> None:
    found = world(version="1.0.0")
    await run(found, "run1")
    (path,) = memory(found).objects
    assert path.startswith(f"cache/{NAMESPACE}/http/1.0.0/")
    assert status_of(await run(found, "run2")) == "hit"


@pytest.mark.parametrize("version", ["../../other", "a/b", "..", "1..2", "é"])
async def test_no_version_leaves_the_folder_of_its_engram(version: str) -> None:
    found = world(version=version)
    await run(found, "run1")
    (path,) = memory(found).objects
    assert ".." not in path
    assert path.count("/") == 4
    assert path.startswith(f"cache/{NAMESPACE}/http/")


async def test_the_order_of_input_keys_does_not_matter() -> None:
    found = world(with_={"url": "u", "n": 1})
    await run(found, "run1")
    twin = world(with_={"n": 1, "url": "u"})
    memory(twin).objects = memory(found).objects
    assert status_of(await run(twin, "run9")) == "hit"


async def test_configuration_that_is_no_input_is_part_of_the_key() -> None:
    closed = {"type": "object", "additionalProperties": False, "properties": {"url": {}}}

    def configured(model: str) -> World:
        return World(
            template(inputSchema=closed),
            engram(**{"with": {"model": model}}),
            story(step("fetch", with_={"url": "u"}, execution={"cache": {}}), policy={"storage": BUCKET}),
            outputs=Memory(),
        )

    found = configured("small")
    await run(found, "run1")
    for model, status in (("small", "hit"), ("large", "stored")):
        other = configured(model)
        memory(other).objects = dict(memory(found).objects)
        assert status_of(await run(other, "run2")) == status


async def test_a_broken_store_never_fails_or_delays_a_step() -> None:
    found = world()
    memory(found).is_broken = True
    first = await run(found, "run1")
    assert first.status.phase == "Succeeded"
    assert status_of(first) == ""
    memory(found).is_broken = False
    await found.settle()
    assert status_of(await found.step("run1-fetch")) == "stored"


async def test_nonsense_in_the_store_is_a_miss() -> None:
    found = world()
    await run(found, "run1")
    (path,) = memory(found).objects
    bodies = (b"", b"nonsense", b"[]", b'{"output": {"a": 1}}', b'{"createdAt": "x", "output": {"a": 1}}')
    for number, body in enumerate(bodies):
        memory(found).objects[path] = body
        assert status_of(await run(found, f"other{number}")) == "stored"


async def test_an_output_that_refers_to_data_of_its_run_is_not_cached() -> None:
    found = world()
    first = await run(found, "run1", {"body": {"$bubuStorageRef": f"outputs/{NAMESPACE}/run1-fetch/body.json"}})
    assert first.status.phase == "Succeeded"
    assert memory(found).objects == {}
    kept = {"body": {"$bubuStorageRef": f"cache/{NAMESPACE}/http/latest/x.json"}}
    await run(found, "run2", kept)
    assert status_of(await run(found, "run3")) == "hit"


async def test_an_empty_key_is_told_and_the_step_runs_without_cache() -> None:
    found = world({"key": '{{ "" }}'})
    first = await run(found, "run1")
    assert first.status.phase == "Succeeded"
    assert memory(found).objects == {}
    assert "CacheUnusable" in [reason for _, reason, _ in found.recorder.events]


async def test_what_is_stored_lies_under_the_key_of_the_start_even_if_the_template_changed_meanwhile() -> None:
    found = world()
    await found.client.create(StoryRun.model_validate(storyrun("run1")))
    await found.settle()
    key = (await found.step("run1-fetch")).metadata.annotations["cache.bubustack.io/key"]
    await edit_story(found, cache={"salt": "new"})
    await found.component_reports("run1-fetch", phase="Succeeded", output={"body": "x"})
    await found.settle()
    (path,) = memory(found).objects
    assert path.endswith(f"/{key}.json")


async def test_a_failed_step_leaves_nothing_in_the_cache() -> None:
    found = world()
    await found.client.create(StoryRun.model_validate(storyrun("run1")))
    await found.settle()
    await found.component_reports("run1-fetch", phase="Failed", output={"body": "half"}, exitClass="terminal")
    await found.settle()
    assert memory(found).objects == {}


def memory(found: World) -> Memory:
    assert isinstance(found.outputs, Memory)
    return found.outputs
