"""Requirements on the order of steps: dependencies, conditions, skips, failures (spec runs 10, 11, 13)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bobrapet.api import StepRun, Story
from bobrapet.engine.reasons import Ended, WaitsFor
from bobrapet.engine.run import plan
from bobrapet.engine.snapshot import Occupancy
from tests.unit.engine.world import MINUTE, T0, World, engram, step, story


@pytest.mark.spec("runs-1")
def test_a_new_run_begins_and_creates_the_stepruns_that_wait_for_nothing() -> None:
    world = World(story("a"))
    world.reconcile()
    assert world.phase == "Running/StartingExecution"
    assert world.run.status.attempts == 1
    assert list(world.run.status.trigger_tokens) == ["story", "impulse"]
    (owner,) = world.steps["r1-a"].metadata.owner_references
    assert (owner.uid, owner.controller) == (world.run.metadata.uid, True)
    assert world.log[0].ensure_identity
    assert "runner" not in str(world.log[0].starts)  # decision 19: the account is the Story's, not the run's


@pytest.mark.spec("runs-2")
def test_a_run_ends_with_its_last_step_and_says_so_everywhere() -> None:
    world = World(story("a"))
    world.reconcile()
    world.end("a").reconcile()
    status = world.run.status
    assert world.phase == "Succeeded/Completed"
    assert (world.condition("Ready"), world.condition("Progressing"), world.condition("Degraded")) == (
        "True",
        "False",
        "False",
    )
    assert status.finished_at
    assert "impulse-success" in status.trigger_tokens
    assert (list(status.completed), list(status.active)) == (["a"], [])
    assert (status.steps_total, status.steps_complete) == (1, 1)


@pytest.mark.spec("runs-3", "runs-4")
def test_a_step_starts_only_when_what_it_needs_has_ended() -> None:
    world = World(story("a", "b: needs a"))
    assert world.reconcile().reasons["b"] == WaitsFor(("a",))
    assert list(world.steps) == ["r1-a"]
    assert list(world.run.status.active) == ["a"]
    world.end("a").reconcile()
    assert list(world.steps) == ["r1-a", "r1-b"]


@pytest.mark.spec("runs-5")
def test_reading_the_output_of_a_step_makes_it_a_dependency() -> None:
    world = World(story("a", step("b", with_={"x": "{{ steps.a.output.x }}"})))
    world.reconcile()
    assert list(world.steps) == ["r1-a"]


@pytest.mark.spec("runs-6")
def test_a_dependency_may_be_written_with_underscores() -> None:
    world = World(story("fetch-feed", step("b", if_="{{ steps.fetch_feed.output.ok }}")))
    assert world.reconcile().reasons["b"] == WaitsFor(("fetch-feed",))
    world.end("fetch-feed", ok=True).reconcile()
    assert "r1-b" in world.steps


@pytest.mark.spec("runs-7")
def test_steps_that_need_each_other_fail_the_run_before_anything_starts() -> None:
    world = World(story("a: needs b", "b: needs a"))
    world.reconcile()
    assert world.phase == "Failed/InvalidConfiguration"
    assert world.run.status.error is not None
    assert "a, b" in world.run.status.error["message"]
    assert not world.steps


@pytest.mark.spec("runs-8")
def test_a_step_that_needs_an_unknown_one_fails_the_run() -> None:
    world = World(story("a: needs ghost"))
    world.reconcile()
    assert world.phase == "Failed/InvalidConfiguration"
    assert "a->ghost" in (world.run.status.message or "")


def test_a_main_step_cannot_wait_for_one_that_runs_after_it() -> None:
    world = World(story("a", step("b", with_={"x": "{{ steps.k.output.y }}"}), compensations=["k"]))
    world.reconcile()
    assert "b->k" in (world.run.status.message or "")


@pytest.mark.spec("runs-9")
def test_after_a_failure_nothing_new_starts_and_what_runs_is_left_to_end() -> None:
    world = World(story("a", "b", "c: needs a", "d: needs b"))
    world.reconcile()
    world.end("a", "Failed", "boom").reconcile()
    assert world.states == {"a": "Failed", "b": "Running", "c": "Skipped", "d": "Skipped"}
    assert world.phase.startswith("Running")
    world.end("b").reconcile()
    assert world.phase == "Failed/DependencyFailed"
    error = world.run.status.error
    assert error is not None
    assert error["failedSteps"] == [{"name": "a", "phase": "Failed", "message": "boom"}]
    assert "impulse-failed" in world.run.status.trigger_tokens


@pytest.mark.spec("runs-10")
def test_with_continue_on_failure_independent_branches_go_on() -> None:
    world = World(story("a", "b", "c: needs a", "d: needs b", policy={"retries": {"continueOnStepFailure": True}}))
    world.reconcile()
    world.end("a", "Failed").end("b").reconcile()
    assert world.states == {"a": "Failed", "b": "Succeeded", "c": "Skipped", "d": "Running"}
    assert "a" in (world.run.status.step_states["c"].message or "")
    world.end("d").reconcile()
    assert world.phase == "Failed/DependencyFailed"


@pytest.mark.spec("runs-11")
def test_a_skip_because_of_a_failure_is_passed_on() -> None:
    world = World(story("a", "b: needs a", "c: needs b", policy={"retries": {"continueOnStepFailure": True}}))
    world.reconcile()
    world.end("a", "Failed").reconcile()
    assert world.states == {"a": "Failed", "b": "Skipped", "c": "Skipped"}
    assert "a" in (world.run.status.step_states["c"].message or "")


@pytest.mark.spec("runs-12")
def test_a_step_that_may_fail_counts_as_completed() -> None:
    world = World(story(step("a", allowFailure=True), "b: needs a"))
    world.reconcile()
    world.end("a", "Failed").reconcile()
    assert world.state("b") == "Running"
    world.end("b").reconcile()
    assert world.phase == "Succeeded/Completed"
    assert list(world.run.status.allowed_failures) == ["a"]
    assert "a" in (world.run.status.message or "")


@pytest.mark.spec("runs-13")
def test_b21_reading_a_step_without_output_never_hangs_the_run() -> None:
    world = World(story(step("a", allowFailure=True), step("b: needs a", with_={"x": "{{ steps.a.output.x }}"})))
    world.reconcile()
    world.end("a", "Failed").reconcile()
    found = world.plan_step("b")
    assert found.start is not None
    assert found.start.inputs == {"x": None}


@pytest.mark.spec("runs-14")
def test_a_step_skipped_by_its_condition_does_not_hold_up_others() -> None:
    world = World(story(step("a", if_="{{ false }}"), "b: needs a"))
    world.reconcile()
    assert world.state("a") == "Skipped/ConditionFalse"
    assert world.state("b") == "Running"


@pytest.mark.spec("runs-15")
def test_b20_a_condition_that_is_no_boolean_fails_its_step_at_once() -> None:
    world = World(story(step("a", if_="maybe")))
    world.reconcile()
    assert world.state("a") == "Failed/ExpressionFailed"
    assert world.phase == "Failed/DependencyFailed"


@pytest.mark.spec("runs-16")
def test_a_forbidden_function_fails_its_step_at_once() -> None:
    world = World(story(step("a", if_='{{ env "X" }}')))
    world.reconcile()
    assert world.state("a") == "Failed/ExpressionFailed"
    assert not world.steps


@pytest.mark.spec("runs-17")
def test_a_condition_step_is_a_marker_that_costs_no_pass() -> None:
    world = World(story("a: condition", "b: needs a"))
    world.apply(world.plan())
    assert world.state("a") == "Succeeded"
    assert list(world.steps) == ["r1-b"]


def test_a_key_that_the_output_of_a_finished_step_lacks_fails_the_reading_step() -> None:
    world = World(story("a", step("b", if_="{{ steps.a.output.missing }}")))
    world.reconcile()
    world.end("a", x=1).reconcile()
    assert world.state("b") == "Failed/ExpressionFailed"
    assert "missing" in (world.run.status.step_states["b"].message or "")


@pytest.mark.spec("runs-96")
def test_b45_the_first_failed_step_in_declaration_order_is_named_every_time() -> None:
    for _ in range(3):
        world = World(story("b", "a"))
        world.reconcile()
        world.end("a", "Failed").end("b", "Failed").reconcile()
        assert "step b failed" in (world.run.status.message or "")


@pytest.mark.spec("runs-73")
def test_b19_a_missing_engram_holds_its_step_visibly_and_fails_it_after_its_timeout() -> None:
    world = World(story("a", policy={"timeouts": {"step": "5m"}}))
    missing = world.engrams.pop("wf/worker")
    found = world.reconcile()
    assert world.state("a") == "Pending/ReferenceNotFound"
    assert "worker" in str(found.reasons["a"])
    assert found.wake_at == world.now + 5 * MINUTE
    world.at(MINUTE).engrams["wf/worker"] = missing
    world.reconcile()
    assert list(world.steps) == ["r1-a"]

    world = World(story("a", policy={"timeouts": {"step": "5m"}}))
    world.engrams.clear()
    world.reconcile()
    world.at(5 * MINUTE).reconcile()
    assert world.state("a") == "Failed/ReferenceNotFound"


def test_time_in_a_queue_is_not_part_of_the_patience_with_a_missing_reference() -> None:
    world = World(story("a", policy={"timeouts": {"step": "5m"}}), config={"storyrun.global-concurrency": "1"})
    world.occupancy = Occupancy(total=1)
    world.reconcile()
    assert world.state("a") == "Pending/GlobalConcurrency"
    queued_since = world.run.status.step_states["a"].started_at
    world.at(6 * MINUTE).engrams.clear()
    found = world.reconcile()
    assert (world.state("a"), found.wake_at) == ("Pending/ReferenceNotFound", T0 + 11 * MINUTE)
    assert world.run.status.step_states["a"].started_at == queued_since, "it waits since then, whatever for"
    world.at(11 * MINUTE).reconcile()
    assert world.state("a") == "Failed/ReferenceNotFound"


def test_a_step_fails_without_its_engram_only_after_an_authoritative_look() -> None:
    world = World(story("a", policy={"timeouts": {"step": "5m"}}))
    there = dict(world.engrams)
    world.engrams.clear()
    world.reconcile()
    world.at(6 * MINUTE).engrams.update(there)
    unseen = replace(world.snapshot(), engrams={})  # a new operator, whose cache does not show the Engram yet
    assert plan(unseen, world.now).confirm
    found = plan(world.snapshot(authoritative=True), world.now)
    assert [item.metadata.name for item in found.starts] == ["r1-a"]
    world.apply(plan(replace(unseen, authoritative=True), world.now))
    assert world.state("a") == "Failed/ReferenceNotFound"


def test_a_step_whose_engram_has_another_version_fails_only_after_an_authoritative_look() -> None:
    pinned = step("a", ref={"name": "worker", "version": "2"})
    world = World(story(pinned), engram_=engram(version="2"))
    older = replace(world.snapshot(), engrams={"wf/worker": engram(version="1")})
    assert plan(older, world.now).confirm
    assert [item.metadata.name for item in world.reconcile().starts] == []
    assert (world.state("a"), list(world.steps)) == ("Running", ["r1-a"])

    world = World(story(pinned), engram_=engram(version="1"))
    world.reconcile()
    assert world.state("a") == "Failed/EngramReferenceInvalid"
    assert 'wants version "2"' in (world.run.status.step_states["a"].message or "")


@pytest.mark.parametrize(
    ("older", "reason"),
    [
        (story("a", version="1"), "StoryReferenceInvalid"),
        (story("a: needs ghost", version="2"), "InvalidConfiguration"),
        (story("a", version="2", inputsSchema={"type": "object", "required": ["n"]}), "InputSchemaFailed"),
        (story("a", step("b", if_="maybe"), version="2"), "ExpressionFailed"),
    ],
)
def test_a_run_that_is_newer_than_the_story_in_the_cache_does_not_fail_for_it(older: Story, reason: str) -> None:
    newer = story("a", version="2")
    world = World(newer, storyRef={"name": "s", "version": "2"})
    assert plan(replace(world.snapshot(), story=older), world.now).confirm
    world.reconcile()
    assert (world.phase, world.state("a")) == ("Running/StartingExecution", "Running")

    world = World(older, storyRef={"name": "s", "version": "2"})
    world.reconcile()
    assert reason in {world.phase.partition("/")[2], world.state("b").partition("/")[2]}


def test_a_run_is_refused_for_want_of_a_grant_only_after_an_authoritative_look() -> None:
    world = World(
        story("a", namespace="lib"),
        config={"references.cross-namespace-policy": "grant"},
        storyRef={"name": "s", "namespace": "lib"},
    )
    assert world.snapshot().grants == []
    assert plan(world.snapshot(), world.now).confirm
    world.reconcile()
    assert world.phase == "Failed/StoryReferenceInvalid"


@pytest.mark.spec("runs-74")
def test_b22_a_steprun_of_that_name_that_is_another_one_fails_the_step_untouched() -> None:
    world = World(story("a"))
    foreign = {"metadata": {"name": "r1-a"}, "spec": {"storyRunRef": {"name": "r1"}, "stepId": "other"}}
    world.create(StepRun.model_validate(foreign))
    before = world.steps["r1-a"].to_wire()
    world.reconcile()
    assert world.state("a") == "Failed/ChildStepRunDrift"
    assert ("Warning", "ChildStepRunDrift") in world.events
    assert world.steps["r1-a"].to_wire() == before


@pytest.mark.spec("runs-75")
def test_a_step_input_over_the_limit_fails_and_near_it_warns() -> None:
    world = World(story(step("a", with_={"x": "y" * 5000})))
    world.reconcile()
    assert world.state("a") == "Failed/InputTooLarge"
    world = World(story(step("a", with_={"x": "y" * 3300})))
    world.reconcile()
    assert world.state("a") == "Running"
    assert ("Warning", "StepInputNearLimit") in world.events


def test_the_configuration_of_the_engram_lies_under_that_of_the_step() -> None:
    world = World(
        story(step("a", with_={"a": {"y": 2}, "b": [3]})), engram_=engram(**{"with": {"a": {"x": 1, "y": 1}, "b": [1]}})
    )
    world.reconcile()
    assert world.steps["r1-a"].spec.input == {"a": {"x": 1, "y": 2}, "b": [3]}


def test_a_steprun_is_complete_when_it_is_created() -> None:
    world = World(
        story(
            step("fetch-it", execution={"timeout": "5m", "retry": {"maxRetries": 2, "backoff": "linear"}}), name="s.x"
        )
    )
    world.reconcile()
    created = world.steps["r1-fetch-it"]
    assert (
        created.metadata.labels.items()
        >= {
            "bubustack.io/storyrun": "r1",
            "bubustack.io/story-name": "s-x",
            "bubustack.io/queue": "default",
            "bubustack.io/queue-priority": "0",
        }.items()
    )
    assert created.spec.idempotency_key == "ns/wf/storyrun/r1/step/fetch-it"
    assert created.spec.timeout == "5m"
    assert created.spec.retry is not None
    assert created.spec.retry.to_wire() == {"maxRetries": 2, "delay": "1s", "backoff": "linear"}
    assert created.spec.engram_ref is not None
    assert created.spec.engram_ref.key(None) == "wf/worker"


def test_a_one_step_run_costs_four_writes_of_the_run_and_the_events_are_few() -> None:
    world = World(story("a"))
    world.reconcile()
    world.end("a").reconcile()
    assert world.writes == 5  # status Running, StepRun, status Succeeded, two Events
    assert world.events == [("Normal", "StoryRunStarted"), ("Normal", "StoryRunSucceeded")]


def test_one_event_tells_of_all_stepruns_that_a_pass_creates() -> None:
    world = World(story("a", *(f"b{n}: needs a" for n in range(5))))
    world.reconcile()
    assert [event.message for event in world.log[0].events] == ['runs Story "s"; created StepRun r1-a']
    world.end("a").reconcile()
    told = [event.message for plan in world.log for event in plan.events if event.reason == "ChildStepRunCreated"]
    assert told == ["created StepRun r1-b0, r1-b1, r1-b2 and 2 more"]


def test_nothing_is_written_while_nothing_changes() -> None:
    world = World(story("a", "b: needs a"))
    world.reconcile()
    before = world.writes
    for seconds in range(1, 60):
        world.at(timedelta(seconds=seconds)).reconcile()
    assert world.writes == before


def test_every_step_has_a_reason_in_declaration_order() -> None:
    world = World(story("a", "b: needs a", finally_=["z"]))
    found = world.reconcile()
    assert list(found.reasons) == ["a", "b", "z"]
    assert str(found.reasons["z"]) == "comes after all steps have ended"
    world.end("a", "Failed", "boom")
    assert world.reconcile().reasons["a"] == Ended(phase=world.run.status.step_states["a"].phase, message="boom")


def test_a_steprun_that_the_cache_does_not_show_yet_is_not_made_twice() -> None:
    world = World(story("a"))
    world.apply(world.plan())
    hidden = world.steps.pop("r1-a")
    found = world.plan()
    assert not found.writes
    assert not found.confirm
    world.steps["r1-a"] = hidden
    assert not world.plan().writes


def test_a_steprun_that_was_never_created_is_created_after_an_authoritative_look() -> None:
    world = World(story("a"))
    world.apply(world.plan())
    world.steps.clear()
    world.at(timedelta(seconds=3))
    assert plan(world.snapshot(), world.now).confirm
    assert [item.metadata.name for item in plan(world.snapshot(authoritative=True), world.now).starts] == ["r1-a"]


def test_a_foreign_steprun_that_only_the_api_server_shows_fails_the_step() -> None:
    world = World(story("a"))
    world.apply(world.plan())
    foreign = {"metadata": {"name": "r1-a"}, "spec": {"storyRunRef": {"name": "other"}, "stepId": "a"}}
    world.steps.clear()
    world.create(StepRun.model_validate(foreign))
    world.at(timedelta(seconds=3)).reconcile()
    assert world.state("a") == "Failed/ChildStepRunDrift"


def stale(world: World, name: str) -> StepRun:
    """Takes a StepRun back to how it was created, as a cache that lags behind shows it; returns the newest."""
    newest = world.steps[name]
    world.steps[name] = StepRun.model_validate({**newest.to_wire(), "status": {}})
    return newest


READS = step("b", if_="{{ steps.a.output.ok }}")


def test_a_step_waits_for_the_output_of_one_that_the_run_already_knows_to_have_succeeded() -> None:
    world = World(story("a", READS))
    world.reconcile()
    world.end("a", ok=True).apply(world.plan())
    # Another process wrote that, and its StepRun b never came to be.
    del world.steps["r1-b"]
    world.patch(world.run, {"status": {"stepStates": {"b": None}}})
    newest = stale(world, "r1-a")
    found = plan(world.snapshot(), world.now)
    assert (found.confirm, found.starts) == (True, ())
    assert "b" not in (found.status or {"status": {}})["status"].get("stepStates", {})
    world.steps["r1-a"] = newest
    world.reconcile()
    assert world.state("b") == "Running"


def test_the_output_of_the_run_waits_for_outputs_that_the_cache_does_not_show() -> None:
    world = World(story("a", "g: gate", output={"n": "{{ steps.a.output.n }}"}))
    world.reconcile()
    world.end("a", n=1).reconcile()
    newest = stale(world, "r1-a")
    world.patch(world.run, {"status": {"gates": {"g": {"state": "Approved"}}}})
    found = plan(world.snapshot(), world.now)
    assert found.confirm
    world.steps["r1-a"] = newest
    world.reconcile()
    assert world.run.status.output == {"n": 1}


def test_an_output_that_is_gone_for_good_fails_its_reader_instead_of_hanging_it() -> None:
    world = World(story("a", "g: gate", output={"n": "{{ steps.a.output.n }}"}))
    world.reconcile()
    world.end("a", n=1).reconcile()
    del world.steps["r1-a"]
    world.patch(world.run, {"status": {"gates": {"g": {"state": "Approved"}}}})
    world.reconcile()
    assert world.phase == "Failed/OutputResolutionFailed"


def test_a_correlation_id_goes_from_the_run_to_everything_that_it_starts() -> None:
    child = step("e: executeStory", with_={"storyRef": {"name": "child"}})
    world = World(story("a", child, name="s"))
    world.stories["wf/child"] = story("x", name="child")
    world.patch(world.run, {"metadata": {"annotations": {"bubustack.io/correlation-id": " Order 17/EU "}}})
    world.reconcile()
    world.reconcile("r1-e")
    assert world.run.metadata.labels["bubustack.io/correlation-id"] == "order-17-eu"
    for started in (world.steps["r1-a"], world.runs["r1-e"], world.steps["r1-e-x"]):
        assert started.metadata.annotations["bubustack.io/correlation-id"] == "Order 17/EU"
        assert started.metadata.labels["bubustack.io/correlation-id"] == "order-17-eu"


def test_without_a_correlation_id_nothing_bears_one() -> None:
    world = World(story("a"))
    world.reconcile()
    assert "bubustack.io/correlation-id" not in world.run.metadata.labels
    assert "bubustack.io/correlation-id" not in world.steps["r1-a"].metadata.labels
