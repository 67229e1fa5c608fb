"""What events and indexes read of runs and steps."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.api import StepRun, StoryRun, labels
from bobrapet.api.enums import Phase
from bobrapet.reconcilers import glance, wakeups
from bobrapet.reconcilers.builtin import JOB_NAME_LABEL, Pod
from bobrapet.reconcilers.glance import RawStepRun, RawStoryRun
from bobrapet.reconcilers.watches import EnqueueLater
from bobrapet.runtime.event import CreateEvent, DeleteEvent, UpdateEvent
from bobrapet.runtime.reconcile import Request


def steprun(phase: str | None = None, **spec: Any) -> Any:
    found_labels = {labels.STORY_NAME: "etl", labels.QUEUE: "night"}
    status = {"phase": phase} if phase else {}
    return RawStepRun(
        {"metadata": {"name": "s", "namespace": "a", "labels": found_labels}, "spec": spec, "status": status}
    )


@pytest.mark.parametrize(
    ("member", "key"), [({"name": "x"}, "a/x"), ({"name": " x ", "namespace": "b"}, "b/x"), ({}, None), (None, None)]
)
def test_a_reference_means_the_same_as_in_the_models(member: Any, key: str | None) -> None:
    assert glance.reference(steprun(engramRef=member), "engramRef") == key
    if key:
        spec = {"storyRunRef": {"name": "r"}, "stepId": "s", "engramRef": member}
        model = StepRun.model_validate({"metadata": {"namespace": "a"}, "spec": spec})
        assert model.spec.engram_ref is not None
        assert model.spec.engram_ref.key("a") == key


@pytest.mark.parametrize("phase", [None, *Phase])
def test_a_step_is_open_and_holds_slots_as_its_phase_says(phase: Phase | None) -> None:
    raw = steprun(phase)
    model = StepRun.model_validate(
        {
            "metadata": {},
            "spec": {"storyRunRef": {"name": "r"}, "stepId": "s"},
            "status": {"phase": phase} if phase else {},
        }
    )
    ended = model.status.phase is not None and model.status.phase.is_terminal
    assert glance.is_open(raw) is not ended
    slots = ["any", "queue/night", "story/a/etl"]
    assert glance.slots(raw) == ([] if phase in (Phase.PAUSED, Phase.BLOCKED) else slots)
    # What a component reports may be tried again; the slot is free when the controller has judged it.
    raw.set("status", "conditions", value=[{"type": "Finalized", "status": "True", "reason": "Succeeded"}])
    assert glance.slots(raw) == []


def test_what_evaluates_a_template_holds_no_slot() -> None:
    raw = steprun(None)
    assert glance.slots(raw)
    raw.metadata.labels = {**(raw.metadata.labels or {}), "bubustack.io/materialize": "true"}
    assert glance.slots(raw) == []


def waiting_run(reason: str, phase: str = "Pending", **found_labels: str) -> Any:
    states = {
        "a": {"phase": "Running"},
        "b": {"phase": phase, "reason": reason, "startedAt": "2026-01-01T10:00:00.000Z"},
    }
    return RawStoryRun(
        {
            "metadata": {"name": "r", "namespace": "a", "labels": found_labels},
            "spec": {"storyRef": {"name": "etl"}},
            "status": {"stepStates": states},
        }
    )


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        ("StoryConcurrency", {"story/a/etl", "everybody"}),
        ("QueueConcurrency", {"queue/night", "everybody", "contenders/night"}),
        ("GlobalConcurrency", {"any", "everybody", "contenders/night"}),
        ("Priority", {"any", "queue/night", "everybody", "contenders/night"}),
        ("ReferenceNotFound", set()),
    ],
)
def test_a_run_stands_in_the_line_of_the_limit_that_holds_it(reason: str, lines: set[str]) -> None:
    assert set(glance.lines(waiting_run(reason, **{labels.QUEUE: "night"}))) == lines
    assert glance.lines(waiting_run(reason, "Skipped")) == []


def test_a_parallel_step_that_runs_while_branches_of_it_wait_stands_in_line_too() -> None:
    assert set(glance.lines(waiting_run("StoryConcurrency", "Running"))) == {"story/a/etl", "everybody"}


def test_a_run_without_queue_label_waits_in_the_default_queue() -> None:
    found = glance.waiting(waiting_run("QueueConcurrency"))
    assert found is not None
    assert (found.queue, found.priority, found.steps) == ("default", None, 1)
    assert glance.waiting(RawStoryRun({"metadata": {}})) is None


def test_the_pods_of_a_job_wake_its_step_and_other_pods_nobody() -> None:
    mine = {labels.STEPRUN: "run1-fetch", JOB_NAME_LABEL: "run1-fetch"}
    assert wakeups.step_of_pod(Pod({"metadata": {"namespace": "a", "labels": mine}})) == [Request("a", "run1-fetch")]
    assert wakeups.step_of_pod(Pod({"metadata": {"namespace": "a", "labels": {JOB_NAME_LABEL: "other"}}})) == []
    assert wakeups.step_of_pod(Pod({"metadata": {}})) == []


class Queue:
    def __init__(self) -> None:
        self.added: list[tuple[Request, float]] = []

    def add(self, item: Any) -> None:
        raise AssertionError("counters are no reason to hurry")

    add_rate_limited = add

    def add_after(self, item: Any, seconds: float) -> None:
        self.added.append((item, seconds))


async def test_what_only_changes_counters_waits_and_what_is_there_at_the_start_does_not_count() -> None:
    queue, handler = Queue(), EnqueueLater(wakeups.story_of_run, delay=10.0)
    run = RawStoryRun({"metadata": {"namespace": "a"}, "spec": {"storyRef": {"name": "etl"}}})
    await handler.create(CreateEvent(run, is_in_initial_list=True), queue)
    assert queue.added == []
    await handler.create(CreateEvent(run), queue)
    await handler.update(UpdateEvent(None, run), queue)
    await handler.delete(DeleteEvent(run), queue)
    assert queue.added == [(Request("a", "etl"), 10.0)] * 3


def test_the_kinds_are_those_of_the_models() -> None:
    assert (RawStoryRun.KIND, RawStoryRun.API_VERSION) == (StoryRun.KIND, StoryRun.API_VERSION)
