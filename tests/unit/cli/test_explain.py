"""`bobrapet explain`: its text and JSON, what it reads them from, and what it says when there is nothing to explain."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bobrapet.api import StoryRun
from bobrapet.cli.errors import CliError, UsageError
from bobrapet.cli.explain import ExplainRequest, explanation, main
from bobrapet.cli.explanation import explain, to_json, to_text
from bobrapet.cli.reading import Indexed, Stored
from bobrapet.engine.run import plan
from bobrapet.local import store
from bobrapet.reconcilers.builtin import ConfigMap
from bobrapet.runtime.client.object import ObjectKey, to_dict
from bobrapet.runtime.errors import Forbidden
from tests.unit.engine.world import MINUTE, SECOND, World, step, story

GOLDEN = Path(__file__).parent / "golden"


def branches(*names: str) -> dict[str, Any]:
    return {"steps": [{"name": name, "ref": {"name": "worker"}} for name in names]}


def busy_world() -> World:
    """A run with something of everything, two minutes after its start."""
    world = World(
        story(
            "fetch",
            step("optional", if_="{{ false }}"),
            step("sides: parallel", with_=branches("left", "right"), needs=["fetch"]),
            step("approve: gate", needs=["fetch"], with_={"timeout": "10m"}),
            step("ready: wait", with_={"until": "{{ inputs.go }}", "pollInterval": "30s"}),
            step("load", needs=["approve", "sides"]),
            step("lost", ref={"name": "nothing"}),
            "nap: sleep 1h",
            compensations=["undo"],
            finally_=["tidy"],
            policy={"timeouts": {"story": "2h"}, "concurrency": 2},
        ),
        inputs={"go": False},
    )
    world.reconcile()
    world.at(5 * SECOND).end("fetch").reconcile()
    world.at(2 * MINUTE).reconcile()
    return world


def explained(world: World) -> Any:
    snapshot = replace(world.snapshot(), authoritative=True)
    return explain(snapshot, plan(snapshot, world.now), {}, world.now)


@pytest.mark.parametrize("format", ["txt", "json"])
def test_a_busy_run_is_explained_as_in_the_golden_file(format: str) -> None:
    found = explained(busy_world())
    told = to_text(found) if format == "txt" else json.dumps(to_json(found), indent=2) + "\n"
    assert told == (GOLDEN / f"explain.{format}").read_text()


def test_every_step_has_exactly_one_line_and_every_deadline_of_the_plan_is_listed() -> None:
    world = busy_world()
    found = explained(world)
    names = [line.name for line in found.steps]
    assert len(names) == len(set(names))
    assert {name.partition("/")[0] for name in names} == {
        *("fetch", "optional", "sides", "approve", "ready", "load", "lost", "nap", "undo", "tidy")
    }
    assert found.next[0].at == world.plan().wake_at


def test_what_the_operator_has_not_done_yet_is_listed() -> None:
    world = World(story("a", "b: needs a"))
    found = explained(world)
    assert found.does == ("create StepRun r1-a", "set the run to Running")
    assert "As soon as the operator looks:\n  create StepRun r1-a\n" in to_text(found)


def test_a_run_without_deadlines_says_that_no_clock_decides() -> None:
    world = World(story("g: gate"))
    world.reconcile()
    assert "No clock decides" in to_text(explained(world))


def test_a_finished_run_tells_what_becomes_of_it() -> None:
    world = World(story("a"))
    world.reconcile()
    world.at(3 * SECOND).end("a", "Failed", "no luck").reconcile()
    text = to_text(explained(world.at(MINUTE)))
    assert text.startswith("StoryRun wf/r1 of Story wf/s: Failed after 3s, 57s ago\n")
    assert "x a  failed: no luck" in text
    assert "its StepRuns are deleted" in text


# Reading


def stored(world: World) -> Indexed:
    """The world's objects as a data dir holds them."""
    objects = [
        *world.runs.values(),
        *world.steps.values(),
        *world.stories.values(),
        *world.engrams.values(),
        *world.templates.values(),
    ]
    raw = [{**to_dict(obj), "apiVersion": obj.API_VERSION, "kind": obj.KIND} for obj in objects]
    return Indexed(Stored({"all": raw}))


