"""Requirements on StoryTriggers (spec runs 21)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bobrapet.api import StoryRun, StoryTrigger
from bobrapet.api.names import input_hash, storytrigger_name
from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.engine.trigger import TriggerPlan, TriggerSnapshot, plan, run_name
from tests.unit.engine.world import T0, merged, story

STORY = story("a", version="v1")


def trigger(key: str = "k", inputs: dict[str, Any] | None = None, uid: str = "t1", **spec: Any) -> StoryTrigger:
    identity = {"mode": "key", "key": key, "inputHash": input_hash(inputs), "submissionId": "sub-1"}
    spec = {"storyRef": {"name": "s"}, "deliveryIdentity": identity, **spec}
    if inputs is not None:
        spec["inputs"] = inputs
    delivery = spec["deliveryIdentity"]
    name = storytrigger_name("wf", "s", delivery.get("key", ""), delivery["submissionId"])
    metadata = {"name": name, "namespace": "wf", "uid": uid, "generation": 1}
    return StoryTrigger.model_validate({"metadata": metadata, "spec": spec})


def created(found: TriggerPlan) -> StoryRun:
    assert found.create is not None
    wire = found.create.to_wire()
    wire["metadata"]["uid"] = "run-uid"
    return StoryRun.model_validate(wire)


def decide(item: StoryTrigger, run: StoryRun | None = None, **more: Any) -> StoryTrigger:
    snapshot = TriggerSnapshot(trigger=item, story=more.pop("story", STORY), run=run, **more)
    found = plan(snapshot, T0)
    if found.confirm:
        found = plan(replace(snapshot, authoritative=True), T0)
    assert found.status is not None
    return StoryTrigger.model_validate(merged(item.to_wire(), found.status))


@pytest.mark.spec("runs-85", "runs-86")
def test_a_trigger_creates_its_run_once_and_finds_it_again_after_a_crash() -> None:
    item = trigger()
    run = created(plan(TriggerSnapshot(trigger=item, story=STORY), T0))
    assert run.metadata.name == run_name(item)
    assert run.metadata.annotations["storyrun.bubustack.io/trigger-token"] == "k"
    done = decide(item, run)
    assert (done.status.decision, done.status.reason) == ("Created", "StoryRunCreated")
    assert done.status.story_run_ref is not None
    assert done.status.story_run_ref.uid == "run-uid"
    again = plan(TriggerSnapshot(trigger=done, story=STORY, run=run), T0)
    assert (again.create, again.status, again.delete) == (None, None, False)


@pytest.mark.spec("runs-87")
def test_the_same_key_with_other_inputs_is_a_conflict() -> None:
    run = created(plan(TriggerSnapshot(trigger=trigger(inputs={"n": 1}), story=STORY), T0))
    done = decide(trigger(inputs={"n": 2}), run)
    assert (done.status.decision, done.status.reason) == ("Rejected", "StoryRunConflict")
    assert done.status.story_run_ref is None
    assert {c.type: c.status for c in done.status.conditions}["Degraded"] == "True"


@pytest.mark.spec("runs-88")
def test_the_same_request_by_another_trigger_reuses_the_run() -> None:
    run = created(plan(TriggerSnapshot(trigger=trigger(uid="other"), story=STORY), T0))
    assert decide(trigger(), run).status.decision == "Reused"


@pytest.mark.spec("runs-89")
def test_another_impulse_is_a_conflict() -> None:
    run = created(plan(TriggerSnapshot(trigger=trigger(), story=STORY), T0))
    assert decide(trigger(impulseRef={"name": "i"}), run).status.reason == "StoryRunConflict"


def test_b39_a_trigger_without_key_recovers_by_the_hash_of_its_inputs() -> None:
    item = trigger(inputs={"n": 1}, deliveryIdentity={"submissionId": "sub-9"})
    run = created(plan(TriggerSnapshot(trigger=item, story=STORY), T0))
    offloaded = StoryRun.model_validate(merged(run.to_wire(), {"spec": {"inputs": {"$bubuStorageRef": "x"}}}))
    assert decide(item, offloaded).status.decision == "Created"


@pytest.mark.parametrize(
    ("item", "more", "reason"),
    [
        (trigger(), {"story": None}, "StoryNotFound"),
        (trigger(storyRef={"name": "s", "version": "v9"}), {}, "StoryVersionMismatch"),
        (
            trigger(inputs={"n": 1}, deliveryIdentity={"submissionId": "s", "inputHash": "0" * 64}),
            {},
            "InputHashMismatch",
        ),
        (trigger(deliveryIdentity={"submissionId": "s", "key": "k"}), {}, "ValidationFailed"),
        (trigger(deliveryIdentity={"submissionId": "s", "mode": "key"}), {}, "ValidationFailed"),
        (trigger(storyRef={"name": "s", "namespace": "other"}), {}, "ValidationFailed"),
        (trigger(), {"refused": "inputs do not match"}, "ValidationFailed"),
    ],
)
def test_what_cannot_be_run_is_rejected_with_its_reason(item: StoryTrigger, more: dict[str, Any], reason: str) -> None:
    done = decide(item, **more)
    assert (done.status.decision, done.status.reason) == ("Rejected", reason)
    assert done.status.completed_at


def test_b40_a_trigger_goes_after_the_retention_but_never_before_its_run() -> None:
    config: OperatorConfig = parse({"storyrun.retention-seconds": "60"}).config
    item = trigger()
    run = created(plan(TriggerSnapshot(trigger=item, story=STORY), T0))
    done = decide(item, run)
    later = T0 + timedelta(seconds=60)
    assert plan(TriggerSnapshot(trigger=done, story=STORY, run=run, config=config), T0).wake_at == later
    assert not plan(TriggerSnapshot(trigger=done, story=STORY, run=run, config=config), later).delete
    gone = TriggerSnapshot(trigger=done, story=STORY, config=config)
    assert plan(gone, later).confirm, "the cache may just not show the run"
    assert plan(replace(gone, authoritative=True), later).delete


def test_a_request_is_accepted_before_its_run_is_created() -> None:
    found = plan(TriggerSnapshot(trigger=trigger(), story=STORY), T0)
    assert found.create is not None
    assert found.status is not None
    status = StoryTrigger.model_validate(merged(trigger().to_wire(), found.status)).status
    assert (status.decision, bool(status.accepted_at), status.completed_at) == ("Pending", True, None)
    assert {c.type: c.status for c in status.conditions} == {
        "Ready": "False",
        "Progressing": "True",
        "Degraded": "False",
    }


def test_nothing_is_rejected_on_the_word_of_a_cache() -> None:
    snapshot = TriggerSnapshot(trigger=trigger(), story=None)
    found = plan(snapshot, T0)
    assert (found.confirm, found.status, found.create) == (True, None, None)
    appeared = plan(replace(snapshot, story=STORY, authoritative=True), T0)
    assert appeared.create is not None


def test_inputs_over_the_cap_are_offloaded_and_the_run_keeps_the_hash_of_what_was_sent() -> None:
    inputs = {"text": "x" * 2000}
    found = plan(TriggerSnapshot(trigger=trigger(inputs=inputs), story=STORY, has_storage=True), T0)
    assert found.offload
    run = created(found)
    assert run.metadata.annotations["storyrun.bubustack.io/trigger-input-hash"] == input_hash(inputs)
    offloaded = StoryRun.model_validate(merged(run.to_wire(), {"spec": {"inputs": {"text": {"$bubuStorageRef": "x"}}}}))
    assert decide(trigger(inputs=inputs), offloaded, has_storage=True).status.decision == "Created"


def test_inputs_over_the_cap_without_storage_are_rejected() -> None:
    done = decide(trigger(inputs={"text": "x" * 2000}))
    assert (done.status.decision, done.status.reason) == ("Rejected", "InputTooLarge")
