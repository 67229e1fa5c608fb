"""Regressions named after the defects of the Go engine (spec runs 25) that no other test names.

Every defect B-01 to B-50 has a test `test_bNN_...`: `grep -rn "def test.*b07" tests` finds the one of B-07.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from bobrapet import engine
from bobrapet.api import Story, StoryRun
from bobrapet.engine.run import plan
from bobrapet.engine.snapshot import RunSnapshot
from tests.unit.engine.world import MINUTE, SECOND, World, step, story, template
from tests.unit.engine.world import engram as make_engram


def test_b02_allowed_failures_are_recorded_and_told_with_an_output_too() -> None:
    world = World(story(step("a", allowFailure=True), output={"v": 1}))
    world.reconcile()
    world.end("a", "Failed").reconcile()
    assert list(world.run.status.allowed_failures) == ["a"]
    assert world.run.status.message == "all steps ended; allowed failures: a"


def test_b11_an_engram_is_looked_up_where_its_story_lives() -> None:
    world = World(
        None,
        storyRef={"name": "s", "namespace": "lib"},
        config={"references.cross-namespace-policy": "allow"},
        engram_=make_engram(namespace="lib"),
    )
    world.stories["lib/s"] = story("a", namespace="lib")
    world.reconcile()
    reference = world.steps["r1-a"].spec.engram_ref
    assert reference is not None
    assert reference.key(None) == "lib/worker"
    assert world.plan_step("a").start is not None


def test_b12_b13_progress_is_filled_and_every_failure_counted() -> None:
    world = World(story("a", "b", "c: needs a", policy={"retries": {"continueOnStepFailure": True}}, finally_=["f"]))
    world.reconcile()
    assert (list(world.run.status.active), world.run.status.steps_total) == (["a", "b"], 4)
    world.end("a", "Timeout").end("b").reconcile()
    status = world.run.status
    assert list(status.active) == ["f"]
    assert list(status.completed) == ["b", "c"]
    assert (status.steps_complete, status.steps_failed, status.steps_skipped) == (1, 1, 1)


def calls(steps: int) -> int:
    """Function calls that one plan takes: a measure of work that no busy machine disturbs."""
    found = story(
        *(step(f"s{index}", if_="{{ inputs.ok }}") for index in range(steps)), output={"v": "{{ inputs.ok }}"}
    )
    world = World(found, inputs={"ok": True})
    snapshot: RunSnapshot = world.snapshot()
    plan(snapshot, world.now)  # fills what is remembered: graph, names, compiled templates
    counted = 0

    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1

    sys.setprofile(count)
    try:
        plan(snapshot, world.now)
    finally:
        sys.setprofile(None)
    return counted


def test_b44_the_work_of_a_pass_grows_with_the_steps_and_not_with_their_square() -> None:
    assert calls(1000) < 5 * calls(250)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_run_of_a_thousand_steps_stays_small(phase: str) -> None:
    found = story(*(f"step-with-a-long-name-{index:04}" for index in range(1000)))
    world = World(found)
    world.reconcile()
    for index in range(1000):
        world.end(f"step-with-a-long-name-{index:04}", phase, "x" * 8000)
    world.reconcile()
    assert world.phase.startswith(phase)
    assert len(world.run.model_dump_json(by_alias=True, exclude_unset=True)) < 256 * 1024


@pytest.mark.parametrize(
    ("found", "inputs", "reason"),
    [
        (story("a", inputsSchema={"required": ["n"]}), {}, "InputSchemaFailed"),
        (story("a"), {"x": "y" * 2000}, "InputTooLarge"),
        (story("a: needs a"), {}, "InvalidConfiguration"),
    ],
)
def test_b50_every_early_end_is_cleaned_up_by_the_clock_alone(
    found: Story, inputs: dict[str, Any], reason: str
) -> None:
    world = World(found, inputs=inputs, config={"storyrun.retention-seconds": "10"})
    world.reconcile()
    assert world.phase == f"Failed/{reason}"
    world.at(10 * SECOND).reconcile()
    assert not world.runs


def test_b47_a_run_that_times_out_or_is_compensated_has_times_like_any_other() -> None:
    world = World(story("g: gate", policy={"timeouts": {"story": "1m"}}))
    world.reconcile()
    world.at(MINUTE).reconcile()
    assert (world.phase, world.run.status.duration) == ("Timeout/TimedOut", "1m0s")


def test_b49_a_steprun_is_never_patched_back_to_an_unmerged_retry_policy() -> None:
    recommended = template(execution={"retry": {"recommendedBackoff": "linear", "recommendedBaseDelay": "7s"}})
    world = World(story("a"), template_=recommended)
    world.reconcile()
    retry = world.steps["r1-a"].spec.retry
    assert retry is not None
    assert retry.to_wire() == {"maxRetries": 3, "delay": "7s", "backoff": "linear"}
    assert not any(found.cancels for found in world.log)
    before = world.steps["r1-a"].to_wire()
    world.at(MINUTE).reconcile()
    assert world.steps["r1-a"].to_wire() == before


@pytest.mark.spec("runs-95")
def test_an_operator_that_starts_anew_finds_everything_in_the_objects() -> None:
    world = World(story("a", "b: needs a", "s: sleep 1h"))
    world.reconcile()
    world.end("a")
    # Nothing of the old process is left: every object is read again.
    world.runs = {name: StoryRun.model_validate(run.to_wire()) for name, run in world.runs.items()}
    timer = world.run.status.step_states["s"].until
    world.at(MINUTE).reconcile()
    assert list(world.steps) == ["r1-a", "r1-b"]
    assert world.run.status.step_states["s"].until == timer
    assert world.run.status.attempts == 1


def test_b41_a_wait_over_offloaded_data_is_judged_anew_at_every_look() -> None:
    stored = {"$bubuStorageRef": "outputs/wf/r1-a/state.json"}
    until = {"until": '{{ eq steps.a.output.state "ready" }}', "pollInterval": "10s"}
    world = World(
        story("a", step("w: wait", with_=until, needs=["a"])), config={"templating.offloaded-data-policy": "controller"}
    )
    world.has_storage = True
    world.reconcile()
    world.end("a", state=stored)
    world.payloads[stored["$bubuStorageRef"]] = "not yet"
    world.reconcile()
    assert world.state("w") == "Paused"
    world.payloads[stored["$bubuStorageRef"]] = "ready"
    world.at(10 * SECOND).reconcile()
    assert world.state("w") == "Succeeded"


def test_b43_templates_are_evaluated_in_one_room_and_no_file_is_giant() -> None:
    files = sorted(Path(engine.__file__).parent.rglob("*.py"))
    assert [file.name for file in files if re.search("import .*Evaluator", file.read_text())] == ["evaluation.py"]
    assert [file.name for file in files if len(file.read_text().splitlines()) > 640] == []
