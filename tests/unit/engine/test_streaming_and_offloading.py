"""Requirements on streams, as far as they concern StepRuns, and on data that lies in storage (spec runs 12.9, 22)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bobrapet.api import labels
from bobrapet.engine.reasons import WaitsForPayload
from bobrapet.engine.run import plan
from tests.unit.engine.world import SECOND, T0, World, step, story


@pytest.mark.spec("runs-80")
@pytest.mark.parametrize("pattern", ["streaming", "realtime"])
def test_the_steps_of_a_stream_run_side_by_side_and_conditions_are_the_hubs(pattern: str) -> None:
    world = World(story("a", step("b: needs a", if_="{{ packet.x }}"), pattern=pattern))
    world.reconcile()
    assert set(world.steps) == {"r1-a", "r1-b"}


@pytest.mark.spec("runs-81")
def test_a_terminated_topology_fails_its_steps_and_cleans_up_as_a_batch() -> None:
    world = World(story("a", "b: needs a", pattern="streaming", compensations=["k"], finally_=["f"]))
    world.reconcile()
    conditions = [condition.to_wire() for condition in world.run.status.conditions]
    degraded = next(condition for condition in conditions if condition["type"] == "Degraded")
    degraded |= {"status": "True", "reason": "TopologyTerminated"}
    world.patch(world.run, {"status": {"conditions": conditions}})
    world.reconcile()
    assert world.states == {"a": "Failed", "b": "Failed", "k": "Running"}
    assert "r1-a" not in world.steps
    world.end("k").reconcile()
    world.end("f").reconcile()
    assert world.phase == "Compensated/Compensated"


@pytest.mark.spec("runs-62")
def test_a_stream_drains_as_long_as_its_slowest_transport() -> None:
    transports = [
        {"name": "t", "transportRef": "x", "streaming": {"lifecycle": {"drainTimeoutSeconds": 60}}},
        {"name": "u", "transportRef": "x", "streaming": {"lifecycle": {"drainTimeoutSeconds": 5}}},
    ]
    world = World(story("a", pattern="streaming", transports=transports))
    world.reconcile()
    world.patch(world.run, {"spec": {"cancelRequested": True}})
    assert world.reconcile().wake_at == T0 + 60 * SECOND


REFERENCE = {"$bubuStorageRef": "outputs/wf/r1-a/big.json"}
READS = step("b", if_='{{ eq steps.a.output.big "x" }}')


def offloading(policy: str) -> World:
    world = World(story("a", READS), config={"templating.offloaded-data-policy": policy})
    world.has_storage = True
    world.reconcile()
    world.end("a", big=REFERENCE)
    return world


@pytest.mark.spec("runs-82")
def test_what_the_controller_evaluates_is_read_from_storage_first() -> None:
    world = offloading("controller")
    found = world.plan()
    assert list(found.load) == [REFERENCE]
    assert isinstance(found.reasons["b"], WaitsForPayload)
    world.payloads[REFERENCE["$bubuStorageRef"]] = "x"
    world.reconcile()
    assert set(world.steps) == {"r1-a", "r1-b"}


@pytest.mark.spec("runs-84")
def test_the_policy_error_fails_what_reads_offloaded_data() -> None:
    world = offloading("error")
    world.reconcile()
    assert world.state("b") == "Failed/ExpressionFailed"


def test_without_storage_offloaded_data_fails_its_reader_instead_of_hanging_it() -> None:
    world = offloading("controller")
    world.has_storage = False
    world.reconcile()
    assert world.state("b") == "Failed/ExpressionFailed"
    assert "no storage" in (world.run.status.step_states["b"].message or "")


def test_a_component_is_asked_only_by_a_plan_on_the_newest_objects() -> None:
    """Found by the simulation: without a status to write, an old copy of the run asked for one that had ended."""
    world = offloading("inject")
    world.has_storage = False
    fenced = plan(replace(world.snapshot(), can_materialize=True), world.now)
    assert fenced.status is not None
    world.patch(world.run, fenced.status)
    cached = replace(world.snapshot(), can_materialize=True)
    assert plan(cached, world.now).confirm
    found = plan(replace(cached, authoritative=True), world.now)
    assert [steprun.metadata.labels[labels.MATERIALIZE] for steprun in found.starts] == ["true"]
    assert not found.confirm


@pytest.mark.spec("workloads-19")
def test_a_plain_path_to_offloaded_data_reaches_the_component_as_reference() -> None:
    world = World(story("a", step("b", with_={"x": "{{ steps.a.output.big }}"})))
    world.reconcile()
    world.end("a", big=REFERENCE).reconcile()
    found = world.plan_step("b")
    assert found.start is not None
    assert found.start.inputs == {"x": REFERENCE}


INPUT = {"$bubuStorageRef": "inputs/wf/r1/input.json"}
OTHER = {"$bubuStorageRef": "inputs/wf/r1/other.json"}


@pytest.mark.parametrize("last", [step("z: stop"), step("z: wait", with_={"until": "{{ nope }}"})])
def test_no_component_is_asked_about_a_step_that_the_end_of_the_run_skips(last: object) -> None:
    """Found by the simulation: the step that ends the run came after the one with the question."""
    asks = step("b: condition", if_="{{ eq inputs.n 7.0 }}")
    world = World(story(asks, last), inputs={"n": INPUT})
    found = plan(replace(world.snapshot(), can_materialize=True, authoritative=True), world.now)
    assert not found.starts
    assert not found.engrams


def test_a_step_that_goes_on_after_a_failure_still_asks() -> None:
    waits = step("w: wait", with_={"until": "{{ eq inputs.n 7.0 }}"})
    world = World(story("a", waits), inputs={"n": INPUT})
    world.has_storage = True
    world.reconcile()
    world.has_storage = False
    world.end("a", "Failed")
    found = plan(replace(world.snapshot(), can_materialize=True, authoritative=True), world.now)
    assert [steprun.metadata.labels[labels.MATERIALIZE] for steprun in found.starts] == ["true"]


@pytest.mark.parametrize("condition", ["{{ eq inputs.n 7.0 }}", "{{ inputs.n }}", "{{ inputs.n | not }}"])
def test_a_condition_never_takes_the_reference_for_the_input(condition: str) -> None:
    world = World(story(step("a", if_=condition)), inputs={"n": INPUT, "other": OTHER})
    world.has_storage = True
    assert list(world.plan().load) == [INPUT]
    world.payloads[INPUT["$bubuStorageRef"]] = 7 if "eq" in condition else "not" not in condition
    world.reconcile()
    assert set(world.steps) == {"r1-a"}


def test_a_condition_that_is_a_path_reads_what_is_stored_there() -> None:
    world = World(story("a", step("b", if_="{{ steps.a.output.big.done }}")))
    world.has_storage = True
    world.reconcile()
    world.end("a", big=REFERENCE)
    world.payloads[REFERENCE["$bubuStorageRef"]] = {"done": False}
    world.reconcile()
    assert world.state("b") == "Skipped/ConditionFalse"


def test_an_input_that_is_passed_on_stays_a_reference() -> None:
    world = World(story("a", output={"n": "{{ inputs.n }}"}), inputs={"n": INPUT})
    world.reconcile()
    world.end("a").reconcile()
    assert world.run.status.output == {"n": INPUT}


def test_an_input_that_is_printed_is_read() -> None:
    world = World(story("a", output={"text": "n is {{ inputs.n }}"}), inputs={"n": INPUT})
    world.has_storage = True
    world.reconcile()
    world.end("a")
    assert list(world.reconcile().load) == [INPUT]
    world.payloads[INPUT["$bubuStorageRef"]] = "seven"
    world.reconcile()
    assert world.run.status.output == {"text": "n is seven"}


def test_what_evaluates_a_template_takes_no_slot() -> None:
    decided = step("b", if_="{{ eq steps.a.output.big `x` }}")
    world = World(story("a", decided, "c: needs a", policy={"concurrency": 1}))
    world.reconcile()
    world.end("a", big=REFERENCE)
    snapshot = replace(world.snapshot(), can_materialize=True, authoritative=True)
    asked = plan(snapshot, world.now)
    question = next(found for found in asked.starts if found.metadata.labels.get(labels.MATERIALIZE))
    assert question.metadata.name is not None
    assert len(asked.starts) == 2, "the step that is ready has its slot beside it"
    world.create(question)
    snapshot = replace(world.snapshot(), can_materialize=True, authoritative=True)
    assert [found.metadata.name for found in plan(snapshot, world.now).starts] == ["r1-c"]


def test_an_output_with_offloaded_data_waits_for_it() -> None:
    world = World(story("a", output={"v": "{{ steps.a.output.big | upper }}"}))
    world.has_storage = True
    world.reconcile()
    world.end("a", big=REFERENCE)
    assert list(world.reconcile().load) == [REFERENCE]
    world.payloads[REFERENCE["$bubuStorageRef"]] = "x"
    world.reconcile()
    assert world.run.status.output == {"v": "X"}
