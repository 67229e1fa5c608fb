"""Runs that the Go operator left in the middle are carried on (spec runs 2.2, 9.3, 9.4: the status as it writes it).

It writes neither `active` nor `completed`, no counters of the whole, no reasons of steps, and marks no attempt on Jobs.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from bobrapet.api import StepRun, StoryRun
from bobrapet.reconcilers.builtin import Job
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import NotFound
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.world import World

T0 = World().clock.now()


def at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def left_behind(states: dict[str, Any], **annotations: str) -> dict[str, Any]:
    """A StoryRun in phase Running as the Go operator leaves it."""
    run = storyrun()
    run["metadata"] |= {"finalizers": ["storyrun.bubustack.io/finalizer"], "annotations": annotations}
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "StartingExecution",
        "message": "Starting StoryRun execution",
        "lastTransitionTime": at(T0 - timedelta(seconds=60)),
        "observedGeneration": 1,
    }
    run["status"] = {
        "observedGeneration": 1,
        "phase": "Running",
        "message": "Starting StoryRun execution",
        "conditions": [ready],
        "startedAt": at(T0 - timedelta(seconds=60)),
        "duration": "1m0s",
        "attempts": 1,
        "stepStates": states,
    }
    return run


def steprun(run: dict[str, Any], name: str, **status: Any) -> dict[str, Any]:
    owner = {
        "apiVersion": "runs.bubustack.io/v1alpha1",
        "kind": "StoryRun",
        "name": "run1",
        "uid": run["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "runs.bubustack.io/v1alpha1",
        "kind": "StepRun",
        "metadata": {
            "name": f"run1-{name}",
            "namespace": NAMESPACE,
            "generation": 1,
            "uid": f"step-{name}",
            "labels": {"bubustack.io/storyrun": "run1", "bubustack.io/story-name": "etl"},
            "finalizers": ["steprun.bubustack.io/finalizer"],
            "ownerReferences": [owner],
        },
        "spec": {"storyRunRef": {"name": "run1"}, "stepId": name, "engramRef": {"name": "http"}},
        "status": {"observedGeneration": 1, **status},
    }


def job(of: dict[str, Any]) -> Any:
    name, uid = of["metadata"]["name"], of["metadata"]["uid"]
    owner = {"apiVersion": of["apiVersion"], "kind": "StepRun", "name": name, "uid": uid, "controller": True}
    labels = {"app.kubernetes.io/name": "bobrapet", "bubustack.io/steprun": name, "bubustack.io/storyrun": "run1"}
    container = {"name": "engram", "image": "example/http:1"}
    return Job(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": f"job-{uid}",
                "labels": labels,
                "creationTimestamp": at(T0 - timedelta(seconds=50)),
                "ownerReferences": [owner],
            },
            "spec": {"template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
            "status": {"active": 1},
        }
    )


def world(run: dict[str, Any], *objects: Any, steps: tuple[Any, ...]) -> World:
    typed = [StepRun.model_validate(each) if isinstance(each, dict) else each for each in objects]
    return World(template(), engram(), story(*steps), StoryRun.model_validate(run), *typed)


async def test_a_step_that_runs_is_not_started_again_and_its_end_starts_the_next() -> None:
    run = left_behind({"fetch": {"phase": "Running", "startedAt": at(T0 - timedelta(seconds=50))}})
    fetch = steprun(run, "fetch", phase="Running", startedAt=at(T0 - timedelta(seconds=50)))
    theirs = job(fetch)
    found = world(
        run, fetch, theirs, steps=(step("fetch"), step("next", "fetch", with_={"v": "{{ steps.fetch.output.v }}"}))
    )
    await found.settle()
    kept = await found.client.get(Job, ObjectKey(NAMESPACE, "run1-fetch"))
    assert kept.metadata.uid == theirs.metadata.uid, "the pod that runs was thrown away"
    assert (await found.run()).status.active == ["fetch"]
    await found.component_reports("run1-fetch", phase="Succeeded", output={"v": 7})
    await found.settle()
    assert json.loads((await found.environment("run1-next"))["BUBU_TRIGGER_DATA"]) == {"v": 7}
    await found.component_reports("run1-next", phase="Succeeded")
    await found.settle()
    ended = (await found.run()).status
    assert ended.phase == "Succeeded"
    assert ended.steps_complete == 2


async def test_an_end_that_nobody_saw_while_the_managers_changed_is_seen() -> None:
    run = left_behind({"fetch": {"phase": "Running", "startedAt": at(T0 - timedelta(seconds=50))}})
    done = {"phase": "Succeeded", "startedAt": at(T0 - timedelta(seconds=50)), "finishedAt": at(T0), "output": {"v": 1}}
    found = world(run, steprun(run, "fetch", **done), steps=(step("fetch"), step("next", "fetch")))
    await found.settle()
    assert (await found.step("run1-next")).status.phase == "Running"


async def test_a_finished_step_stays_finished_and_is_not_run_again() -> None:
    states = {"fetch": {"phase": "Succeeded", "startedAt": at(T0 - timedelta(seconds=50)), "finishedAt": at(T0)}}
    run = left_behind(states)
    done = {"phase": "Succeeded", "startedAt": at(T0 - timedelta(seconds=50)), "finishedAt": at(T0)}
    found = world(run, steprun(run, "fetch", **done), steps=(step("fetch"), step("next", "fetch")))
    await found.settle()
    try:
        await found.client.get(Job, ObjectKey(NAMESPACE, "run1-fetch"))
    except NotFound:
        pass
    else:
        raise AssertionError("a step that was done ran again")
    await found.component_reports("run1-next", phase="Succeeded")
    await found.settle()
    assert (await found.run()).status.phase == "Succeeded"


async def test_a_sleeping_step_wakes_at_the_deadline_that_was_written_down() -> None:
    wakes = T0 + timedelta(seconds=30)
    timers = json.dumps({"nap": {"sleepUntil": at(wakes)}})
    run = left_behind(
        {"nap": {"phase": "Running", "startedAt": at(T0 - timedelta(seconds=60))}},
        **{"runs.bubustack.io/step-timers": timers},
    )
    nap = {"name": "nap", "type": "sleep", "with": {"duration": "90s"}}
    found = world(run, steps=(nap, step("next", "nap")))
    await found.sleep(25)
    assert (await found.run()).status.step_states["nap"].phase == "Running"
    await found.sleep(6)
    assert (await found.run()).status.step_states["nap"].phase == "Succeeded"
    assert (await found.step("run1-next")).status.phase == "Running"


async def test_a_step_that_waited_for_a_slot_by_message_alone_gets_one() -> None:
    waiting = {"phase": "Pending", "message": "Queued: story concurrency limit reached (1/1)"}
    run = left_behind({"fetch": waiting})
    found = world(run, steps=(step("fetch"),))
    await found.settle()
    assert (await found.step("run1-fetch")).status.phase == "Running"


async def test_a_sleep_whose_deadline_was_not_written_down_ends_when_its_start_says() -> None:
    run = left_behind({"nap": {"phase": "Running", "startedAt": at(T0 - timedelta(seconds=60))}})
    found = world(run, steps=({"name": "nap", "type": "sleep", "with": {"duration": "90s"}},))
    await found.sleep(29)
    assert (await found.run()).status.step_states["nap"].phase == "Running"
    await found.sleep(2)
    assert (await found.run()).status.phase == "Succeeded"


async def test_a_gate_times_out_at_its_own_deadline_and_an_annotation_that_is_no_json_is_ignored() -> None:
    gate = {"name": "ok", "type": "gate", "with": {"timeout": "1h"}}
    states = {"ok": {"phase": "Running", "startedAt": at(T0 - timedelta(seconds=60))}}
    timers = json.dumps({"ok": {"gateTimeoutAt": at(T0 + timedelta(seconds=10))}})
    found = world(left_behind(states, **{"runs.bubustack.io/step-timers": timers}), steps=(gate,))
    await found.sleep(11)
    assert (await found.run()).status.step_states["ok"].phase == "Timeout"
    found = world(left_behind(states, **{"runs.bubustack.io/step-timers": "no JSON"}), steps=(gate,))
    await found.sleep(11)
    assert (await found.run()).status.step_states["ok"].phase == "Running"
