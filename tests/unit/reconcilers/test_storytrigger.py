"""StoryTriggers on a cluster in memory: what is created, what a crash leaves, what the API server refuses."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bobrapet.api import Story, StoryRun, StoryTrigger
from bobrapet.api.names import input_hash, storytrigger_name
from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.reconcilers.glance import RawStoryRun
from bobrapet.reconcilers.stores import Access, Stores
from bobrapet.reconcilers.storytrigger import StoryTriggerReconciler
from bobrapet.reconcilers.wakeups import WakeUps
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import ApiError, BadRequest, ConnectionFailed, Forbidden, InternalError, Invalid
from bobrapet.runtime.reconcile import Request
from bobrapet.storage import BackendUnavailable, MemoryStore, hydrate
from tests.unit.reconcilers.objects import NAMESPACE, Object, engram, step, story, storyrun, template
from tests.unit.reconcilers.world import World


def trigger(key: str = "order-1", submission: str = "sub-1", inputs: Object | None = None, **spec: Any) -> Object:
    identity: Object = {"submissionId": submission}
    if key:
        identity |= {"mode": "key", "key": key, "inputHash": input_hash(inputs)}
    spec = {"storyRef": {"name": "etl"}, "deliveryIdentity": identity, **spec}
    if inputs is not None:
        spec["inputs"] = inputs
    return {
        "apiVersion": StoryTrigger.API_VERSION,
        "kind": StoryTrigger.KIND,
        "metadata": {
            "name": storytrigger_name(NAMESPACE, "etl", key, submission),
            "namespace": NAMESPACE,
            "generation": 1,
            "uid": f"uid-{key}-{submission}",
        },
        "spec": spec,
    }


def world(*objects: Any, config: OperatorConfig | None = None) -> World:
    return World(template(), engram(), story(step("fetch")), *objects, config=config)


async def decided(of: World, item: Object) -> StoryTrigger:
    """Reconciles a trigger as its controller would, and reads it."""
    key = ObjectKey(NAMESPACE, item["metadata"]["name"])
    await StoryTriggerReconciler(of.operator).reconcile(Request(*key))
    return await of.client.get(StoryTrigger, key)


async def runs(of: World) -> list[StoryRun]:
    return (await of.client.list(StoryRun)).items


@pytest.mark.spec("runs-85")
async def test_a_trigger_creates_its_run_once() -> None:
    item = trigger()
    cluster = world(item)
    done = await decided(cluster, item)
    (run,) = await runs(cluster)
    assert (done.status.decision, done.status.reason) == ("Created", "StoryRunCreated")
    assert done.status.story_run_ref is not None
    assert done.status.story_run_ref.uid == run.metadata.uid
    assert run.metadata.annotations["storyrun.bubustack.io/trigger-request-uid"] == done.metadata.uid
    writes = len(cluster.writes)
    assert (await decided(cluster, item)).status == done.status
    assert len(cluster.writes) == writes, "the second pass changes nothing"


@pytest.mark.spec("runs-86")
@pytest.mark.parametrize("lost", range(1, 4))
async def test_a_crash_after_any_write_is_recovered_to_the_same_run(lost: int) -> None:
    item = trigger()
    cluster = world(item)

    def crash(write: str) -> None:
        if len(cluster.writes) == lost:
            raise ConnectionFailed("the process is gone")

    cluster.after = crash
    with pytest.raises(ConnectionFailed):
        await decided(cluster, item)
    done = await decided(cluster, item)
    assert (done.status.decision, len(await runs(cluster))) == ("Created", 1)


async def test_two_managers_that_decide_at_once_make_one_run_and_one_decision() -> None:
    item = trigger()
    cluster = world(item)
    found = await asyncio.gather(*(decided(cluster, item) for _ in range(3)))
    last = await decided(cluster, item)
    assert len(await runs(cluster)) == 1
    assert last.status.decision == "Created", [one.status.decision for one in found]


@pytest.mark.spec("runs-87", "runs-88")
async def test_the_same_key_again_reuses_the_run_and_with_other_inputs_is_rejected() -> None:
    first = trigger(inputs={"n": 1})
    cluster = world(first)
    await decided(cluster, first)
    await cluster.client.delete(await cluster.client.get(StoryTrigger, ObjectKey(NAMESPACE, first["metadata"]["name"])))
    for inputs, decision in (({"n": 1}, "Reused"), ({"n": 2}, "Rejected")):
        again = trigger(inputs=inputs)
        created = await cluster.client.create(StoryTrigger.model_validate(again))
        assert (await decided(cluster, again)).status.decision == decision
        await cluster.client.delete(created)
    assert len(await runs(cluster)) == 1


async def test_a_story_that_only_the_cache_does_not_know_yet_is_asked_for() -> None:
    item = trigger()
    cluster = world(item)
    operator = cluster.operator

    class Late:
        """A cache that has not seen the Story."""

        def __getattr__(self, name: str) -> Any:
            return getattr(operator.client, name)

        async def get(self, kind: Any, key: ObjectKey, **options: Any) -> Any:
            if kind is Story:
                return await operator.client.get(kind, ObjectKey(NAMESPACE, "nothing"), **options)
            return await operator.client.get(kind, key, **options)

    cluster.operator = replace(operator, client=cast(Any, Late()))
    done = await decided(cluster, item)
    assert done.status.decision == "Created", done.status.message


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (Invalid("spec.inputs: too long", status=422), "Rejected"),
        (Forbidden('admission webhook "v.kb.io" denied the request: inputs do not match', status=403), "Rejected"),
        (BadRequest('admission webhook "v.kb.io" denied the request: inputs do not match', status=400), "Rejected"),
        (Forbidden('storyruns is forbidden: User "x" cannot create', status=403), None),
        (Forbidden("exceeded quota: runs", status=403), None),
        (InternalError('admission webhook "v.kb.io" denied the request: could not look', status=500), None),
    ],
)
async def test_what_the_api_server_refuses_for_good_is_rejected_and_the_rest_tried_again(
    error: ApiError, decision: str | None
) -> None:
    item = trigger()
    cluster = world(item)

    def refuse(write: str) -> None:
        if write.startswith("POST"):
            raise error

    cluster.before = refuse
    if decision is None:
        with pytest.raises(type(error)):
            await decided(cluster, item)
        cluster.before = lambda write: None
        assert (await decided(cluster, item)).status.decision == "Created"
        return
    done = await decided(cluster, item)
    assert (done.status.decision, done.status.reason) == (decision, "ValidationFailed")
    assert done.status.story_run_ref is None
    assert error.message in (done.status.message or "")


async def test_b40_a_decided_trigger_goes_after_the_retention_and_when_its_run_is_gone() -> None:
    item = trigger()
    cluster = world(item, config=parse({"storyrun.retention-seconds": "60"}).config)
    done = await decided(cluster, item)
    key = ObjectKey.of(done)
    assert (await StoryTriggerReconciler(cluster.operator).reconcile(Request(*key))).requeue_after == 60
    await cluster.clock.advance(60)
    assert await decided(cluster, item), "its run is still there"
    (run,) = await runs(cluster)
    raw = await cluster.client.get(RawStoryRun, ObjectKey.of(run))
    assert await WakeUps(cluster.client).triggers_of_run(raw) == [Request(*key)]
    await cluster.client.delete(run)
    await StoryTriggerReconciler(cluster.operator).reconcile(Request(*key))
    assert await get_or_none(cluster.client, StoryTrigger, key) is None


async def test_an_answered_trigger_costs_three_writes() -> None:
    item = trigger()
    cluster = world(item)
    await decided(cluster, item)
    assert len(cluster.writes) == 3, cluster.writes


async def test_a_run_that_a_user_made_under_the_derived_name_is_judged_by_what_it_runs() -> None:
    item = trigger(key="", submission="sub-7")
    name = "etl-sub-7-" + storytrigger_name(NAMESPACE, "etl", "", "sub-7").rpartition("-")[2]
    cluster = world(item, storyrun(name))
    assert (await decided(cluster, item)).status.decision == "Reused"


def offloading(store: MemoryStore, *objects: Any) -> World:
    """A cluster whose Story keeps payloads in a store that the test holds."""
    stores = Stores(Access(claims=Path("/claims")), open=lambda settings: store)
    stores._folder = lambda settings, namespace: Path("/claims") / namespace  # type: ignore[method-assign]
    policy = {"storage": {"file": {"volumeClaimName": "payloads"}}}
    return World(template(), engram(), story(step("fetch"), policy=policy), *objects, stores=stores)


@pytest.mark.spec("runs-90")
async def test_inputs_over_the_cap_are_stored_and_the_run_refers_to_them() -> None:
    inputs = {"text": "x" * 5000, "n": 1}
    item, store = trigger(inputs=inputs), MemoryStore()
    cluster = offloading(store, item)
    done = await decided(cluster, item)
    assert (done.status.decision, done.status.reason) == ("Created", "StoryRunCreated")
    (run,) = await runs(cluster)
    assert "$bubuStorageRef" in str(run.spec.inputs)
    assert len(str(run.spec.inputs)) < 1024
    assert run.metadata.annotations["storyrun.bubustack.io/trigger-input-hash"] == input_hash(inputs)
    assert hydrate(run.spec.inputs, store) == inputs
    # The answer that was lost is found again by the hash, not by comparing references.
    await cluster.client.delete(done)
    await cluster.client.create(StoryTrigger.model_validate(item))
    assert (await decided(cluster, item)).status.decision == "Reused"


async def test_inputs_that_cannot_be_stored_now_are_tried_again_and_nothing_is_decided() -> None:
    class Down(MemoryStore):
        def put(self, path: str, body: Any) -> Any:
            raise BackendUnavailable("down")

    item = trigger(inputs={"text": "x" * 5000})
    cluster = offloading(Down(), item)
    with pytest.raises(BackendUnavailable):
        await decided(cluster, item)
    found = await cluster.client.get(StoryTrigger, ObjectKey(NAMESPACE, item["metadata"]["name"]))
    assert found.status.decision == "Pending"
    assert not await runs(cluster)
