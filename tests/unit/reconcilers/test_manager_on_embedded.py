"""The whole operator against the embedded API server: watches, indexes, wake-ups and the number of writes.

The test plays components and Job controller; nothing runs but API server and manager. Writes are counted by the server.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bobrapet import manager
from bobrapet.api import KINDS, Engram, EngramTemplate, StepRun, Story, StoryRun
from bobrapet.api.crds import crd_manifests
from bobrapet.local.apiserver import ApiServer
from bobrapet.local.apiserver import Options as ServerOptions
from bobrapet.local.store import Key
from bobrapet.reconcilers.apply import merge_patch
from bobrapet.reconcilers.builtin import Job
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.envtest.crd import install_crds
from bobrapet.runtime.manager import ControllerManager
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.scheme import Scheme
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template

Namespace = Unstructured.of("v1", "Namespace")
SUCCESS = {"phase": "Succeeded", "exitClass": "success", "output": {"n": 1}}


class Cluster:
    """What the test does and waits for. `own` counts its writes."""

    def __init__(self, client: ApiClient, operator: ControllerManager) -> None:
        self.client = client
        self.own = 0
        self._operator = operator
        self._running = asyncio.create_task(operator.start())

    async def stop_operator(self) -> None:
        self._operator.request_stop()
        await self._running

    async def create(self, obj: Any) -> Any:
        self.own += 1
        for field in ("uid", "generation"):
            if isinstance(obj, Unstructured):
                obj.object["metadata"].pop(field, None)
            else:
                setattr(obj.metadata, field, None)
        return await self.client.create(obj)

    async def patch_status(self, cls: type[Any], name: str, status: dict[str, Any]) -> None:
        self.own += 1
        obj = await self.client.get(cls, ObjectKey(NAMESPACE, name))
        await self.client.status().patch(obj, merge_patch({"status": status}))

    async def until(self, cls: type[Any], name: str, holds: Callable[[Any], bool]) -> Any:
        """Waits, by a watch, until the object is there and `holds` of it."""
        namespace = NAMESPACE if getattr(cls, "NAMESPACED", True) else None
        async with asyncio.timeout(120):
            listed = await self.client.list(cls, namespace=namespace)
            for obj in listed:
                if obj.metadata.name == name and holds(obj):
                    return obj
            watching = self.client.watch(cls, namespace=namespace, resource_version=listed.resource_version)
            async with watching as events:
                async for event in events:
                    if event.object.metadata.name == name and event.type != "DELETED" and holds(event.object):
                        return event.object
        raise AssertionError("the watch ended")


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    server = ApiServer(ServerOptions())
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def cluster(server: ApiServer) -> AsyncIterator[Cluster]:
    config = RestConfig(host=server.url, ca_data=server.ca_pem.encode(), token=server.admin_token)
    await install_crds(config, crd_manifests())
    scheme = Scheme()
    scheme.add_known_types(*KINDS)
    async with ApiClient(RestClient(config), scheme) as client:
        world = Cluster(client, await manager.build(config))
        await world.create(Namespace({"metadata": {"name": NAMESPACE}}))
        try:
            yield world
        finally:
            await world.stop_operator()


def is_valid(obj: Any) -> bool:
    return obj.status.validation_status == "valid"


def phase(wanted: str) -> Callable[[Any], bool]:
    return lambda obj: obj.status.phase == wanted


async def define(cluster: Cluster, *steps: dict[str, Any], **spec: Any) -> None:
    """Applied in the worst order: everything heals when what it names appears."""
    await cluster.create(story(*steps, **spec))
    await cluster.create(Engram.model_validate(engram()))
    await cluster.create(template())
    for cls, name in ((EngramTemplate, "http"), (Engram, "http"), (Story, "etl")):
        await cluster.until(cls, name, is_valid)


async def finish(cluster: Cluster, name: str) -> None:
    await cluster.until(Job, name, lambda job: True)
    await cluster.until(StepRun, name, phase("Running"))
    await cluster.patch_status(StepRun, name, SUCCESS)


@pytest.mark.spec("workloads-58")
async def test_a_run_of_two_steps_from_definitions_in_the_wrong_order(cluster: Cluster) -> None:
    await define(cluster, step("fetch"), step("next", with_={"n": "{{ steps.fetch.outputs.n }}"}))
    await cluster.create(StoryRun.model_validate(storyrun()))
    await finish(cluster, "run1-fetch")
    await finish(cluster, "run1-next")
    run = await cluster.until(StoryRun, "run1", phase("Succeeded"))
    assert run.status.completed == ["fetch", "next"]


async def test_a_one_step_run_costs_at_most_eight_writes_events_included(server: ApiServer, cluster: Cluster) -> None:
    await define(cluster, step("fetch"))
    written: list[Key] = []
    server._store.subscribe(lambda change: written.append(change.record.key))
    own = cluster.own
    for name in ("run1", "run2"):
        await cluster.create(StoryRun.model_validate(storyrun(name)))
        await finish(cluster, f"{name}-fetch")
        await cluster.until(StoryRun, name, phase("Succeeded"))
    await cluster.stop_operator()  # which sends the Events that it still has
    # By name: counters of definitions, and Events about them, come seconds later, once for any number of runs.
    of_runs = Counter(key.resource.partition(".")[0] for key in written if key.name.startswith(("run1", "run2")))
    assert of_runs.total() - (cluster.own - own) <= 2 * 8, of_runs
    assert of_runs["jobs"] == 2


async def test_a_run_waits_for_its_story_and_starts_when_it_appears(cluster: Cluster) -> None:
    await cluster.create(StoryRun.model_validate(storyrun()))
    await cluster.until(StoryRun, "run1", phase("Pending"))
    await define(cluster, step("fetch"))
    await cluster.until(Job, "run1-fetch", lambda job: True)


async def test_a_job_deleted_by_hand_is_noticed(cluster: Cluster) -> None:
    await define(cluster, step("fetch"))
    await cluster.create(StoryRun.model_validate(storyrun()))
    job = await cluster.until(Job, "run1-fetch", lambda job: True)
    await cluster.client.delete(job, propagation_policy="Background")
    again = await cluster.until(Job, "run1-fetch", lambda found: found.metadata.uid != job.metadata.uid)
    assert again is not None


async def test_a_cancelled_run_ends(cluster: Cluster) -> None:
    await define(cluster, step("fetch"))
    run = await cluster.create(StoryRun.model_validate(storyrun()))
    await cluster.until(StepRun, "run1-fetch", phase("Running"))
    await cluster.client.patch(run, merge_patch({"spec": {"cancelRequested": True}}))
    await cluster.until(StoryRun, "run1", phase("Finished"))
