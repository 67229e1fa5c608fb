"""Steps that exchange values too large for an API object, in both worlds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import Object
from tests.behaviour.worlds import ROOT, World, bobrapet

POLICY = {"storage": {"file": {"volumeClaimName": "payloads"}}}
SIZE = 300_000  # above what a StepRun, and what one environment variable can hold


def finish(world: World, namespace: str, *steps: Object, **spec: Any) -> Object:
    world.cluster.apply(story("s", namespace, *steps, **{"policy": POLICY, **spec}), storyrun("r", namespace, "s"))
    return world.cluster.wait_run(namespace, "r")


def payloads(world: World, namespace: str) -> Path:
    return world.claims / namespace / "payloads"


@pytest.mark.spec("workloads-47")
def test_steps_exchange_large_values_and_files_without_noticing(world: World, namespace: str) -> None:
    run = finish(
        world,
        namespace,
        step("make", "produce", with_={"size": SIZE}),
        step(
            "use",
            "consume",
            with_={
                "text": "{{ steps.make.output.text }}",
                "rows": "{{ steps.make.output.rows }}",
                "first": "{{ steps.make.output.rows[0].id }}",
                "file": "{{ steps.make.output.file }}",
            },
        ),
        output={"found": "{{ steps.use.output.found }}", "kinds": "{{ steps.use.output.kinds }}"},
    )
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["output"]["found"] == {"text": SIZE, "rows": SIZE // 10, "file": SIZE}
    assert run["status"]["output"]["kinds"]["first"] == "int"
    made = world.cluster.get("StepRun", namespace, "r-make")["status"]
    assert made["output"]["text"]["$bubuStorageRef"] == f"outputs/{namespace}/r-make/text.json"
    assert len(json.dumps(made)) < 10_000, "the StepRun holds references only"
    assert json.loads((payloads(world, namespace) / made["output"]["rows"]["$bubuStorageRef"]).read_text())["data"] == [
        {"id": n} for n in range(SIZE // 10)
    ]


@pytest.mark.spec("runs-82")
def test_conditions_and_the_output_of_a_story_read_offloaded_data(world: World, namespace: str) -> None:
    run = finish(
        world,
        namespace,
        step("make", "produce", with_={"size": SIZE}),
        step("many", "echo", with_={"n": 1}, if_="{{ gt (len steps.make.output.rows) 100 }}"),
        step("few", "echo", with_={"n": 2}, if_="{{ lt (len steps.make.output.rows) 100 }}"),
        output={"rows": "{{ len steps.make.output.rows }}", "size": "{{ steps.make.output.size }}"},
    )
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["output"] == {"rows": SIZE // 10, "size": SIZE}
    assert {name: state["phase"] for name, state in run["status"]["stepStates"].items()} == {
        "make": "Succeeded",
        "many": "Succeeded",
        "few": "Skipped",
    }


@pytest.mark.spec("workloads-19")
def test_functions_over_offloaded_data_are_evaluated_by_a_component(world: World, namespace: str) -> None:
    world.cluster.apply(yaml.safe_load((ROOT / "manifests/engrams/materialize.yaml").read_text()))
    try:
        run = finish(
            world,
            namespace,
            step("make", "produce", with_={"size": SIZE}),
            step("use", "consume", with_={"text": "{{ steps.make.output.text | upper }}", "n": "{{ len inputs }}"}),
            output={"found": "{{ steps.use.output.found }}"},
        )
    finally:
        world.cluster.delete("EngramTemplate", "", "materialize")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["output"] == {"found": {"text": SIZE}}
    (asked,) = (
        found
        for found in world.cluster.list("StepRun", namespace)
        if found["metadata"]["labels"].get("bubustack.io/materialize") == "true"
    )
    assert asked["metadata"]["name"].startswith("r-materialize-with-use-")
    assert asked["status"]["output"]["result"]["text"]["$bubuStorageRef"].startswith(f"outputs/{namespace}/r-mat")
    assert set(run["status"]["stepStates"]) == {"make", "use"}


@contextmanager
def disk(folder: Path, size: str) -> Iterator[None]:
    """A small file system at `folder`; skips where we may not mount."""
    folder.mkdir(parents=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("needs the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_a_later_attempt_finds_the_room_that_was_made(world: World, namespace: str) -> None:
    folder = payloads(world, namespace)
    retry = {"retry": {"maxRetries": 10, "delay": "5s", "backoff": "constant"}}
    with disk(folder, "256k"):
        make = step("make", "produce", with_={"size": SIZE}, execution=retry)
        use = step("use", "consume", with_={"text": "{{ steps.make.output.text }}"})
        world.cluster.apply(story("s", namespace, make, use, policy=POLICY), storyrun("r", namespace, "s"))
        failing = world.cluster.wait("StepRun", namespace, "r-make", lambda s: "nextRetryAt" in s.get("status", {}))
        assert "free some space" in failing["status"]["lastFailureMsg"]
        assert world.cluster.find("StepRun", namespace, "r-use") is None
        subprocess.run(["mount", "-o", "remount,size=16m", str(folder)], check=True)
        run = world.cluster.wait_run(namespace, "r")
        assert run["status"]["phase"] == "Succeeded", run["status"]
        used = world.cluster.get("StepRun", namespace, "r-use")["status"]
        assert used["output"]["found"] == {"text": SIZE}
        left = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        assert not [path for path in left if path.endswith((".tmp", ".part"))], "no rest of the attempt that failed"
        assert len([path for path in left if "/r-make/" in path and path.startswith("outputs/")]) == 3


@pytest.mark.spec("workloads-48")
def test_a_large_output_without_storage_fails_and_names_both_ways_out(world: World, namespace: str) -> None:
    run = finish(world, namespace, step("make", "produce", with_={"size": SIZE}), policy={})
    assert run["status"]["phase"] == "Failed"
    message = world.cluster.get("StepRun", namespace, "r-make")["status"]["lastFailureMsg"]
    assert "configure storage" in message
    assert "return less" in message


@pytest.mark.spec("workloads-19")
def test_a_story_that_asks_the_controller_to_resolve_needs_no_further_pod(world: World, namespace: str) -> None:
    definition = story(
        "s",
        namespace,
        step("make", "produce", with_={"size": 20_000}),
        step("use", "echo", with_={"shout": "{{ steps.make.output.text | upper | trunc 3 }}"}),
        policy=POLICY,
    )
    definition["metadata"]["annotations"] = {"bubustack.io/controller-resolve": "true"}
    world.cluster.apply(definition, storyrun("r", namespace, "s"))
    run = world.cluster.wait_run(namespace, "r")
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert world.cluster.get("StepRun", namespace, "r-use")["status"]["output"]["shout"] == "XXX"
    assert len(world.cluster.list("StepRun", namespace)) == 2, "nobody was asked to materialize"


def test_the_log_of_a_step_is_kept_with_its_payloads(world: World, namespace: str) -> None:
    run = finish(world, namespace, step("use", "consume", with_={"text": "short"}))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    logs = world.cluster.get("StepRun", namespace, "r-use")["status"]["logs"]
    (line,) = (payloads(world, namespace) / logs["$bubuStorageRef"]).read_text().splitlines()
    assert json.loads(line)["msg"] == "consuming"


def test_a_component_that_asks_for_the_files_of_another_namespace_gets_nothing_through_the_operator(
    world: World, namespace: str
) -> None:
    stolen = {"$bubuStorageRef": "outputs/somebody-else/r-make/text.json"}
    run = finish(
        world,
        namespace,
        step("lie", "echo", with_={"body": stolen}),
        step("use", "echo", with_={"n": 1}, if_="{{ gt (len steps.lie.output.body) 0 }}"),
    )
    assert run["status"]["stepStates"]["use"]["phase"] == "Failed"
    assert "lies in namespace somebody-else" in run["status"]["stepStates"]["use"]["message"]


def collect(world: World, namespace: str, *arguments: str) -> Object:
    """What `bobrapet storage gc` says about the store of the namespace."""
    command = bobrapet("storage", "gc", "--kubeconfig", str(world.cluster.kubeconfig), "-n", namespace, "-o", "json")
    claims = ("--claims", str(world.claims), "--older-than", "0s")
    done = subprocess.run([*command, *claims, *arguments], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    (found,) = (one for one in json.loads(done.stdout)["stores"] if one["store"] == f"claim {namespace}/payloads")
    return found  # type: ignore[no-any-return]


def test_payloads_of_deleted_runs_are_collected_and_those_of_others_kept(world: World, namespace: str) -> None:
    definition = story("s", namespace, step("make", "produce", with_={"size": SIZE}), policy=POLICY)
    world.cluster.apply(definition, storyrun("gone", namespace, "s"), storyrun("stays", namespace, "s"))
    for run in ("gone", "stays"):
        world.cluster.wait_run(namespace, run)
    folder = payloads(world, namespace)
    (folder / "mine.txt").write_text("not ours")
    before = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert collect(world, namespace)["deleted"] == 0, "both runs are there"
    world.cluster.delete("StoryRun", namespace, "gone")
    world.cluster.wait_gone("StepRun", namespace, "gone-make")
    told = collect(world, namespace, "--dry-run")
    assert (told["deleted"], told["garbage"]["objects"]) == (0, 3), told
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == before
    assert collect(world, namespace)["deleted"] == 3
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert left == [path for path in before if "gone-make" not in path]
    assert not (folder / "outputs" / namespace / "gone-make").exists()
