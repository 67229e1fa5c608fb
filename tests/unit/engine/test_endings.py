"""Requirements on how runs end: cleanup blocks, timeouts, outputs, inputs, cancel (spec runs 6, 13, 15, 16, 19)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bobrapet.engine.run import plan
from tests.unit.engine.world import MINUTE, SECOND, T0, World, step, story

HOUR = 60 * MINUTE


@pytest.mark.spec("runs-45")
def test_compensations_run_after_a_failure_and_the_run_is_compensated() -> None:
    world = World(story("a", compensations=["k"]))
    world.reconcile()
    world.end("a", "Failed", "boom").reconcile()
    assert world.states == {"a": "Failed", "k": "Running"}
    world.end("k").reconcile()
    assert world.phase == "Compensated/Compensated"
    assert world.condition("Degraded") == "False"
    assert world.run.status.error is not None
    assert "boom" in world.run.status.error["message"]


@pytest.mark.spec("runs-46")
def test_compensations_are_skipped_when_nothing_failed() -> None:
    world = World(story("a", compensations=["k"]))
    world.reconcile()
    world.end("a").reconcile()
    assert world.state("k") == "Skipped/NotNeeded"
    assert world.phase == "Succeeded/Completed"


@pytest.mark.spec("runs-47")
def test_a_failed_compensation_fails_the_run() -> None:
    world = World(story("a", compensations=["k", "l: needs k"]))
    world.reconcile()
    world.end("a", "Failed").reconcile()
    world.end("k", "Failed").reconcile()
    assert world.state("l") == "Running"  # a failed compensation stops no other
    world.end("l").reconcile()
    assert world.phase == "Failed/CompensationFailed"
    assert world.run.status.error is not None
    assert [entry["name"] for entry in world.run.status.error["failedSteps"]] == ["a", "k"]


@pytest.mark.spec("runs-48")
def test_finally_runs_after_a_failure() -> None:
    world = World(story("a", finally_=["f"]))
    world.reconcile()
    world.end("a", "Failed").reconcile()
    assert world.states == {"a": "Failed", "f": "Running"}
    world.end("f").reconcile()
    assert world.phase == "Failed/DependencyFailed"


@pytest.mark.spec("runs-49")
def test_a_failed_finally_fails_the_run_without_output() -> None:
    world = World(story("a", finally_=["f"], output={"v": 1}))
    world.reconcile()
    world.end("a").reconcile()
    world.end("f", "Failed").reconcile()
    assert world.phase == "Failed/CleanupFailed"
    assert world.run.status.output is None


def test_b27_a_compensation_may_write_a_main_step_with_underscores() -> None:
    world = World(story("deploy-app", "b", compensations=[step("k", with_={"v": "{{ steps.deploy_app.output.v }}"})]))
    world.reconcile()
    world.end("deploy-app", v=3).end("b", "Failed").reconcile()
    found = world.plan_step("k")
    assert found.start is not None
    assert found.start.inputs == {"v": 3}


def test_a_compensation_reads_a_failed_step_as_null() -> None:
    world = World(story("a", compensations=[step("k", with_={"v": "{{ steps.a.output.v }}"})]))
    world.reconcile()
    world.end("a", "Failed").reconcile()
    found = world.plan_step("k")
    assert found.start is not None
    assert found.start.inputs == {"v": None}


@pytest.mark.spec("runs-50")
def test_b32_a_run_over_its_time_is_cut_off_cleaned_up_and_ends_as_timeout() -> None:
    world = World(story("a", "b: needs a", finally_=["f"], policy={"timeouts": {"story": "1h"}}))
    assert world.reconcile().wake_at == T0 + HOUR
    world.at(HOUR).reconcile()
    assert world.states == {"a": "Timeout", "b": "Skipped", "f": "Running"}
    assert world.steps["r1-a"].metadata.annotations["bubustack.io/cancel-requested"] == "true"
    world.end("f").reconcile()
    assert world.phase == "Timeout/TimedOut"
    assert world.run.status.error is not None
    assert world.run.status.error["type"] == "TimedOut"
    assert "impulse-failed" in world.run.status.trigger_tokens  # B-47


def test_the_cleanup_of_a_run_over_its_time_is_bounded() -> None:
    world = World(story("a", finally_=["f"], policy={"timeouts": {"story": "1h"}}))
    world.reconcile()
    assert world.at(HOUR).reconcile().wake_at == T0 + HOUR + 20 * SECOND
    world.at(HOUR + 20 * SECOND).reconcile()
    assert world.state("f").startswith("Timeout")
    assert world.phase == "Timeout/TimedOut"
    assert not world.steps


def test_compensations_run_after_a_timeout_but_the_run_stays_a_timeout() -> None:
    world = World(story("a", compensations=["k"], policy={"timeouts": {"story": "1h"}}))
    world.reconcile()
    world.at(HOUR).reconcile()
    world.end("k").reconcile()
    assert world.phase == "Timeout/TimedOut"


def test_a_run_whose_steps_ended_in_time_has_not_timed_out_because_nobody_looked() -> None:
    world = World(story("a", policy={"timeouts": {"story": "1h"}}))
    world.reconcile()
    world.end("a")
    world.at(2 * HOUR).reconcile()
    assert world.phase == "Succeeded/Completed"


@pytest.mark.spec("runs-51")
def test_b30_an_output_is_stored_with_everything_that_belongs_to_success() -> None:
    world = World(
        story("a", output={"v": "{{ steps.a.output.v }}"}, outputsSchema={"properties": {"v": {"type": "integer"}}})
    )
    world.reconcile()
    world.end("a", v=4).reconcile()
    assert world.run.status.output == {"v": 4}
    assert "impulse-success" in world.run.status.trigger_tokens
    assert (world.condition("Progressing"), world.condition("Ready")) == ("False", "True")
    assert world.run.status.output_schema_ref is not None
    assert world.run.status.output_schema_ref.ref == "bubu://story/wf/s/output"


@pytest.mark.spec("runs-52")
def test_an_output_that_violates_its_schema_fails_the_run() -> None:
    world = World(story("a", output={"v": "text"}, outputsSchema={"properties": {"v": {"type": "integer"}}}))
    world.reconcile()
    world.end("a").reconcile()
    assert world.phase == "Failed/OutputSchemaFailed"
    assert world.run.status.error is not None


@pytest.mark.spec("runs-53")
def test_an_output_that_is_too_large_is_left_out_and_told() -> None:
    world = World(story("a", "b", "c", "d", "e", output={name: f"{{{{ steps.{name}.output }}}}" for name in "abcde"}))
    world.reconcile()
    for name in "abcde":
        world.end(name, v="x" * 220_000)
    world.reconcile()
    assert world.phase == "Succeeded/Completed"
    assert world.run.status.output is None
    assert (world.condition("Ready"), world.condition("Degraded")) == ("True", "True")


def test_an_output_that_cannot_be_evaluated_fails_the_run() -> None:
    world = World(story("a", output={"v": "{{ steps.a.output.nope }}"}))
    world.reconcile()
    world.end("a", v=1).reconcile()
    assert world.phase == "Failed/OutputResolutionFailed"
    assert "nope" in (world.run.status.message or "")


@pytest.mark.spec("runs-54", "runs-97")
def test_b14_inputs_that_violate_the_schema_fail_the_run_and_it_is_cleaned_up_all_the_same() -> None:
    world = World(story("a", inputsSchema={"required": ["n"]}), config={"storyrun.retention-seconds": "10"})
    wake = world.reconcile().wake_at
    assert world.phase == "Failed/InputSchemaFailed"
    assert world.run.status.error is not None
    assert wake == T0 + 10 * SECOND
    world.at(10 * SECOND).reconcile()
    assert not world.runs


@pytest.mark.spec("runs-55")
def test_b06_a_default_satisfies_a_required_input() -> None:
    world = World(
        story(
            step("a", with_={"n": "{{ inputs.n }}"}),
            inputsSchema={"required": ["n"], "properties": {"n": {"default": 3}}},
        )
    )
    world.reconcile()
    found = world.plan_step("a")
    assert found.start is not None
    assert found.start.inputs == {"n": 3}


@pytest.mark.spec("runs-56")
def test_b09_a_run_with_too_large_inputs_fails_and_can_be_deleted() -> None:
    world = World(story("a"), inputs={"x": "y" * 2000})
    world.reconcile()
    assert world.phase == "Failed/InputTooLarge"
    world.patch(
        world.run,
        {"metadata": {"deletionTimestamp": "2026-01-01T10:00:00Z", "finalizers": ["storyrun.bubustack.io/finalizer"]}},
    )
    assert world.plan().metadata == {"metadata": {"finalizers": None}}


@pytest.mark.spec("runs-57")
def test_b03_a_run_waits_for_its_story_and_then_really_runs() -> None:
    world = World(None)
    world.reconcile()
    assert world.phase == "Pending/StoryNotFound"
    assert world.events == [("Warning", "StoryNotFound")]
    world.stories["wf/s"] = story("a")
    world.reconcile()
    assert world.phase == "Running/StartingExecution"
    assert (world.run.status.attempts, bool(world.run.status.started_at)) == (1, True)


@pytest.mark.spec("runs-58")
def test_b07_a_run_for_another_version_of_its_story_fails() -> None:
    world = World(story("a", version="v2"), storyRef={"name": "s", "version": "v1"})
    world.reconcile()
    assert world.phase == "Failed/StoryReferenceInvalid"


def test_a_story_in_a_forbidden_namespace_fails_the_run_once() -> None:
    world = World(None, storyRef={"name": "s", "namespace": "other"})
    world.stories["other/s"] = story("a", namespace="other")
    world.reconcile()
    assert world.phase == "Failed/StoryReferenceInvalid"
    world.reconcile()
    assert world.events == [("Warning", "StoryReferenceInvalid")]


def test_b05_a_policy_that_changes_later_leaves_finished_runs_alone() -> None:
    world = World(
        None,
        storyRef={"name": "s", "namespace": "other"},
        config={"references.cross-namespace-policy": "allow"},
    )
    world.stories["other/s"] = story("g: gate", namespace="other")
    world.reconcile()
    world.patch(world.run, {"status": {"gates": {"g": {"state": "Approved"}}}})
    world.reconcile()
    world.config = World(None).config
    world.reconcile()
    assert world.phase == "Succeeded/Completed"


@pytest.mark.spec("runs-59")
def test_b35_a_canceled_run_drains_its_steps_and_finishes() -> None:
    world = World(story("a", "b: needs a", "g: gate"))
    world.reconcile()
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    assert world.reconcile().wake_at == T0 + 20 * SECOND
    assert world.steps["r1-a"].metadata.annotations["bubustack.io/cancel-requested"] == "true"
    assert world.states == {"a": "Running", "b": "Skipped", "g": "Canceled"}
    world.end("a", "Canceled").reconcile()
    assert world.states == {"a": "Canceled", "b": "Skipped", "g": "Canceled"}
    assert world.phase == "Finished/Canceled"


@pytest.mark.spec("runs-60")
def test_b04_a_step_that_does_not_drain_is_cut_off_and_the_run_cleaned_up() -> None:
    world = World(story("a"), config={"job.ttl-seconds-after-finished": "5", "storyrun.retention-seconds": "10"})
    world.reconcile()
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    world.reconcile()
    assert world.at(19 * SECOND).reconcile().wake_at == T0 + 20 * SECOND
    world.at(20 * SECOND).reconcile()
    assert not world.steps
    assert world.phase == "Finished/Canceled"
    world.at(30 * SECOND).reconcile()
    assert not world.runs


@pytest.mark.spec("runs-61")
def test_b04_a_finished_run_is_not_canceled_any_more() -> None:
    world = World(story("a"))
    world.reconcile()
    world.end("a").reconcile()
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    world.reconcile()
    assert world.phase == "Succeeded/Completed"


def test_a_canceled_run_still_runs_its_finally_steps_for_a_while() -> None:
    world = World(story("a", finally_=["f"], compensations=["k"]))
    world.reconcile()
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    world.reconcile()
    world.end("a", "Canceled").reconcile()
    assert world.states == {"a": "Canceled", "k": "Skipped", "f": "Running"}
    assert "bubustack.io/cancel-requested" not in world.steps["r1-f"].metadata.annotations
    world.at(40 * SECOND).reconcile()
    assert world.phase == "Finished/Canceled"


def test_b35_cancel_reaches_child_runs() -> None:
    world = World(story(step("e: executeStory", with_={"storyRef": {"name": "child"}})))
    world.stories["wf/child"] = story("x", name="child")
    world.reconcile()
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    world.reconcile()
    assert world.runs["r1-e"].spec.cancel_requested
    world.reconcile("r1-e")
    world.patch(world.runs["r1-e"], {"status": {"phase": "Finished"}})
    world.reconcile()
    assert (world.phase, world.state("e")) == ("Finished/Canceled", "Canceled/Canceled")


def test_a_child_run_that_is_gone_when_its_run_is_canceled_is_no_failure() -> None:
    world = World(story(step("e: executeStory", with_={"storyRef": {"name": "child"}})))
    world.stories["wf/child"] = story("x", name="child")
    world.reconcile()
    del world.runs["r1-e"]
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    world.at(3 * SECOND).reconcile()
    assert (world.phase, world.state("e")) == ("Finished/Canceled", "Canceled/Canceled")


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Timeout"])
def test_a_child_run_that_ended_by_itself_while_it_was_canceled_tells_how(phase: str) -> None:
    world = World(story(step("e: executeStory", with_={"storyRef": {"name": "child"}})))
    world.stories["wf/child"] = story("x", name="child")
    world.reconcile()
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    world.reconcile()
    world.patch(world.runs["r1-e"], {"status": {"phase": phase}})
    world.reconcile()
    assert (world.phase, world.state("e")) == ("Finished/Canceled", phase)


def test_a_child_run_that_somebody_canceled_alone_fails_its_step() -> None:
    world = World(story(step("e: executeStory", with_={"storyRef": {"name": "child"}})))
    world.stories["wf/child"] = story("x", name="child")
    world.reconcile()
    world.patch(world.runs["r1-e"], {"spec": {"cancelRequested": True}, "status": {"phase": "Finished"}})
    world.reconcile()
    assert (world.phase, world.state("e")) == ("Failed/DependencyFailed", "Finished")


def test_a_run_that_is_canceled_before_it_began_starts_nothing() -> None:
    world = World(story("a"), cancelRequested=True)
    world.reconcile()
    assert world.phase == "Finished/Canceled"
    assert not world.steps


def test_an_edited_story_is_told_once_and_loses_no_states() -> None:
    world = World(story("a", "b: needs a"))
    world.reconcile()
    edited = story("b", "c")
    edited.metadata.generation = 2
    world.stories["wf/s"] = edited
    world.reconcile()
    assert world.events.count(("Warning", "StoryChanged")) == 1
    assert world.state("a") == "Running"
    assert set(world.steps) == {"r1-a", "r1-b", "r1-c"}


def test_a_story_that_is_deleted_in_the_middle_holds_its_run_with_the_reason() -> None:
    world = World(story("a", "b: needs a"))
    world.reconcile()
    world.stories.clear()
    world.end("a")
    found = world.reconcile()
    assert world.phase == "Running/StoryNotFound"
    assert "does not exist" in str(found.reasons["a"])
    assert "r1-b" not in world.steps


def test_the_duration_is_written_at_the_end_only() -> None:
    world = World(story("a"))
    world.reconcile()
    world.at(timedelta(seconds=73)).end("a").reconcile()
    assert world.run.status.duration == "1m13s"
    assert not any("duration" in (found.status or {}).get("status", {}) for found in world.log[:-1])  # B-46


@pytest.mark.parametrize("cancel", [True, False])
def test_nothing_whatever_begins_in_a_run_that_is_ending_or_has_failed(cancel: bool) -> None:
    execute = step("e: executeStory", needs=["b"], with_={"storyRef": {"name": "child"}})
    world = World(story("a", "b", execute, "s: sleep 1s needs b", "g: gate needs b"))
    world.stories["wf/child"] = story("x", name="child")
    world.reconcile()
    if cancel:
        world.patch(world.run, {"spec": {"cancelRequested": True}})
        world.end("b")
    else:
        world.end("a", "Failed").end("b")
    world.reconcile()
    assert {world.states[name] for name in "esg"} == {"Skipped"}
    assert list(world.runs) == ["r1"]


def test_a_step_that_runs_goes_on_although_the_story_names_another_engram_now() -> None:
    world = World(story("a"))
    world.reconcile()
    edited = story(step("a", ref={"name": "other"}))
    edited.metadata.generation = 2
    world.stories["wf/s"] = edited
    world.reconcile()
    assert world.state("a") == "Running"
    world.end("a").reconcile()
    assert world.phase == "Succeeded/Completed"


def test_a_run_whose_story_was_deleted_can_be_canceled() -> None:
    world = World(story("a", "b: needs a", "c: needs b"))
    world.reconcile()
    world.end("a").reconcile()
    world.stories.clear()
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    world.reconcile()
    assert world.steps["r1-b"].metadata.annotations["bubustack.io/cancel-requested"] == "true"
    assert world.run.status.phase == "Running"
    world.end("b", "Canceled").reconcile()
    assert world.phase == "Finished/Canceled"
    assert world.states == {"a": "Succeeded", "b": "Canceled"}


def test_a_run_that_waits_for_a_story_can_be_canceled() -> None:
    world = World(None)
    world.reconcile()
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    world.reconcile()
    assert (world.phase, world.run.status.started_at) == ("Finished/Canceled", None)


def test_without_its_story_a_step_that_does_not_drain_is_cut_off() -> None:
    world = World(story("a"))
    world.reconcile()
    world.stories.clear()
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    assert world.reconcile().wake_at == T0 + 20 * SECOND
    world.at(20 * SECOND).reconcile()
    assert (world.phase, world.steps) == ("Finished/Canceled", {})


def test_b14_a_schema_that_is_edited_meanwhile_does_not_fail_runs_that_have_begun() -> None:
    world = World(story("a", "b: needs a"), inputs={})
    world.reconcile()
    stricter = story("a", "b: needs a", inputsSchema={"type": "object", "required": ["n"]})
    stricter.metadata.generation = 2
    world.stories["wf/s"] = stricter
    world.end("a").reconcile()
    assert world.states == {"a": "Succeeded", "b": "Running"}
    assert world.plan_step("b").start is not None


def test_a_run_that_becomes_impossible_ends_its_steps_and_what_they_started() -> None:
    child = {"storyRef": {"name": "child"}}
    world = World(story("a", step("e: executeStory", with_=child), "w: needs a"))
    world.stories["wf/child"] = story("x", name="child")
    world.reconcile()
    broken = story("a: needs ghost", step("e: executeStory", with_=child), "w: needs a")
    broken.metadata.generation = 2
    world.stories["wf/s"] = broken
    world.reconcile()
    assert world.phase == "Failed/InvalidConfiguration"
    assert world.states == {"a": "Canceled", "e": "Canceled"}
    assert not world.run.status.active
    assert world.steps["r1-a"].metadata.annotations["bubustack.io/cancel-requested"] == "true"
    assert world.runs["r1-e"].spec.cancel_requested


def test_a_run_says_when_it_starts() -> None:
    world = World(story("a"))
    world.reconcile()
    world.reconcile()
    assert world.events == [("Normal", "StoryRunStarted")]


@pytest.mark.parametrize(
    ("phase", "compensated"), [("Succeeded", "Skipped"), ("Canceled", "Skipped"), ("Failed", "Running")]
)
def test_a_stop_runs_compensations_only_when_the_run_is_to_fail(phase: str, compensated: str) -> None:
    world = World(story(step("s: stop", with_={"phase": phase}), "b: needs s", compensations=["k"]))
    world.reconcile()
    assert world.states == {"s": "Succeeded", "b": "Skipped", "k": compensated}


def test_a_stop_with_success_compensates_nothing_although_a_step_failed_before() -> None:
    world = World(
        story(
            "a",
            "x",
            step("s: stop", needs=["a"]),
            compensations=["k"],
            policy={"retries": {"continueOnStepFailure": True}},
        )
    )
    world.reconcile()
    world.end("x", "Failed").reconcile()
    world.end("a").reconcile()
    assert (world.state("k"), world.phase) == ("Skipped/NotNeeded", "Succeeded/Completed")


def test_a_step_whose_steprun_was_never_created_does_not_begin_after_another_failed() -> None:
    world = World(story("a", "b", step("e: executeStory", with_={"storyRef": {"name": "child"}})))
    world.stories["wf/child"] = story("x", name="child")
    world.apply(world.plan())
    del world.steps["r1-b"], world.runs["r1-e"]  # the operator was killed before it created them
    world.end("a", "Failed")
    world.at(3 * SECOND).reconcile()
    assert (world.state("b"), world.state("e")) == ("Skipped/FailFast", "Skipped/FailFast")
    assert world.phase == "Failed/DependencyFailed"


@pytest.mark.parametrize("last", [step("z: stop"), step("z", if_="{{ env }}")])
def test_a_child_run_is_not_started_in_the_pass_in_which_a_later_step_ends_the_run(last: dict[str, Any]) -> None:
    world = World(story(step("e: executeStory", with_={"storyRef": {"name": "child"}}), last))
    world.stories["wf/child"] = story("x", name="child")
    found = world.plan()
    assert not found.children
    assert "SubStoryRunCreated" not in {event.reason for event in found.events}
    world.reconcile()
    assert world.states["e"] == "Skipped"


@pytest.mark.parametrize(
    ("cancel", "state"), [(False, "Skipped/FailFast"), (True, "Canceled/Canceled")], ids=["failed", "canceled"]
)
def test_a_parallel_step_whose_branches_never_ran_has_not_succeeded(cancel: bool, state: str) -> None:
    branches = [step("x"), step("y")]
    world = World(story("a", step("p: parallel", with_={"steps": branches}), policy={"concurrency": 1}))
    world.reconcile()
    assert list(world.steps) == ["r1-a"]
    world.patch(world.run, {"status": {"stepStates": {"p": {"phase": "Running", "startedAt": "2026-01-01T10:00:00Z"}}}})
    if cancel:
        world.patch(world.run, {"spec": {"cancelRequested": True}})
    world.end("a", "Failed").at(3 * SECOND).reconcile()
    assert world.state("p") == state


def test_branches_without_a_slot_when_another_step_fails_leave_the_parallel_step_unfinished() -> None:
    world = World(story("a", step("p: parallel", with_={"steps": [step("x"), step("y")]}), policy={"concurrency": 2}))
    world.reconcile()
    assert set(world.steps) == {"r1-a", "r1-p-x"}
    world.end("a", "Failed").reconcile()
    world.at(3 * SECOND).end("p-x").reconcile()
    assert world.state("p") == "Canceled/Canceled"
    assert "y" in (world.run.status.step_states["p"].message or "")


def test_an_older_copy_of_the_story_than_the_run_has_seen_is_not_planned_by() -> None:
    world = World(story("a"))
    old = world.stories["wf/s"]
    edited = story("a", "z")
    edited.metadata.generation = 2
    world.stories["wf/s"] = edited
    world.reconcile()
    world.end("a")
    assert plan(replace(world.snapshot(), story=old), world.now).confirm
    assert world.reconcile().confirm is False
    assert world.states["z"] == "Running"


def test_steps_that_an_edit_removed_leave_their_queue_at_once_and_end_with_the_run() -> None:
    world = World(story("a", "b", "c", policy={"concurrency": 2}))
    world.reconcile()
    assert world.state("c") == "Pending/StoryConcurrency"
    edited = story("a", policy={"concurrency": 2})
    edited.metadata.generation = 2
    world.stories["wf/s"] = edited
    world.reconcile()
    assert (world.state("b"), world.state("c")) == ("Running", "Skipped/StepRemoved")
    world.end("a").reconcile()
    assert world.phase == "Succeeded/Completed"
    assert world.state("b") == "Canceled/StepRemoved"


def test_a_lost_steprun_is_not_made_again_in_the_pass_in_which_a_later_step_fails() -> None:
    world = World(story("a", "b"))
    world.reconcile()
    del world.steps["r1-a"]
    world.at(3 * SECOND).end("b", "Failed")
    found = world.plan()
    assert not found.starts
    world.reconcile()
    assert world.state("a") == "Skipped/FailFast"
