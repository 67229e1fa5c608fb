from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bobrapet.local.node.status import (
    Container,
    Terminated,
    Verdict,
    Waiting,
    containers_of,
    phase,
    pod_status,
    recall,
)

from .pods import container, pod

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1 = T0 + timedelta(seconds=5)


def ended(code: int) -> Terminated:
    return Terminated(code, "Completed" if code == 0 else "Error", T1, T0)


def after(*codes: int | None, policy: str = "Never", inits: int = 0) -> str:
    """The phase of a pod whose containers ended with these codes; None: still runs."""
    names = [f"c{number}" for number in range(len(codes))]
    made = pod(*(container(name) for name in names[inits:]), initContainers=[container(name) for name in names[:inits]])
    states = []
    for entry, code in zip(containers_of(made), codes, strict=True):
        running = entry.runs("id", T0)
        states.append(running if code is None else running.ends(ended(code)))
    return phase(states, policy)


@pytest.mark.parametrize(
    ("codes", "policy", "expected"),
    [
        ((None,), "Never", "Running"),
        ((0,), "Never", "Succeeded"),
        ((3,), "Never", "Failed"),
        ((0, 1), "Never", "Failed"),
        ((0, None), "Never", "Running"),
        ((1,), "OnFailure", "Running"),
        ((0,), "OnFailure", "Succeeded"),
        ((0,), "Always", "Running"),
    ],
)
def test_the_phase_follows_from_the_containers_and_the_restart_policy(
    codes: tuple[int | None, ...], policy: str, expected: str
) -> None:
    assert after(*codes, policy=policy) == expected


def test_a_failed_init_container_fails_a_pod_that_never_restarts_and_keeps_the_others_pending() -> None:
    assert after(1, None, inits=1) == "Failed"
    assert after(1, None, inits=1, policy="OnFailure") == "Pending"
    assert after(0, None, inits=1) == "Running"


def status_of(*containers: Container, before: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    made = pod()
    if before is not None:
        made["status"] = before
    return pod_status(made, containers, started_at=T0, now=T1, ip="127.0.0.1", **options)


def test_a_running_pod_is_ready_and_says_since_when() -> None:
    (fresh,) = containers_of(pod())
    status = status_of(fresh.runs("bobrapet://1", T0))
    assert status["phase"] == "Running"
    assert status["containerStatuses"][0]["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    assert status["containerStatuses"][0]["containerID"] == "bobrapet://1"
    assert {entry["type"]: entry["status"] for entry in status["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
    }


def test_a_killed_container_is_reported_with_code_reason_signal_and_times() -> None:
    (fresh,) = containers_of(pod())
    end = Terminated(143, "Error", T1, T0, signal=15)
    status = status_of(fresh.runs("bobrapet://1", T0).ends(end))
    assert status["phase"] == "Failed"
    assert status["containerStatuses"][0]["state"]["terminated"] == {
        "exitCode": 143,
        "signal": 15,
        "reason": "Error",
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:00:05Z",
        "containerID": "bobrapet://1",
    }


def test_a_condition_keeps_its_transition_time_while_its_status_stays() -> None:
    (fresh,) = containers_of(pod())
    earlier = {"type": "Initialized", "status": "True", "lastTransitionTime": "2025-12-31T00:00:00Z", "reason": "x"}
    status = status_of(fresh.runs("i", T0), before={"conditions": [earlier]})
    kept = {entry["type"]: entry for entry in status["conditions"]}
    assert kept["Initialized"]["lastTransitionTime"] == "2025-12-31T00:00:00Z"
    assert kept["Initialized"]["reason"] is None  # taken away
    assert kept["Ready"]["lastTransitionTime"] == "2026-01-01T00:00:05Z"


def test_a_verdict_of_the_node_overrules_the_containers_and_gives_its_reason() -> None:
    (fresh,) = containers_of(pod())
    status = status_of(fresh.waits("ErrImagePull"), verdict=Verdict("Failed", "DeadlineExceeded", "too long"))
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "DeadlineExceeded", "too long")


def test_a_restart_counts_and_remembers_how_the_last_start_ended() -> None:
    (fresh,) = containers_of(pod())
    again = fresh.runs("1", T0).ends(ended(1)).restarts_after("CrashLoopBackOff", "wait")
    (status,) = status_of(again)["containerStatuses"]
    assert status["restartCount"] == 1
    assert status["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "wait"}}
    assert status["lastState"]["terminated"]["exitCode"] == 1


def told(*containers: Container) -> dict[str, Any]:
    """A pod whose API object holds what was reported of these containers."""
    made = pod(*(container(entry.name) for entry in containers))
    made["status"] = pod_status(made, containers, started_at=T0, now=T1, ip="127.0.0.1")
    return made


def test_what_ran_when_the_node_died_is_recalled_as_killed() -> None:
    (fresh,) = containers_of(pod())
    (recalled,) = recall(told(fresh.runs("1", T0)), {"engram": 0}, T1)
    assert isinstance(recalled.state, Terminated)
    assert (recalled.state.exit_code, recalled.state.reason) == (137, "Error")
    assert recalled.state.started_at == T0
    assert phase([recalled], "Never") == "Failed"


def test_a_start_that_was_never_reported_counts_as_a_start() -> None:
    (recalled,) = recall(pod(), {"engram": 0}, T1)
    assert isinstance(recalled.state, Terminated)
    assert recalled.state.exit_code == 137


def test_an_end_that_was_reported_is_kept_and_what_never_started_is_still_to_start() -> None:
    done, fresh = containers_of(pod(container("done"), container("fresh")))
    recalled = recall(told(done.runs("1", T0).ends(ended(0)), fresh), {"done": 0}, T1)
    assert recalled[0].succeeded
    assert recalled[1].state == Waiting("ContainerCreating")


def test_a_restart_that_was_never_reported_ends_as_killed_too() -> None:
    (fresh,) = containers_of(pod())
    (recalled,) = recall(told(fresh.runs("1", T0).ends(ended(1))), {"engram": 1}, T1)
    assert recalled.restarts == 1
    assert isinstance(recalled.state, Terminated)
    assert recalled.state.exit_code == 137
