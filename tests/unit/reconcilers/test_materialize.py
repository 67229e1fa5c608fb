"""Templates over offloaded data that a component evaluates, because the controller cannot or shall not."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from bobrapet.api import Engram, StepRun, labels
from bobrapet.config.operator import OperatorConfig, parse
from bobrapet.engrams.materialize import materialize
from bobrapet.reconcilers.stores import Stores
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.sdk.testkit import Operator
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.test_payloads import BODY, Offloading
from tests.unit.reconcilers.world import World


def with_policy(policy: str) -> OperatorConfig:
    config = OperatorConfig()
    return dataclasses.replace(config, templating=dataclasses.replace(config.templating, offloaded_data_policy=policy))


FLAG = {"$bubuStorageRef": f"inputs/{NAMESPACE}/run1/input.json", "$bubuStoragePath": "flag"}


def unreachable(
    *steps: Any, policy: str = "inject", installed: bool = True, inputs: dict[str, Any] | None = None, **spec: Any
) -> World:
    """Steps offload, but the controller itself reaches no store."""
    more = [template("materialize")] if installed else []
    objects = (template(), *more, engram(), story(step("fetch"), *steps, **spec), storyrun(**inputs or {}))
    return World(*objects, config=with_policy(policy), stores=Stores())


async def fetched(world: World, body: Any = BODY) -> None:
    await world.settle()
    await world.component_reports("run1-fetch", phase="Succeeded", exitClass="success", output={"body": body})
    await world.job_ends("run1-fetch", "Complete", exit_code=0)
    await world.settle()


async def questions(world: World) -> list[StepRun]:
    found = (await world.client.list(StepRun, namespace=NAMESPACE)).items
    return [steprun for steprun in found if steprun.metadata.labels.get(labels.MATERIALIZE) == "true"]


async def question(world: World) -> StepRun:
    (found,) = await questions(world)
    return found


async def answered(world: World, result: Any, **status: Any) -> None:
    """The component found what the template gives."""
    name = (await question(world)).metadata.name or ""
    await world.component_reports(
        name, **{"phase": "Succeeded", "exitClass": "success", "output": {"result": result}, **status}
    )
    await world.settle()


@pytest.mark.spec("runs-83")
async def test_a_condition_is_decided_by_a_steprun_that_belongs_to_no_step() -> None:
    world = unreachable(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"))
    await fetched(world)
    asked = await question(world)
    assert (asked.metadata.name or "").startswith("run1-materialize-if-load-")
    assert asked.spec.input == {
        "mode": "condition",
        "template": "{{ gt (len steps.fetch.output.body) 1 }}",
        "vars": {
            "inputs": {},
            "steps": {"fetch": {"output": {"body": BODY}, "outputs": {"body": BODY}, "phase": "Succeeded"}},
        },
    }
    assert asked.metadata.annotations[labels.ANNOTATION_MATERIALIZE_PURPOSE] == "if"
    assert asked.metadata.annotations[labels.ANNOTATION_MATERIALIZE_TARGET_STEP] == "load"
    assert await world.job("run1-load") is None
    assert await world.client.get(Engram, ObjectKey(NAMESPACE, "materialize"))
    await answered(world, True)
    assert await world.job("run1-load") is not None
    run = await world.run()
    assert set(run.status.step_states) == {"fetch", "load"}
    assert run.status.steps_total == 2


async def test_a_false_answer_skips_the_step() -> None:
    world = unreachable(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"))
    await fetched(world)
    await answered(world, False)
    assert (await world.run()).status.step_states["load"].phase == "Skipped"


@pytest.mark.parametrize("result", ["yes", 1, {}, None])
async def test_an_answer_that_is_no_condition_fails_the_step(result: Any) -> None:
    world = unreachable(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"))
    await fetched(world)
    await answered(world, result)
    state = (await world.run()).status.step_states["load"]
    assert state.phase == "Failed"
    assert "gave no condition" in (state.message or "") or "gave no `result`" in (state.message or "")


async def test_the_output_of_a_story_waits_for_the_component() -> None:
    world = unreachable(output={"n": "{{ len steps.fetch.output.body }}"})
    await fetched(world)
    assert (await world.run()).status.phase == "Running"
    assert (await question(world)).metadata.annotations[labels.ANNOTATION_MATERIALIZE_PURPOSE] == "story-output"
    await answered(world, {"n": 7})
    run = await world.run()
    assert (run.status.phase, run.status.output) == ("Succeeded", {"n": 7})


async def test_a_component_that_fails_fails_what_asked_it_with_its_reason() -> None:
    world = unreachable(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"))
    await fetched(world)
    failure = {"version": "v1", "type": "execution_error", "message": "no number", "exitClass": "terminal"}
    await answered(world, None, phase="Failed", exitClass="terminal", error=failure, lastFailureMsg="no number")
    state = (await world.run()).status.step_states["load"]
    assert state.phase == "Failed"
    assert "no number" in (state.message or "")


async def test_the_same_question_is_asked_once_and_a_new_one_again() -> None:
    world = unreachable(
        step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"),
        step("more", "fetch", if_="{{ gt (len steps.fetch.output.body) 2 }}"),
    )
    await fetched(world)
    names = [found.metadata.name or "" for found in await questions(world)]
    assert len(set(names)) == 2
    assert {name[:20] for name in names} == {"run1-materialize-if-"}


async def test_a_question_takes_no_slot_of_a_full_operator() -> None:
    decided = step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}")
    world = unreachable(decided, step("other", "fetch"), step("third", "fetch"))
    world.config = parse({"storyrun.global-concurrency": "1"}).config
    await fetched(world)
    asked = await question(world)
    assert await world.job(asked.metadata.name or "") is not None
    assert await world.job("run1-other") is not None
    assert await world.job("run1-third") is None  # the one slot is taken
    await world.component_reports("run1-other", phase="Succeeded", exitClass="success", output={})
    await world.job_ends("run1-other", "Complete", exit_code=0)
    await world.settle()
    assert await world.job("run1-third") is not None
    await answered(world, True)
    assert await world.job("run1-load") is None  # it is a step, and waits for its turn


@pytest.mark.parametrize("condition", ["{{ eq inputs.text `short` }}", "{{ inputs.flag }}", "{{ inputs.flag | not }}"])
async def test_a_condition_over_offloaded_inputs_of_the_run_is_decided_by_a_component(condition: str) -> None:
    world = unreachable(step("load", if_=condition), inputs={"text": BODY, "flag": FLAG, "n": 1})
    await world.settle()
    asked = await question(world)
    read = {"text": BODY} if "text" in condition else {"flag": FLAG}
    assert asked.spec.input == {"mode": "condition", "template": condition, "vars": {"inputs": read, "steps": {}}}
    await answered(world, True)
    assert await world.job("run1-load") is not None


async def test_what_is_offloaded_beside_the_inputs_that_a_condition_reads_needs_no_component() -> None:
    world = unreachable(step("load", if_="{{ eq inputs.n 1.0 }}"), inputs={"text": BODY, "n": 1})
    await world.settle()
    assert await questions(world) == []
    assert await world.job("run1-load") is not None


async def test_a_condition_that_is_only_a_path_into_an_offloaded_output_is_decided_by_a_component() -> None:
    world = unreachable(step("load", "fetch", if_="{{ steps.fetch.output.body.done }}"))
    await fetched(world)
    await answered(world, False)
    assert (await world.run()).status.step_states["load"].phase == "Skipped"


async def test_the_output_of_a_story_over_offloaded_inputs_waits_for_the_component() -> None:
    output = {"same": "{{ inputs.text }}", "size": "{{ printf `%d` (len inputs.text) }}"}
    world = unreachable(output=output, inputs={"text": BODY})
    await fetched(world, "small")
    assert (await world.run()).status.phase == "Running"
    await answered(world, {"same": BODY, "size": "7"})
    assert (await world.run()).status.output == {"same": BODY, "size": "7"}


async def test_the_component_gets_its_question_as_it_is() -> None:
    world = unreachable(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"))
    await fetched(world)
    asked = await question(world)
    environment = await world.environment(asked.metadata.name or "")
    assert msgspec.json.decode(environment["BUBU_TRIGGER_DATA"]) == asked.spec.input
    assert environment["BUBU_SKIP_INPUT_TEMPLATING"] == "true"
    assert "BUBU_TEMPLATE_CONTEXT" not in environment


async def test_without_its_template_the_question_says_what_is_missing() -> None:
    world = unreachable(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"), installed=False)
    await fetched(world)
    asked = await question(world)
    assert asked.status.phase == "Blocked"
    assert "EngramTemplate 'materialize' not found" in (asked.status.last_failure_msg or "")


@pytest.mark.spec("workloads-19")
async def test_under_inject_a_pipe_in_with_is_evaluated_by_a_component_and_a_plain_path_by_nobody() -> None:
    world = Offloading(
        step("shout", "fetch", with_={"text": "{{ steps.fetch.output.body | upper }}", "n": 1}),
        step("pass", "fetch", with_={"text": "{{ steps.fetch.output.body }}"}),
    )
    await world.client.create(template("materialize"))
    world.holds("hello")
    await world.fetched()
    assert await world.inputs("run1-pass") == {"text": BODY}
    assert "BUBU_SKIP_INPUT_TEMPLATING" in await world.environment("run1-pass")
    assert await world.job("run1-shout") is None
    asked = await question(world)
    assert asked.spec.input is not None
    assert asked.spec.input["mode"] == "object"
    assert asked.metadata.annotations[labels.ANNOTATION_MATERIALIZE_FOR] == "run1-shout"
    await answered(world, {"text": "HELLO", "n": 1})
    assert await world.inputs("run1-shout") == {"text": "HELLO", "n": 1}


@pytest.mark.spec("workloads-19")
async def test_under_controller_a_pipe_is_evaluated_in_process_without_a_pod_more() -> None:
    world = Offloading(step("shout", "fetch", with_={"text": "{{ steps.fetch.output.body | upper }}"}))
    await world.client.create(template("materialize"))
    world.config = with_policy("controller")
    world.holds("hello")
    await world.fetched()
    assert await world.inputs("run1-shout") == {"text": "HELLO"}
    assert await questions(world) == []


async def test_the_annotation_of_a_story_lets_the_controller_resolve() -> None:
    world = Offloading(step("shout", "fetch", with_={"text": "{{ steps.fetch.output.body | upper }}"}))
    await world.client.create(template("materialize"))
    found = await world.client.get(type(story()), ObjectKey(NAMESPACE, "etl"))
    found.metadata.annotations = {labels.ANNOTATION_CONTROLLER_RESOLVE: " True"}
    await world.client.update(found)
    world.holds("hello")
    await world.fetched()
    assert await world.inputs("run1-shout") == {"text": "HELLO"}


@pytest.mark.spec("workloads-19")
async def test_under_error_the_step_fails() -> None:
    world = Offloading(step("shout", "fetch", with_={"text": "{{ steps.fetch.output.body | upper }}"}))
    world.config = with_policy("error")
    await world.fetched()
    steprun = await world.step("run1-shout")
    assert steprun.status.phase == "Failed"
    assert "forbids" in (steprun.status.last_failure_msg or "")
    assert await questions(world) == []


async def test_under_inject_without_the_template_the_controller_does_it_when_it_can() -> None:
    world = Offloading(step("shout", "fetch", with_={"text": "{{ steps.fetch.output.body | upper }}"}))
    world.holds("hello")
    await world.fetched()
    assert await world.inputs("run1-shout") == {"text": "HELLO"}


async def test_an_answer_that_was_offloaded_as_a_whole_is_a_reference_into_it() -> None:
    world = Offloading(step("shout", "fetch", with_={"text": "{{ steps.fetch.output.body | upper }}"}))
    await world.client.create(template("materialize"))
    await world.fetched()
    name = (await question(world)).metadata.name or ""
    whole = {"$bubuStorageRef": f"outputs/{NAMESPACE}/{name}/output.json"}
    await world.component_reports(name, phase="Succeeded", exitClass="success", output=whole)
    await world.settle()
    assert await world.inputs("run1-shout") == whole | {"$bubuStoragePath": "result"}


async def test_somebody_elses_steprun_of_that_name_answers_nothing() -> None:
    world = unreachable(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"))
    await fetched(world)
    asked = await question(world)
    await world.client.delete(asked)
    forged = StepRun.model_validate(
        {
            "metadata": {
                "name": asked.metadata.name,
                "namespace": NAMESPACE,
                "labels": {labels.STORYRUN: "run1", labels.MATERIALIZE: "true"},
            },
            "spec": {**asked.spec.to_wire(), "storyRunRef": {"name": "run1"}},
        }
    )
    await world.client.create(forged)
    await world.settle()
    state = (await world.run()).status.step_states["load"]
    assert (state.phase, await world.job("run1-load")) == ("Failed", None)


def test_the_component_gives_what_the_template_gives() -> None:
    variables = {"inputs": {"n": 2}, "steps": {"a": {"output": {"rows": [1, 2, 3]}}}}
    run = Operator().run(
        materialize,
        {"template": {"n": "{{ len steps.a.output.rows }}", "m": "{{ inputs.n }}"}, "vars": variables},
    )
    assert run.output == {"result": {"n": 3, "m": 2}}
    run = Operator().run(
        materialize, {"template": "{{ gt (len steps.a.output.rows) 5 }}", "mode": "condition", "vars": variables}
    )
    assert run.output == {"result": False}


def test_the_component_says_what_is_wrong_with_a_template() -> None:
    run = Operator(max_retries=3).run(
        materialize, {"template": "{{ steps.a.output.x | upper }}", "vars": {"steps": {}}}
    )
    assert (run.phase, len(run.attempts), run.error["code"]) == ("Failed", 1, "EXPRESSION_FAILED")
