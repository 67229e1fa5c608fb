"""A result gets into the StepRun once, and only while it is still wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.report import Fenced, Reporter, ReportRefused, ReportTooLarge
from bobrapet.sdk.step_run_api import Refused, Unreachable
from tests.unit.sdk.fakes import FakeStepRun

SUCCESS = {"phase": "Succeeded", "output": {"n": 1}}
STEP = StepIdentity(namespace="team-a", step_run="run1-fetch", pod="pod-1", attempt=0)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def reporter(api: FakeStepRun, step: StepIdentity = STEP, clock: Clock | None = None) -> Reporter:
    clock = clock or Clock()
    return Reporter(api, step, sleep=clock.sleep, clock=clock, jitter=lambda: 0.5)


def test_the_patch_names_the_version_it_was_decided_on() -> None:
    api = FakeStepRun()
    reporter(api).report(SUCCESS)
    assert api.patches == [{"metadata": {"resourceVersion": "7"}, "status": SUCCESS}]


@pytest.mark.parametrize("phase", ["", "Pending", "Running", "Paused", "Blocked", "Scheduling"])
def test_a_step_that_goes_on_may_succeed_even_when_the_controller_is_late(phase: str) -> None:
    api = FakeStepRun({"phase": phase})
    reporter(api).report(SUCCESS)
    assert api.status["phase"] == "Succeeded"


@pytest.mark.parametrize("phase", ["Succeeded", "Canceled", "Timeout", "Aborted", "Finished", "Skipped", "Compensated"])
def test_a_final_phase_is_never_overwritten(phase: str) -> None:
    api = FakeStepRun({"phase": phase})
    with pytest.raises(Fenced, match=phase):
        reporter(api).report({"phase": "Failed"})
    assert api.patches == []


def test_a_late_success_corrects_a_failure_but_a_late_timeout_does_not() -> None:
    with pytest.raises(Fenced):
        reporter(FakeStepRun({"phase": "Failed"})).report({"phase": "Timeout"})
    api = FakeStepRun({"phase": "Failed"})
    reporter(api).report(SUCCESS)
    assert api.status["phase"] == "Succeeded"


@pytest.mark.spec("workloads-37")
def test_a_pod_of_an_earlier_attempt_is_fenced() -> None:
    api = FakeStepRun({"phase": "Running", "retries": 1})
    with pytest.raises(Fenced, match="attempt 1"):
        reporter(api).report(SUCCESS)
    assert api.patches == []


@pytest.mark.spec("workloads-37")
def test_a_retry_scheduled_between_reading_and_patching_still_fences() -> None:
    api = FakeStepRun({"phase": "Running"})
    api.on_get.append(lambda server: server.write({"phase": "Pending", "retries": 1}))
    with pytest.raises(Fenced):
        reporter(api).report(SUCCESS)
    assert api.status["phase"] == "Pending"


def test_another_pod_of_the_same_attempt_is_fenced() -> None:
    api = FakeStepRun({"phase": "Running", "podName": "pod-2"})
    with pytest.raises(Fenced, match="pod-2"):
        reporter(api).report(SUCCESS)


def test_an_operator_that_does_not_number_attempts_fences_by_pod_only() -> None:
    api = FakeStepRun({"phase": "Running", "retries": 3, "podName": "pod-1"})
    reporter(api, StepIdentity(namespace="n", step_run="s", pod="pod-1")).report(SUCCESS)
    assert len(api.patches) == 1


def test_a_conflict_is_read_and_patched_again() -> None:
    api = FakeStepRun()
    api.on_get.append(lambda server: server.write({"podName": "pod-1"}))
    reporter(api).report(SUCCESS)
    assert api.status["phase"] == "Succeeded"


def test_a_server_that_restarts_is_waited_for_longer_than_the_number_of_tries() -> None:
    clock = Clock()
    api = FakeStepRun(failures=[Unreachable("connection refused")] * 9)
    reporter(api, clock=clock).report(SUCCESS)
    assert len(api.patches) == 1
    assert clock.pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert max(clock.pauses) <= 5.0


def test_giving_up_says_what_was_tried_and_stays_within_the_budget() -> None:
    clock = Clock()
    with pytest.raises(ReportRefused, match="no success within 30s, last: connection refused"):
        reporter(FakeStepRun(failures=[Unreachable("connection refused")] * 99), clock=clock).report(SUCCESS)
    assert clock.now <= 30


@pytest.mark.parametrize("code", [500, 503, 429, 409])
def test_passing_refusals_are_repeated_five_times(code: int) -> None:
    api = FakeStepRun(failures=[Refused(code, "busy")] * 5)
    reporter(api).report(SUCCESS)
    assert len(api.patches) == 1
    with pytest.raises(ReportRefused, match="busy"):
        reporter(FakeStepRun(failures=[Refused(code, "busy")] * 6)).report(SUCCESS)


@pytest.mark.parametrize("code", [400, 401, 403, 422])
def test_a_refusal_that_stays_is_not_repeated(code: int) -> None:
    clock = Clock()
    with pytest.raises(ReportRefused, match="no rights"):
        reporter(FakeStepRun(failures=[Refused(code, "no rights")]), clock=clock).report(SUCCESS)
    assert clock.pauses == []


def test_a_deleted_step_run_wants_no_result() -> None:
    with pytest.raises(Fenced, match="gone"):
        reporter(FakeStepRun(failures=[Refused(404, "not found")])).report(SUCCESS)


@pytest.mark.parametrize("answer", [Refused(413, "big"), Refused(422, "etcdserver: request is too large")])
def test_a_refusal_of_the_size_is_told_apart(answer: Refused) -> None:
    with pytest.raises(ReportTooLarge):
        reporter(FakeStepRun(failures=[answer])).report(SUCCESS)


@given(st.lists(st.sampled_from([Unreachable("x"), Refused(503, "x"), Refused(409, "x")]), max_size=5))
def test_whatever_passing_failures_come_first_exactly_one_patch_gets_in(failures: list) -> None:  # type: ignore[type-arg]
    api = FakeStepRun(failures=list(failures))
    reporter(api).report(SUCCESS)
    assert len(api.patches) == 1
