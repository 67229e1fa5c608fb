"""Batch Stories of Engram steps, as their authors and users meet them, in both worlds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.builders import engram, step, story, storyrun, template
from tests.behaviour.cluster import ApiFailure, Object
from tests.behaviour.worlds import World


def finish(world: World, namespace: str, *steps: Object, inputs: Object | None = None, **spec: Any) -> Object:
    """Runs a Story of these steps to its end and gives the StoryRun."""
    world.cluster.apply(story("s", namespace, *steps, **spec), storyrun("r", namespace, "s", inputs))
    return world.cluster.wait_run(namespace, "r")


def steprun(world: World, namespace: str, step_name: str) -> Object:
    return world.cluster.get("StepRun", namespace, f"r-{step_name}")


def condition(obj: Object, kind: str) -> Object:
    return next(c for c in obj["status"]["conditions"] if c["type"] == kind)


def test_outputs_flow_from_step_to_step_and_into_the_output_of_the_story(world: World, namespace: str) -> None:
    run = finish(
        world,
        namespace,
        step("a", "echo", with_={"greeting": "Hello {{ inputs.name }}", "n": "{{ inputs.n }}"}),
        step("b", "echo", with_={"text": "{{ steps.a.outputs.greeting | upper }}", "n": "{{ steps.a.output.n }}"}),
        inputs={"name": "Ada", "n": 3},
        output={"text": "{{ steps.b.output.text }}", "n": "{{ steps.b.output.n }}"},
    )
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["output"] == {"text": "HELLO ADA", "n": 3}
    assert sorted(run["status"]["completed"]) == ["a", "b"]
    assert (run["status"]["stepsTotal"], run["status"]["stepsComplete"]) == (2, 2)
    assert condition(run, "Ready")["reason"] == "Completed"
    assert condition(run, "Progressing")["status"] == "False"


def test_a_component_that_exits_0_without_reporting_succeeded(world: World, namespace: str) -> None:
    run = finish(world, namespace, step("a", "silent"))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert steprun(world, namespace, "a")["status"]["exitClass"] == "success"


def test_a_silent_component_fails_where_its_output_schema_requires_something(world: World, namespace: str) -> None:
    schema = {"type": "object", "required": ["v"], "properties": {"v": {"type": "string"}}}
    strict = template("silent", outputSchema=schema)
    strict["metadata"]["name"] = "test-silent-strict"
    world.cluster.apply(strict, engram("silent", namespace, name="strict", of="test-silent-strict"))
    run = finish(world, namespace, step("a", "strict"))
    assert run["status"]["phase"] == "Failed"
    failed = steprun(world, namespace, "a")
    assert condition(failed, "Ready")["reason"] == "OutputSchemaFailed"
    assert "v" in failed["status"]["lastFailureMsg"]


def test_a_crash_is_terminal_and_told_in_the_run(world: World, namespace: str) -> None:
    run = finish(world, namespace, step("a", "crash"), step("b", "echo", "a"))
    assert run["status"]["phase"] == "Failed"
    assert run["status"]["error"]["failedSteps"][0]["name"] == "a"
    assert run["status"]["stepStates"]["b"]["phase"] == "Skipped"
    failed = steprun(world, namespace, "a")["status"]
    assert (failed["exitCode"], failed["exitClass"], failed.get("retries", 0)) == (1, "terminal", 0)


def test_a_component_killed_by_a_signal_is_retried_by_policy_and_then_fails(world: World, namespace: str) -> None:
    retry = {"retry": {"maxRetries": 1, "delay": "100ms", "backoff": "constant"}}
    run = finish(world, namespace, step("a", "killed", execution=retry))
    assert run["status"]["phase"] == "Failed"
    failed = steprun(world, namespace, "a")["status"]
    assert (failed["exitCode"], failed["retries"]) == (137, 1)


def test_a_retryable_failure_is_tried_again_until_it_succeeds(world: World, namespace: str, calls: Path) -> None:
    retry = {"retry": {"maxRetries": 3, "delay": "50ms", "backoff": "constant"}}
    flaky = step("a", "flaky", with_={"calls": str(calls), "succeed_at": 3}, execution=retry)
    run = finish(world, namespace, flaky, output={"calls": "{{ steps.a.output.calls }}"})
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["output"] == {"calls": 3}
    assert len(calls.read_text().splitlines()) == 3
    done = steprun(world, namespace, "a")["status"]
    assert done["retries"] == 2
    assert done.get("error") is None
    assert done.get("nextRetryAt") is None


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_component_that_hangs_is_timed_out_and_leaves_no_orphan(world: World, namespace: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    for name, timeout in (("soon", "1500ms"), ("later", "15s"), ("late", "90s")):
        execution = {"timeout": timeout, "retry": {"maxRetries": 0}}
        hanging = step("a", "hang", with_={"pids": str(pids)}, execution=execution)
        world.cluster.apply(story(name, namespace, hanging), storyrun(name, namespace, name))
        assert world.cluster.wait_run(namespace, name)["status"]["phase"] == "Failed"
        timed_out = world.cluster.get("StepRun", namespace, f"{name}-a")["status"]
        assert (timed_out["phase"], timed_out["exitCode"]) == ("Timeout", 124)
        world.cluster.wait_gone("Job", namespace, f"{name}-a")
        for pod in world.cluster.list("Pod", namespace):
            world.cluster.wait_gone("Pod", namespace, pod["metadata"]["name"])
        if pids.exists() and pids.read_text():
            break  # else the machine was too busy to start it in that time, and there is nobody who could be left
    assert [pid for pid in map(int, pids.read_text().split()) if alive(pid)] == []


def test_what_was_reported_as_success_stays_so_whatever_the_exit_code(world: World, namespace: str) -> None:
    run = finish(world, namespace, step("a", "liar"), output={"v": "{{ steps.a.output.v }}"})
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["output"] == {"v": "said"}


def test_a_step_whose_condition_is_false_is_skipped_and_reads_as_null(world: World, namespace: str) -> None:
    run = finish(
        world,
        namespace,
        step("a", "echo", if_="{{ inputs.go }}"),
        step("b", "echo", "a", with_={"seen": '{{ steps.a.output.deep.value | default "nothing" }}'}),
        inputs={"go": False},
        output={"seen": "{{ steps.b.output.seen }}"},
    )
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["stepStates"]["a"]["phase"] == "Skipped"
    assert run["status"]["output"] == {"seen": "nothing"}


def test_a_key_that_a_finished_step_does_not_have_fails_its_reader_and_names_those_that_exist(
    world: World, namespace: str
) -> None:
    run = finish(
        world, namespace, step("a", "echo", with_={"v": 1}), step("b", "echo", with_={"x": "{{ steps.a.output.w }}"})
    )
    assert run["status"]["phase"] == "Failed"
    failed = steprun(world, namespace, "b")
    assert condition(failed, "Ready")["reason"] == "ExpressionFailed"
    message = failed["status"]["lastFailureMsg"]
    assert "w" in message
    assert "v" in message


def test_an_output_larger_than_kubernetes_holds_fails_the_step_with_a_message(world: World, namespace: str) -> None:
    run = finish(world, namespace, step("a", "big", execution={"retry": {"maxRetries": 0}}))
    assert run["status"]["phase"] == "Failed"
    failed = steprun(world, namespace, "a")["status"]
    assert failed["phase"] == "Failed"
    assert failed["lastFailureMsg"] == "exited with code 1"


def test_failing_steps_that_are_allowed_to_do_not_fail_the_run(world: World, namespace: str) -> None:
    run = finish(world, namespace, step("a", "crash", allowFailure=True), step("b", "echo", "a", with_={"v": 1}))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["allowedFailures"] == ["a"]


def test_a_cancelled_run_asks_its_steps_to_stop_and_ends_as_finished(world: World, namespace: str, calls: Path) -> None:
    steps = [step("a", "counted", with_={"calls": str(calls), "seconds": 600}), step("b", "echo", "a")]
    spec = {"policy": {"timeouts": {"gracefulShutdownTimeout": "2s"}}}
    world.cluster.apply(story("s", namespace, *steps, **spec), storyrun("r", namespace, "s"))
    world.cluster.wait("StepRun", namespace, "r-a", lambda s: s.get("status", {}).get("phase") == "Running")
    world.cluster.merge("StoryRun", namespace, "r", {"spec": {"cancelRequested": True}})
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Finished"
    assert run["status"]["stepStates"]["a"]["phase"] == "Canceled"
    assert run["status"]["stepStates"]["b"]["phase"] == "Skipped"
    assert condition(run, "Ready")["reason"] == "Canceled"


def test_an_image_that_nobody_provides_is_told_with_the_way_out(world: World, namespace: str) -> None:
    nowhere = template("nowhere")
    nowhere["spec"]["image"] = "example.com/nowhere:1"
    world.cluster.apply(nowhere, engram("nowhere", namespace))
    world.cluster.apply(story("s", namespace, step("a", "nowhere")), storyrun("r", namespace, "s"))
    waiting = world.cluster.wait(
        "StepRun", namespace, "r-a", lambda s: "--image" in str(s.get("status", {}).get("conditions", ""))
    )
    assert "ErrImagePull" in str(waiting["status"]["conditions"])
    assert "bobrapet.images" in str(waiting["status"]["conditions"])
    world.cluster.delete("StoryRun", namespace, "r")
    execution = {"timeout": "1s", "retry": {"maxRetries": 0}}
    world.cluster.apply(story("hurry", namespace, step("a", "nowhere", execution=execution)))
    world.cluster.apply(storyrun("hurry", namespace, "hurry"))
    assert world.cluster.wait_run(namespace, "hurry")["status"]["phase"] == "Failed"
    assert world.cluster.get("StepRun", namespace, "hurry-a")["status"]["phase"] == "Timeout"


def test_a_run_of_inputs_that_violate_the_schema_is_refused_or_fails_before_any_step(
    world: World, namespace: str
) -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    world.cluster.apply(story("s", namespace, step("a", "echo"), inputsSchema=schema))
    wrong = storyrun("r", namespace, "s", {"n": "three"})
    if world.asks_webhooks():
        with pytest.raises(ApiFailure, match=r"spec\.inputs\.n: must be an integer"):
            world.cluster.create(wrong)
        return
    world.cluster.create(wrong)
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Failed"
    assert condition(run, "Ready")["reason"] == "InputSchemaFailed"
    assert world.cluster.find("StepRun", namespace, "r-a") is None


def test_fan_out_and_fan_in_of_fifty_steps_all_succeed(world: World, namespace: str) -> None:
    middle = [step(f"m{n}", "silent", "a") for n in range(50)]
    run = finish(world, namespace, step("a", "silent"), *middle, step("z", "silent", *(m["name"] for m in middle)))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["stepsComplete"] == 52


@pytest.mark.parametrize("seconds", [0])
def test_five_steps_that_finish_at_once_never_lose_the_run(
    world: World, namespace: str, calls: Path, seconds: int
) -> None:
    names = "abcde"
    steps = [
        step(name, "counted", *([names[index - 1]] if index else []), with_={"calls": str(calls), "seconds": seconds})
        for index, name in enumerate(names)
    ]
    world.cluster.apply(story("s", namespace, *steps))
    runs = [f"r{n}" for n in range(5)]
    world.cluster.apply(*(storyrun(run, namespace, "s") for run in runs))
    phases = {run: world.cluster.wait_run(namespace, run)["status"]["phase"] for run in runs}
    assert phases == dict.fromkeys(runs, "Succeeded")
    assert sorted(calls.read_text().split()) == sorted(f"{run}-{name}" for run in runs for name in names)
