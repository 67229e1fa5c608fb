"""Offloaded data inside the controller: read when a plan asks, asked for again when the store fails."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bobrapet.reconcilers.payloads import MAX_LOADED_BYTES
from bobrapet.reconcilers.stores import Access, Stores
from bobrapet.storage import BackendUnavailable, Body, FileStore, MemoryStore, hydrate
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.world import World

POLICY = {"storage": {"file": {"volumeClaimName": "payloads"}}}
BODY = {"$bubuStorageRef": f"outputs/{NAMESPACE}/run1-fetch/body.json"}


class Offloading(World):
    """A world whose Story keeps payloads in a store that the test holds."""

    def __init__(self, *steps: Any, inputs: dict[str, Any] | None = None, **spec: Any) -> None:
        self.store = MemoryStore()
        stores = Stores(Access(claims=Path("/claims")), open=lambda settings: self.store)
        stores._folder = lambda settings, namespace: Path("/claims") / namespace  # type: ignore[method-assign]
        super().__init__(
            template(),
            engram(),
            story(step("fetch"), *steps, policy=POLICY, **spec),
            storyrun(**inputs or {}),
            stores=stores,
        )

    def holds(self, value: Any, path: str = BODY["$bubuStorageRef"]) -> None:
        self.store.put(path, Body.of(msgspec.json.encode({"contentType": "json", "data": value})))

    async def fetched(self, body: Any = BODY) -> None:
        """The first step is done and has offloaded its body."""
        await self.settle()
        await self.component_reports("run1-fetch", phase="Succeeded", exitClass="success", output={"body": body})
        await self.job_ends("run1-fetch", "Complete", exit_code=0)
        await self.settle()

    async def inputs(self, name: str) -> Any:
        return msgspec.json.decode((await self.environment(name))["BUBU_TRIGGER_DATA"])


@pytest.mark.spec("runs-82")
async def test_a_condition_over_offloaded_data_is_decided_in_process() -> None:
    world = Offloading(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body.rows) 1 }}"))
    world.holds({"rows": [1, 2]})
    await world.fetched()
    assert await world.job("run1-load") is not None
    assert set((await world.run()).status.step_states) == {"fetch", "load"}


@pytest.mark.parametrize(("found", "phase"), [(True, "Running"), (False, "Skipped")])
async def test_a_condition_that_is_only_a_path_reads_what_is_stored_there(found: bool, phase: str) -> None:
    world = Offloading(step("load", "fetch", if_="{{ steps.fetch.output.body.done }}"))
    world.holds({"done": found})
    await world.fetched()
    assert (await world.run()).status.step_states["load"].phase == phase


async def test_a_selector_in_the_reference_reads_into_the_object() -> None:
    world = Offloading(output={"n": "{{ len steps.fetch.output.body }}"})
    world.holds({"rows": [1, 2, 3]})
    await world.fetched(BODY | {"$bubuStoragePath": "rows"})
    run = await world.run()
    assert (run.status.phase, run.status.output) == ("Succeeded", {"n": 3})


async def test_the_event_loop_is_not_blocked_while_a_store_reads() -> None:
    world = Offloading(output={"n": "{{ len steps.fetch.output.body }}"})
    threads: set[int] = set()
    world.store.before = lambda verb, path: threads.add(threading.get_ident())
    world.holds([1])
    threads.clear()
    await world.fetched()
    assert threads
    assert threading.get_ident() not in threads


async def test_a_failing_store_is_asked_again_and_the_run_goes_on() -> None:
    world = Offloading(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"), step("other", "fetch"))
    world.holds([1, 2])
    failing = True

    def fail(verb: str, path: str) -> None:
        if failing:
            raise BackendUnavailable("503 slow down")

    world.store.before = fail
    await world.fetched()
    assert await world.job("run1-other") is not None, "what does not need the data goes on"
    assert await world.job("run1-load") is None
    assert ("Warning", "StorageUnavailable", "503 slow down") in world.recorder.events
    failing = False
    await world.sleep(6)
    assert await world.job("run1-load") is not None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (BODY, "nothing is stored at"),
        ({"$bubuStorageRef": "../../etc/passwd"}, "is not followed"),
        ({"$bubuStorageRef": "outputs/team-b/x/y.json"}, "lies in namespace team-b"),
    ],
)
async def test_what_can_never_be_read_fails_the_step_that_reads_it(body: Any, message: str) -> None:
    world = Offloading(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"))
    await world.fetched(body)
    state = (await world.run()).status.step_states["load"]
    assert state.phase == "Failed"
    assert message in (state.message or "")


async def test_more_than_the_controller_may_hold_fails_the_step_and_says_so() -> None:
    world = Offloading(step("load", "fetch", if_="{{ gt (len steps.fetch.output.body) 1 }}"))
    world.holds("x" * MAX_LOADED_BYTES)
    await world.fetched()
    state = (await world.run()).status.step_states["load"]
    assert state.phase == "Failed"
    assert "let a component read it" in (state.message or "")


async def test_only_what_a_template_reads_is_read_from_the_store() -> None:
    world = Offloading(
        step("small", "fetch", if_="{{ gt steps.fetch.output.size 1.0 }}"),
        step("rows", "fetch", if_="{{ gt (len steps.fetch.output.rows) 1 }}"),
    )
    rows = {"$bubuStorageRef": f"outputs/{NAMESPACE}/run1-fetch/rows.json"}
    world.holds([1, 2], rows["$bubuStorageRef"])
    world.store.before = lambda verb, path: read.append(path)
    read: list[str] = []
    await world.settle()
    output = {"body": BODY, "rows": rows, "size": 7}
    await world.component_reports("run1-fetch", phase="Succeeded", exitClass="success", output=output)
    await world.settle()
    assert await world.job("run1-small") is not None
    assert await world.job("run1-rows") is not None
    assert set(read) == {rows["$bubuStorageRef"]}


async def test_a_plain_path_passes_the_reference_on_without_reading() -> None:
    world = Offloading(step("load", "fetch", with_={"data": "{{ steps.fetch.output.body.rows }}"}))
    await world.fetched()
    assert await world.inputs("run1-load") == {"data": BODY | {"$bubuStoragePath": "rows"}}


async def test_large_inputs_are_offloaded_below_the_namespace_and_the_step() -> None:
    world = Offloading(step("load", with_={"text": "{{ inputs.text }}", "n": 1}), inputs={"text": "x" * 900})
    world.config = _inline(world.config, 512)
    await world.settle()
    inputs = await world.inputs("run1-load")
    assert inputs["text"]["$bubuStorageRef"] == f"inputs/{NAMESPACE}/run1-load/text.json"
    assert hydrate(inputs, world.store) == {"text": "x" * 900, "n": 1}
    configuration = msgspec.json.decode((await world.environment("run1-load"))["BUBU_STEP_CONFIG"])
    assert hydrate(configuration, world.store) == {"text": "x" * 900, "n": 1}


async def test_inputs_that_no_process_could_take_are_no_error_with_storage() -> None:
    world = Offloading(step("load", "fetch", with_={"rows": "{{ steps.fetch.output.body }}"}))
    await world.fetched(list(range(40_000)))
    assert hydrate(await world.inputs("run1-load"), world.store) == {"rows": list(range(40_000))}


async def test_a_step_whose_inputs_cannot_be_stored_waits_and_says_why() -> None:
    world = Offloading(step("load", with_={"text": "{{ inputs.text }}"}), inputs={"text": "x" * 900})
    world.config = _inline(world.config, 512)

    def fail(verb: str, path: str) -> None:
        raise BackendUnavailable("no space")

    world.store.before = fail
    await world.settle()
    steprun = await world.step("run1-load")
    (ready,) = (condition for condition in steprun.status.conditions if condition.type == "Ready")
    assert (steprun.status.phase, ready.reason, ready.message) == ("Pending", "StorageUnavailable", "no space")
    assert await world.job("run1-load") is None
    world.store.before = lambda verb, path: None
    await world.sleep(6)
    assert await world.job("run1-load") is not None


async def test_a_claim_is_a_folder_of_the_machine(tmp_path: Path) -> None:
    stores = Stores(Access(claims=tmp_path))
    world = World(
        template(),
        engram(),
        story(step("fetch"), policy=POLICY, output={"n": "{{ len steps.fetch.output.body }}"}),
        storyrun(),
        stores=stores,
    )
    folder = tmp_path / NAMESPACE / "payloads"
    folder.mkdir(parents=True)
    FileStore(folder).put(BODY["$bubuStorageRef"], Body.of(b'{"contentType":"raw","data":"four"}'))
    await world.settle()
    await world.component_reports("run1-fetch", phase="Succeeded", exitClass="success", output={"body": BODY})
    await world.settle()
    assert (await world.run()).status.output == {"n": 4}
    await stores.close()


def _inline(config: Any, limit: int) -> Any:
    return dataclasses.replace(config, engram=dataclasses.replace(config.engram, max_inline_size=limit))


def offloaded_inputs(world: Offloading, inputs: dict[str, Any]) -> None:
    world.holds(inputs, f"inputs/{NAMESPACE}/run1/input.json")


WHOLE = {"$bubuStorageRef": f"inputs/{NAMESPACE}/run1/input.json"}


async def test_offloaded_inputs_of_a_run_are_read_like_any_others() -> None:
    world = Offloading(
        step("load", with_={"name": "{{ inputs.name }}", "shout": "{{ inputs.name | upper }}"}),
        step("never", if_='{{ eq inputs.name "Bob" }}'),
        inputs=WHOLE,
    )
    offloaded_inputs(world, {"name": "Ada"})
    await world.settle()
    assert await world.inputs("run1-load") == {"name": "Ada", "shout": "ADA"}
    assert (await world.run()).status.step_states["never"].phase == "Skipped"
    assert (await world.run()).spec.inputs == WHOLE, "the run itself keeps its reference"


async def test_inputs_are_read_once() -> None:
    world = Offloading(step("load", with_={"name": "{{ inputs.name }}"}), inputs=WHOLE)
    offloaded_inputs(world, {"name": "Ada"})
    read: list[str] = []
    world.store.before = lambda verb, path: read.append(path)
    await world.settle()
    await world.fetched()
    assert read.count(WHOLE["$bubuStorageRef"]) == 1


async def test_a_run_whose_inputs_cannot_be_read_now_waits_for_them() -> None:
    world = Offloading(step("load", with_={"name": "{{ inputs.name }}"}), inputs=WHOLE)
    offloaded_inputs(world, {"name": "Ada"})

    def fail(verb: str, path: str) -> None:
        raise BackendUnavailable("503 slow down")

    world.store.before = fail
    await world.settle()
    assert (await world.run()).status.phase is None
    assert ("Warning", "StorageUnavailable", "503 slow down") in world.recorder.events
    world.store.before = lambda verb, path: None
    await world.sleep(6)
    assert await world.inputs("run1-load") == {"name": "Ada"}


async def test_a_running_step_is_judged_whatever_the_store_does() -> None:
    world = Offloading(step("load", with_={"name": "{{ inputs.name }}"}), inputs=WHOLE)
    offloaded_inputs(world, {"name": "Ada"})
    await world.settle()

    def fail(verb: str, path: str) -> None:
        raise BackendUnavailable("503 slow down")

    world.store.before = fail
    await world.component_reports("run1-load", phase="Succeeded", exitClass="success", output={"n": 1})
    await world.settle()
    assert (await world.step("run1-load")).status.phase == "Succeeded"
    assert (await world.run()).status.step_states["load"].phase == "Succeeded"
