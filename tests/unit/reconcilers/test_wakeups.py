"""What wakes a reconciler and what does not: each pass costs a millisecond, each missed one a run that hangs."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.reconcilers import watches
from bobrapet.reconcilers.builtin import Job, Pod
from bobrapet.reconcilers.echoes import MOST, Echoes
from bobrapet.reconcilers.glance import RawStepRun
from bobrapet.runtime.event import CreateEvent, UpdateEvent

Object = dict[str, Any]


def job(resource_version: str, **status: Any) -> Any:
    return Job({"metadata": {"name": "j", "uid": "u", "resourceVersion": resource_version}, "status": status})


def pod(**status: Any) -> Any:
    return Pod({"metadata": {"name": "p", "uid": "u"}, "status": status})


def steprun(resource_version: str, uid: str = "u") -> Any:
    return RawStepRun({"metadata": {"name": "s", "uid": uid, "resourceVersion": resource_version}})


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
