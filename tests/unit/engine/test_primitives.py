"""Requirements on the step types that need no pod of their own (spec runs 12)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bobrapet.api import ReferenceGrant, StoryRun
from bobrapet.engine.run import plan
from bobrapet.engine.states import recorded_timers
from tests.unit.engine.world import MINUTE, SECOND, T0, World, step, story


@pytest.mark.spec("runs-18")
def test_a_sleep_wakes_at_its_exact_deadline() -> None:
    world = World(story("s: sleep 10s", "b: needs s"))
    assert world.reconcile().wake_at == T0 + 10 * SECOND
    assert world.state("s") == "Paused"
    world.at(9 * SECOND).reconcile()
    assert world.state("s") == "Paused"
    world.at(10 * SECOND).reconcile()
    assert (world.state("s"), world.state("b")) == ("Succeeded", "Running")


@pytest.mark.spec("runs-19")
def test_a_recorded_deadline_survives_restart_and_edits_of_the_story() -> None:
    world = World(story("s: sleep 10s"))
    world.reconcile()
    edited = story("s: sleep 10h")
    world.stories["wf/s"] = edited
    assert world.at(5 * SECOND).reconcile().wake_at == T0 + 10 * SECOND


def test_b10_a_long_sleep_hides_no_other_deadline() -> None:
    world = World(
        story("s: sleep 24h", step("g: gate", with_={"timeout": "1m"}), policy={"timeouts": {"story": "30s"}})
    )
    assert world.reconcile().wake_at == T0 + 30 * SECOND


@pytest.mark.spec("runs-20")
@pytest.mark.parametrize("duration", ["-1s", "0s", "soon"])
def test_a_sleep_that_is_no_duration_fails(duration: str) -> None:
    world = World(story(f"s: sleep {duration}"))
    world.reconcile()
    assert world.state("s") == "Failed/InvalidConfiguration"
    assert world.phase == "Failed/DependencyFailed"


@pytest.mark.spec("runs-21")
def test_a_sleep_without_duration_is_over_at_once() -> None:
    world = World(story("s: sleep"))
    world.reconcile()
    assert world.phase == "Succeeded/Completed"


def decide(world: World, name: str, state: str, message: str = "") -> None:
    world.patch(world.run, {"status": {"gates": {name: {"state": state, "message": message}}}})


@pytest.mark.spec("runs-22")
def test_an_approved_gate_opens_as_soon_as_the_decision_is_seen() -> None:
    world = World(story("g: gate"))
    assert world.reconcile().wake_at is None
    decide(world, "g", "Approved", "ok")
    world.reconcile()
    assert world.state("g") == "Succeeded"
    assert world.run.status.step_states["g"].message == "ok"


@pytest.mark.spec("runs-23")
def test_a_rejected_gate_fails_the_run() -> None:
    world = World(story("g: gate"))
    world.reconcile()
    decide(world, "g", "Rejected", "no")
    world.reconcile()
    assert world.state("g") == "Failed/Rejected"
    assert world.phase == "Failed/DependencyFailed"


@pytest.mark.spec("runs-24")
def test_a_gate_that_nobody_decides_runs_out_of_time() -> None:
    world = World(story(step("g: gate", with_={"timeout": "1m"})))
    assert world.reconcile().wake_at == T0 + MINUTE
    world.at(MINUTE).reconcile()
    assert world.state("g").startswith("Timeout")
    assert world.phase == "Failed/DependencyFailed"


@pytest.mark.spec("runs-25")
def test_a_gate_may_be_skipped_when_its_time_is_over() -> None:
    world = World(story(step("g: gate", with_={"timeout": "1m", "onTimeout": "Skip"}), "b: needs g"))
    world.reconcile()
    world.at(MINUTE).reconcile()
    assert world.states == {"g": "Skipped", "b": "Running"}


@pytest.mark.spec("runs-26")
def test_a_decision_before_the_gate_is_reached_applies_when_it_is() -> None:
    world = World(story("a", "g: gate", "b: needs g"))
    world.patch(world.run, {"status": {"gates": {"g": {"state": "Approved"}}}})
    world.stories["wf/s"] = story("a", "g: gate", "b: needs g")
    world.reconcile()
    assert world.state("g") == "Succeeded"
    assert "r1-b" in world.steps


def test_b48_gates_are_never_written_by_the_engine() -> None:
    world = World(story("g: gate"))
    decide(world, "g", "Pending", "thinking")
    world.reconcile()
    assert all("gates" not in (found.status or {}).get("status", {}) for found in world.log)


WAIT = step("w: wait", with_={"until": "{{ steps.a.signals.ready.value }}", "pollInterval": "1m"})


@pytest.mark.spec("runs-27")
def test_a_wait_watches_a_signal_of_a_step_that_still_runs() -> None:
    world = World(story("a", WAIT))
    world.reconcile()
    assert world.state("w") == "Paused"
    world.patch(world.steps["r1-a"], {"status": {"signals": {"ready": {"value": True}}}})
    world.reconcile()
    assert (world.state("w"), world.state("a")) == ("Succeeded", "Running")


@pytest.mark.spec("runs-28")
def test_a_wait_without_condition_fails() -> None:
    world = World(story(step("w: wait", with_={})))
    world.reconcile()
    assert world.state("w") == "Failed/InvalidConfiguration"


@pytest.mark.parametrize(
    "until", ['{{ env "X" }}', "{{ nosuch 1 }}", "{{ steps.a.signals.ready"], ids=["forbidden", "unknown", "broken"]
)
def test_a_condition_that_can_never_be_evaluated_fails_its_wait(until: str) -> None:
    world = World(story("a", step("w: wait", with_={"until": until})))
    world.reconcile()
    assert world.state("w") == "Failed/ExpressionFailed"


@pytest.mark.parametrize("until", ["{{ inputs.n }}", "{{ steps.a.output.x | int }}", "{{ index inputs.list 7 }}"])
def test_a_condition_that_may_become_right_keeps_waiting_and_tells_its_error(until: str) -> None:
    world = World(story("a", step("w: wait", with_={"until": until})), inputs={"n": "not yet", "list": []})
    found = world.reconcile()
    assert world.state("w") == "Paused"
    assert "last try" in str(found.reasons["w"])


def test_b17_a_wait_for_a_step_that_does_not_exist_is_told_at_the_start() -> None:
    world = World(story("a", step("w: wait", with_={"until": "{{ steps.ghost.signals.x }}"})))
    world.reconcile()
    assert world.phase == "Failed/InvalidConfiguration"
    assert "w->ghost" in (world.run.status.message or "")


def test_a_wait_looks_again_after_its_poll_interval_and_ends_at_its_timeout() -> None:
    until = {"until": "{{ steps.a.signals.ready.value }}", "pollInterval": "40s", "timeout": "1m"}
    world = World(story("a", step("w: wait", with_=until)))
    assert world.reconcile().wake_at == T0 + 40 * SECOND
    assert world.at(40 * SECOND).reconcile().wake_at == T0 + MINUTE
    world.at(MINUTE).reconcile()
    assert world.state("w").startswith("Timeout")


PARALLEL = step(
    "p: parallel",
    with_={"steps": [{"name": "x", "ref": {"name": "worker"}}, {"name": "y", "ref": {"name": "worker"}}]},
)


@pytest.mark.spec("runs-30")
def test_b18_a_parallel_step_starts_its_branches_and_they_are_no_steps_of_the_run() -> None:
    world = World(story(PARALLEL))
    world.reconcile()
    assert sorted(world.steps) == ["r1-p-x", "r1-p-y"]
    assert world.steps["r1-p-x"].metadata.labels["bubustack.io/parent-step"] == "p"
    assert world.states == {"p": "Running"}
    assert dict(world.run.status.primitive_children) == {"p": ["r1-p-x", "r1-p-y"]}


@pytest.mark.spec("runs-31")
def test_b01_a_parallel_step_ends_with_its_branches_however_many_passes_it_takes() -> None:
    world = World(story(PARALLEL, step("z: needs p", with_={"a": "{{ steps.x.output.v }}"})))
    world.reconcile()
    world.end("p-x", v=1).reconcile()
    assert world.state("p") == "Running"
    world.end("p-y").reconcile()
    assert world.state("p") == "Succeeded"
    found = world.plan_step("z")
    assert found.start is not None
    assert found.start.inputs == {"a": 1}


@pytest.mark.spec("runs-32")
def test_a_failed_branch_fails_the_parallel_step_by_name() -> None:
    world = World(story(PARALLEL))
    world.reconcile()
    world.end("p-x", "Failed").end("p-y").reconcile()
    assert world.state("p") == "Failed/BranchFailed"
    assert "x" in (world.run.status.step_states["p"].message or "")


@pytest.mark.spec("runs-33")
def test_a_branch_that_may_fail_does_not_fail_the_parallel_step() -> None:
    branches = [{"name": "x", "ref": {"name": "worker"}, "allowFailure": True}]
    world = World(story(step("p: parallel", with_={"steps": branches})))
    world.reconcile()
    world.end("p-x", "Failed").reconcile()
    assert world.state("p") == "Succeeded"
    assert "x" in (world.run.status.step_states["p"].message or "")


@pytest.mark.parametrize(
    "branches",
    [
        None,
        [],
        [{"name": "x"}],
        [{"name": "x", "type": "sleep"}],
        [{"ref": {"name": "worker"}}],
        ["x"],
        [{"name": "x", "type": "nonsense"}],
        [{"name": "x", "ref": "worker"}],
        [{"name": "x", "ref": {"name": "worker"}, "needs": "y"}],
        [{"name": "x", "ref": {"name": "worker"}, "needs": ["y"]}],
        [{"name": "x", "ref": {"name": "worker"}}, {"name": "x", "ref": {"name": "worker"}}],
    ],
)
def test_b23_a_malformed_parallel_step_fails_with_what_would_be_right(branches: Any) -> None:
    world = World(story(step("p: parallel", with_={"steps": branches})))
    world.reconcile()
    assert world.state("p") == "Failed/InvalidConfiguration"


def test_b23_the_condition_of_a_branch_is_honoured() -> None:
    branches = [{"name": "x", "ref": {"name": "worker"}, "if": "{{ false }}"}, {"name": "y", "ref": {"name": "worker"}}]
    world = World(story(step("p: parallel", with_={"steps": branches})))
    world.reconcile()
    assert list(world.steps) == ["r1-p-y"]
    world.end("p-y").reconcile()
    assert world.state("p") == "Succeeded"


def test_b17_what_a_branch_reads_is_a_dependency_of_the_parallel_step() -> None:
    branches = [{"name": "x", "ref": {"name": "worker"}, "with": {"v": "{{ steps.a.output.v }}"}}]
    world = World(story("a", step("p: parallel", with_={"steps": branches})))
    world.reconcile()
    assert list(world.steps) == ["r1-a"]
    world.end("a", v=1).reconcile()
    assert "r1-p-x" in world.steps


def test_b38_names_that_collide_are_told_apart() -> None:
    branches = [{"name": "b", "ref": {"name": "worker"}}]
    world = World(story("a-b", step("a: parallel", with_={"steps": branches})))
    world.reconcile()
    assert world.state("a") == "Failed/ChildStepRunDrift"
    assert world.state("a-b") in ("Running", "Skipped/FailFast")


@pytest.mark.spec("runs-35")
def test_b24_a_stop_ends_the_run_and_what_still_runs_is_drained() -> None:
    world = World(story("a", "b", "c: needs b", step("halt: stop", needs=["a"]), finally_=["f"]))
    world.reconcile()
    world.end("a").reconcile()
    assert world.states == {"a": "Succeeded", "b": "Running", "c": "Skipped", "halt": "Succeeded"}
    assert world.steps["r1-b"].metadata.annotations["bubustack.io/cancel-requested"] == "true"
    world.end("b", "Canceled").reconcile()
    assert (world.state("b"), world.state("f")) == ("Canceled/Canceled", "Running")
    world.end("f").reconcile()
    assert world.phase == "Succeeded/Completed"


@pytest.mark.spec("runs-36")
def test_a_stop_with_failure_runs_the_compensations() -> None:
    halt = step("halt: stop", with_={"phase": "Failed", "message": "enough"})
    world = World(story(halt, compensations=["k"]))
    world.reconcile()
    assert world.state("k") == "Running"
    world.end("k").reconcile()
    assert world.phase == "Failed/ExecutionFailed"
    assert world.run.status.message == "enough"


def test_a_stop_that_drains_too_slowly_is_cut_off() -> None:
    world = World(story("a", "b", "halt: stop needs a"))
    world.reconcile()
    assert world.end("a").reconcile().wake_at == T0 + 20 * SECOND
    world.at(20 * SECOND).reconcile()
    assert "r1-b" not in world.steps
    assert world.state("b") == "Canceled/Canceled"
    assert world.phase == "Succeeded/Completed"


def execute(**with_: Any) -> dict[str, Any]:
    return step("e: executeStory", with_={"storyRef": {"name": "child"}, **with_})


def parent(*steps: Any, **spec: Any) -> World:
    world = World(story(*(steps or (execute(),)), **spec))
    world.stories["wf/child"] = story("x", name="child", policy={"with": {"a": 1, "s": "x"}})
    return world


def child_ends(world: World, phase: str, **output: Any) -> None:
    status: dict[str, Any] = {"phase": phase, "message": "done"}
    world.patch(world.runs["r1-e"], {"status": status | ({"output": output} if output else {})})


@pytest.mark.spec("runs-37")
def test_b25_an_executed_story_is_waited_for_by_default_and_its_output_readable() -> None:
    world = parent(execute(), step("b", with_={"v": "{{ steps.e.output.v }}"}))
    world.reconcile()
    child = world.runs["r1-e"]
    assert child.metadata.owner_references[0].uid == world.run.metadata.uid
    assert world.state("e") == "Running"
    child_ends(world, "Succeeded", v=7)
    world.reconcile()
    assert world.state("e") == "Succeeded"
    found = world.plan_step("b")
    assert found.start is not None
    assert found.start.inputs == {"v": 7}


@pytest.mark.spec("runs-38")
def test_an_executed_story_that_is_not_waited_for_succeeds_when_it_exists() -> None:
    world = parent(execute(waitForCompletion=False))
    world.reconcile()
    assert world.state("e") == "Succeeded"
    assert not world.runs["r1-e"].spec.cancel_requested
    assert world.phase == "Succeeded/Completed"


@pytest.mark.spec("runs-39")
def test_a_child_that_runs_out_of_time_fails_its_step() -> None:
    world = parent()
    world.reconcile()
    child_ends(world, "Timeout")
    world.reconcile()
    assert world.state("e") == "Timeout"
    assert world.phase == "Failed/DependencyFailed"


@pytest.mark.spec("runs-40")
def test_the_inputs_of_a_child_are_the_storys_defaults_under_the_steps_values() -> None:
    world = parent(execute(**{"with": {"b": 2, "s": "y"}}))
    world.reconcile()
    assert world.runs["r1-e"].spec.inputs == {"a": 1, "b": 2, "s": "y"}


@pytest.mark.spec("runs-41")
def test_a_storyrun_of_the_childs_name_that_is_not_ours_is_left_alone() -> None:
    world = parent()
    foreign = {"metadata": {"name": "r1-e", "namespace": "wf"}, "spec": {"storyRef": {"name": "child"}}}
    world.create(StoryRun.model_validate(foreign))
    before = world.runs["r1-e"].to_wire()
    world.reconcile()
    assert ("Warning", "SubStoryRunSpoofed") in world.events
    assert world.state("e") == "Failed/SubStoryRunSpoofed"
    assert world.runs["r1-e"].to_wire() == before


ELSEWHERE = {"storyRef": {"name": "child", "namespace": "other"}}


@pytest.mark.spec("runs-42")
def test_a_story_in_another_namespace_is_refused_by_default() -> None:
    world = World(story(step("e: executeStory", with_=ELSEWHERE)))
    world.stories["other/child"] = story("x", name="child", namespace="other")
    world.reconcile()
    assert world.state("e") == "Failed/StoryReferenceInvalid"
    assert list(world.runs) == ["r1"]


@pytest.mark.spec("runs-43")
def test_a_story_in_another_namespace_runs_with_both_grants() -> None:
    world = World(
        story(step("e: executeStory", with_=ELSEWHERE)), config={"references.cross-namespace-policy": "grant"}
    )
    world.stories["other/child"] = story("x", name="child", namespace="other")
    entries = [
        {"group": "bubustack.io", "kind": "Story", "namespace": "wf"},
        {"group": "runs.bubustack.io", "kind": "StoryRun", "namespace": "wf"},
    ]
    grant = {
        "metadata": {"name": "g", "namespace": "other"},
        "spec": {"from": entries, "to": [{"group": "bubustack.io", "kind": "Story"}]},
    }
    world.grants.append(ReferenceGrant.model_validate(grant))
    world.reconcile()
    assert world.runs["r1-e"].spec.story_ref.namespace == "other"


@pytest.mark.parametrize(
    ("group", "kind", "missing"), [("bubustack.io", "Story", "StoryRun"), ("runs.bubustack.io", "StoryRun", "Story")]
)
def test_a_story_of_another_namespace_needs_a_grant_for_the_story_and_one_for_the_run(
    group: str, kind: str, missing: str
) -> None:
    abroad = step("e: executeStory", with_={"storyRef": {"name": "child", "namespace": "other"}})
    world = World(story(abroad), config={"references.cross-namespace-policy": "grant"})
    world.stories["other/child"] = story("x", name="child", namespace="other")
    grant = {
        "metadata": {"name": "g", "namespace": "other"},
        "spec": {
            "from": [{"group": group, "kind": kind, "namespace": "wf"}],
            "to": [{"group": "bubustack.io", "kind": "Story"}],
        },
    }
    world.grants.append(ReferenceGrant.model_validate(grant))
    world.reconcile()
    assert world.state("e") == "Failed/StoryReferenceInvalid"
    assert missing in (world.run.status.step_states["e"].message or "")
    assert "r1-e" not in world.runs


def test_b07_the_version_that_an_execute_story_step_wants_is_that_of_the_story_or_it_fails() -> None:
    pinned = step("e: executeStory", with_={"storyRef": {"name": "child", "version": "2"}})
    world = World(story(pinned))
    world.stories["wf/child"] = story("x", name="child", version="1")
    world.reconcile()
    assert world.state("e") == "Failed/StoryReferenceInvalid"
    assert 'wants version "2"' in (world.run.status.step_states["e"].message or "")

    world = World(story(pinned))
    world.stories["wf/child"] = story("x", name="child", version="2")
    older = {"wf/child": story("x", name="child", version="1")}
    assert plan(replace(world.snapshot(), stories=older), world.now).confirm
    world.reconcile()
    assert world.runs["r1-e"].spec.story_ref.version == "2"


@pytest.mark.spec("runs-44")
def test_b26_a_story_never_runs_inside_itself() -> None:
    world = parent(execute())
    world.stories["wf/child"] = story(step("e: executeStory", with_={"storyRef": {"name": "s"}}), name="child")
    world.reconcile()
    world.reconcile("r1-e")
    state = world.runs["r1-e"].status.step_states["e"]
    assert (state.phase, state.reason) == ("Failed", "StoryReferenceInvalid")
    assert "wf/s -> wf/child -> wf/s" in (state.message or "")


def test_b26_stories_nest_only_as_deep_as_the_operator_allows() -> None:
    def starts(name: str) -> dict[str, Any]:
        return step("e: executeStory", with_={"storyRef": {"name": name}})

    world = World(story(starts("one")), config={"storyrun.max-story-depth": "2"})
    world.stories |= {
        "wf/one": story(starts("two"), name="one"),
        "wf/two": story(starts("three"), name="two"),
        "wf/three": story("x", name="three"),
    }
    for run in ("r1", "r1-e", "r1-e-e"):
        world.reconcile(run)
    assert world.runs["r1-e"].status.step_states["e"].phase == "Running"
    state = world.runs["r1-e-e"].status.step_states["e"]
    assert (state.phase, state.reason) == ("Failed", "StoryReferenceInvalid")
    assert "storyrun.max-story-depth" in (state.message or "")


def test_a_missing_story_holds_its_step_until_the_timeout() -> None:
    world = parent()
    wanted = world.stories.pop("wf/child")
    world.reconcile()
    assert world.state("e") == "Pending/ReferenceNotFound"
    world.stories["wf/child"] = wanted
    world.reconcile()
    assert world.state("e") == "Running"


def test_a_child_that_was_deleted_fails_its_step() -> None:
    world = parent()
    world.reconcile()
    assert world.run.status.step_states["e"].sub_story_run_name == "r1-e"
    del world.runs["r1-e"]
    world.at(timedelta(minutes=1)).reconcile()
    assert world.state("e") == "Failed/ReferenceNotFound"


def test_b31_long_names_become_labels_that_the_api_accepts() -> None:
    name = "r" * 80
    world = World(story(execute()), run=name)
    world.stories["wf/child"] = story("x", name="child")
    world.reconcile()
    child = next(run for key, run in world.runs.items() if key != name)
    assert all(len(value) <= 63 for value in child.metadata.labels.values())


def test_b42_a_child_is_recognised_although_its_inputs_would_be_others_now() -> None:
    world = parent(execute(**{"with": {"t": "{{ inputs.t }}"}}))
    world.patch(world.run, {"spec": {"inputs": {"t": 1}}})
    world.reconcile()
    world.patch(world.run, {"spec": {"inputs": {"t": 2}}})
    world.reconcile()
    assert world.state("e") == "Running"


def test_b38_the_end_of_a_branch_is_never_taken_for_that_of_a_step_of_the_same_name() -> None:
    branches = [{"name": "b", "ref": {"name": "worker"}}]
    world = World(story(step("a: parallel", with_={"steps": branches}), "x", "a-b: needs x"))
    world.reconcile()
    world.end("a-b").reconcile()
    assert (world.state("a"), world.state("a-b")) == ("Succeeded", "")
    world.end("x").reconcile()
    assert world.state("a-b") == "Failed/ChildStepRunDrift"


def test_a_further_branch_is_started_only_from_an_authoritative_view_of_the_run() -> None:
    world = World(story(PARALLEL))
    world.reconcile()
    del world.steps["r1-p-y"]
    assert not plan(world.snapshot(), world.now).starts
    world.at(3 * SECOND)
    found = plan(world.snapshot(), world.now)
    assert (found.confirm, found.starts) == (True, ())
    assert [item.metadata.name for item in plan(world.snapshot(authoritative=True), world.now).starts] == ["r1-p-y"]


def test_deadlines_are_shown_in_the_annotation_that_the_go_operator_reads() -> None:
    gate = step("g: gate", with_={"timeout": "1m"})
    world = World(story("s: sleep 10s", gate, step("w: wait", with_={"until": "{{ inputs.x }}"}), "a"))
    world.reconcile()
    shown = world.run.metadata.annotations["runs.bubustack.io/step-timers"]
    assert json.loads(shown) == {
        "s": {"sleepUntil": "2026-01-01T10:00:10.000Z"},
        "g": {"gateTimeoutAt": "2026-01-01T10:01:00.000Z"},
    }
    assert recorded_timers(shown) == {"s": T0 + 10 * SECOND, "g": T0 + 60 * SECOND}
    world.at(10 * SECOND).reconcile()
    assert list(recorded_timers(world.run.metadata.annotations["runs.bubustack.io/step-timers"])) == ["g"]
    world.at(60 * SECOND).reconcile()
    assert "runs.bubustack.io/step-timers" not in world.run.metadata.annotations


def test_a_run_without_timers_is_not_written_for_them() -> None:
    world = World(story("a"))
    world.reconcile()
    assert all(found.metadata is None for found in world.log)