async def test_a_run_reads_the_same_from_a_store_as_from_the_cache_of_the_operator() -> None:
    world = busy_world()
    from_store = await explanation(stored(world), ObjectKey("wf", "r1"), world.now)
    of_cache = {line.name: line for line in explained(world).steps}
    of_store = {line.name: line for line in from_store.steps}
    assert of_store.keys() == of_cache.keys()
    for name in ("fetch", "optional", "sides", "approve", "ready", "load", "nap", "undo", "tidy"):
        assert of_store[name] == of_cache[name]
    # The StepRuns of the branches were never looked at by their reconciler, and explain says what it would do.
    assert "create Job r1-sides-left (attempt 1)" in from_store.does


@pytest.mark.parametrize(
    ("namespace", "name", "hint"),
    [
        ("wf", "r11", "did you mean r1?"),
        ("elsewhere", "r1", "there is one in wf (-n wf)"),
        ("wf", "r1-fetch", "that is a StepRun"),
        ("wf", "zzz", 'has no StoryRun "zzz"'),
    ],
)
async def test_a_run_that_is_not_there_is_told_with_what_was_probably_meant(
    namespace: str, name: str, hint: str
) -> None:
    with pytest.raises(CliError, match="has no StoryRun") as error:
        await explanation(stored(busy_world()), ObjectKey(namespace, name), World(None).now)
    assert hint in str(error.value)
    assert error.value.exit_code == 1


async def data_dir(folder: Path, world: World) -> Path:
    """A data dir of which nobody took leave: the log was not checkpointed, the lock file is still there."""
    kept = store.Store(folder / "store")
    kept.open()
    for obj in (*world.runs.values(), *world.stories.values()):
        raw = {**to_dict(obj), "apiVersion": obj.API_VERSION, "kind": obj.KIND}
        key = store.Key(f"{obj.PLURAL}.{obj.API_VERSION.partition('/')[0]}", "wf", obj.metadata.name or "")
        await kept.put(key, raw, expected=0)
    copy = folder.with_name("killed")
    (copy / "store").mkdir(parents=True)
    for file in (folder / "store").iterdir():
        (copy / "store" / file.name).write_bytes(file.read_bytes())
    await kept.close()
    return copy


async def test_a_store_whose_server_was_killed_is_read_whole_and_left_as_it_is(tmp_path: Path) -> None:
    world = World(story("g: gate"))
    world.reconcile()
    folder = await data_dir(tmp_path / "data", world) / "store"
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    assert "store.db-wal" in before
    assert not store.holder(folder)
    found = store.read(folder)
    assert [run["metadata"]["name"] for run in found["storyruns.runs.bubustack.io"]] == ["r1"]
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()} == before


async def test_a_store_in_use_names_its_holder_and_can_be_read_all_the_same(tmp_path: Path) -> None:
    kept = store.Store(tmp_path)
    kept.open()
    run = {"apiVersion": StoryRun.API_VERSION, "kind": "StoryRun", "metadata": {"name": "r", "namespace": "n"}}
    await kept.put(store.Key("storyruns.runs.bubustack.io", "n", "r"), run, expected=0)
    assert store.holder(tmp_path)
    assert len(store.read(tmp_path)["storyruns.runs.bubustack.io"]) == 1
    await kept.close()
    assert not store.holder(tmp_path)


def test_bad_usage_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two control planes"):
        main(ExplainRequest(name="r", kubeconfig="x", data_dir="y"))
    with pytest.raises(UsageError, match="no control plane was kept there"):
        main(ExplainRequest(name="r", data_dir=str(tmp_path)))
    with pytest.raises(UsageError, match="no such file"):
        main(ExplainRequest(name="r", kubeconfig=str(tmp_path / "nothing")))


async def test_a_config_map_that_may_not_be_read_is_no_obstacle(capsys: pytest.CaptureFixture[str]) -> None:
    class Guarded(Indexed):
        async def get(self, cls: Any, key: ObjectKey, **options: Any) -> Any:
            if cls is ConfigMap:
                raise Forbidden("no")
            return await super().get(cls, key, **options)

    world = busy_world()
    reader = Guarded(stored(world))
    assert (await explanation(reader, ObjectKey("wf", "r1"), world.now)).phase == "Running"
    assert "defaults are assumed" in capsys.readouterr().err
