"""What wakes a reconciler and what does not: each pass costs a millisecond, each missed one a run that hangs."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.api import labels
from bobrapet.reconcilers import wakeups, watches
from bobrapet.reconcilers.builtin import Job, Pod
from bobrapet.reconcilers.echoes import MOST, Echoes
from bobrapet.reconcilers.glance import RawStepRun, RawStoryRun
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import NotFound
from bobrapet.runtime.event import CreateEvent, UpdateEvent
from bobrapet.runtime.reconcile import Request

Object = dict[str, Any]
FINAL = {"type": "Finalized", "status": "True", "reason": "Timeout"}


def job(resource_version: str, **status: Any) -> Any:
    return Job({"metadata": {"name": "j", "uid": "u", "resourceVersion": resource_version}, "status": status})


def pod(**status: Any) -> Any:
    return Pod({"metadata": {"name": "p", "uid": "u"}, "status": status})


def steprun(resource_version: str, uid: str = "u") -> Any:
    return RawStepRun({"metadata": {"name": "s", "uid": uid, "resourceVersion": resource_version}})


class Shelf:
    """A reader of one object."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    async def get(self, _cls: Any, key: ObjectKey, **_: Any) -> Any:
        if key != ObjectKey.of(self._obj):
            raise NotFound(f"{key} is not there")
        return self._obj


def child(*, owner_uid: str = "r", **status: Any) -> Any:
    owner = {"apiVersion": "runs.bubustack.io/v1alpha1", "kind": "StoryRun", "name": "r1", "uid": owner_uid}
    metadata = {"name": "r1-a", "namespace": "wf", "ownerReferences": [{**owner, "controller": True}]}
    return RawStepRun({"metadata": metadata, "status": status})


def ended_run(phase: str, **status: Any) -> Any:
    metadata = {"name": "r1", "namespace": "wf", "uid": "r"}
    return RawStoryRun({"metadata": metadata, "status": {"phase": phase, **status}})


async def test_a_step_that_shows_up_after_the_end_of_its_run_wakes_the_run() -> None:
    """Found by the simulation: its run could not ask it to end, and it went on until its own timeout."""
    wake = wakeups.WakeUps(Shelf(ended_run("Timeout")))  # type: ignore[arg-type]
    assert await wake.ended_run_of_child(child()) == [Request("wf", "r1")]
    assert await wake.ended_run_of_child(child(phase="Succeeded")) == []
    assert await wake.ended_run_of_child(child(owner_uid="of an earlier run")) == []


async def test_a_step_that_shows_up_after_its_run_said_that_all_are_deleted_wakes_the_run() -> None:
    """Found by the simulation: an operator that had just started saw no steps, and nobody deleted them any more."""
    wake = wakeups.WakeUps(Shelf(ended_run("Succeeded", childrenCleanedAt="2026-01-01T00:00:00Z")))  # type: ignore[arg-type]
    assert await wake.ended_run_of_child(child(phase="Succeeded")) == [Request("wf", "r1")]


async def test_a_step_that_shows_up_while_its_run_goes_on_wakes_nobody() -> None:
    wake = wakeups.WakeUps(Shelf(ended_run("Running")))  # type: ignore[arg-type]
    assert await wake.ended_run_of_child(child()) == []


def test_a_job_that_counts_its_pods_wakes_no_step() -> None:
    assert not watches.attempt_changed(UpdateEvent(job("1"), job("2", active=1, ready=0)))
    assert not watches.attempt_changed(UpdateEvent(job("2", active=1), job("3", uncountedTerminatedPods={})))


@pytest.mark.parametrize("type", ["Complete", "Failed"])
def test_a_job_that_has_ended_wakes_its_step(type: str) -> None:
    assert watches.attempt_changed(UpdateEvent(job("1"), job("2", conditions=[{"type": type, "status": "True"}])))


def test_a_job_that_is_being_deleted_wakes_its_step() -> None:
    gone = job("2")
    gone.object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert watches.attempt_changed(UpdateEvent(job("1"), gone))


@pytest.mark.parametrize(
    ("attempt", "status", "wakes"),
    [
        ("0", {"phase": "Running"}, False),
        ("1", {"phase": "Running", "retries": 1}, False),
        ("0", {"phase": "Pending", "retries": 1}, True),  # the Job of an attempt that is over
        ("1", {"phase": "Timeout", "retries": 1, "conditions": [FINAL]}, True),
    ],
)
async def test_a_job_wakes_the_step_that_ended_or_went_on_before_the_cache_showed_it(
    attempt: str, status: Object, wakes: bool
) -> None:
    reader: Any = Shelf(RawStepRun({"metadata": {"name": "j", "namespace": "a"}, "status": status}))
    new = Job({"metadata": {"name": "j", "namespace": "a", "annotations": {labels.ANNOTATION_ATTEMPT: attempt}}})
    assert await wakeups.WakeUps(reader).step_of_new_job(new) == ([Request("a", "j")] if wakes else [])
    unknown = Job({"metadata": {"name": "k", "namespace": "a"}})
    assert await wakeups.WakeUps(reader).step_of_new_job(unknown) == []


def test_a_new_pod_wakes_its_step_only_if_it_cannot_run_or_has_ended() -> None:
    assert not watches.pod_tells(CreateEvent(pod(phase="Pending")))
    assert watches.pod_tells(CreateEvent(pod(phase="Failed")))
    unschedulable = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
    assert watches.pod_tells(CreateEvent(pod(phase="Pending", conditions=unschedulable)))


def test_a_pod_wakes_its_step_when_the_engine_sees_a_difference() -> None:
    running, ready = pod(phase="Running"), pod(phase="Running", conditions=[{"type": "Ready", "status": "True"}])
    assert watches.pod_changed(UpdateEvent(pod(phase="Pending"), running))
    assert not watches.pod_changed(UpdateEvent(running, ready))
    over = {"name": "engram", "state": {"terminated": {"exitCode": 3}}}
    assert watches.pod_changed(UpdateEvent(running, pod(phase="Running", containerStatuses=[over])))


def test_a_version_that_was_written_here_is_an_echo_once() -> None:
    echoes = Echoes()
    echoes.note(steprun("2"))
    assert echoes.is_echo(UpdateEvent(steprun("1"), steprun("2")))
    assert not echoes.is_echo(UpdateEvent(steprun("1"), steprun("2")))


def test_a_later_version_of_another_writer_is_no_echo_nor_is_another_object() -> None:
    echoes = Echoes()
    echoes.note(steprun("2"))
    assert not echoes.is_echo(UpdateEvent(steprun("1"), steprun("3")))
    assert not echoes.is_echo(UpdateEvent(steprun("1", "other"), steprun("2", "other")))


def test_an_echo_wakes_when_a_pass_has_looked_at_an_older_version_meanwhile() -> None:
    echoes = Echoes()
    echoes.note(steprun("2"))
    echoes.looked_at(steprun("1"))
    assert not echoes.is_echo(UpdateEvent(steprun("1"), steprun("2")))


def test_a_resync_is_no_echo() -> None:
    echoes = Echoes()
    echoes.note(steprun("2"))
    assert not echoes.is_echo(UpdateEvent(steprun("2"), steprun("2")))


def test_echoes_that_never_come_do_not_pile_up() -> None:
    echoes = Echoes()
    for number in range(MOST + 1):
        echoes.note(steprun("2", f"u{number}"))
    assert len(echoes._written) <= MOST
