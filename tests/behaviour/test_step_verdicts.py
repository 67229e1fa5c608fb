"""A component's word is provisional: what the operator makes of it, before anybody else sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bobrapet.api.timestamps import parse_time
from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import Object
from tests.behaviour.worlds import World


def finish(world: World, namespace: str, *steps: Object, **spec: Any) -> Object:
    world.cluster.apply(story("s", namespace, *steps, **spec), storyrun("r", namespace, "s"))
    return world.cluster.wait_run(namespace, "r")


def ready(world: World, namespace: str, name: str = "a") -> tuple[str, str]:
    found = world.cluster.get("StepRun", namespace, f"r-{name}")
    condition = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
    return condition["reason"], condition["message"]


@pytest.mark.spec("workloads-35")
def test_an_output_that_violates_its_schema_fails_the_step_and_no_dependent_ever_exists(
    world: World, namespace: str, component: Callable[..., str]
) -> None:
    wrong = component("liar", outputSchema={"type": "object", "properties": {"v": {"type": "integer"}}})
    run = finish(world, namespace, step("a", wrong), step("b", "echo", with_={"v": "{{ steps.a.output.v }}"}))
    assert run["status"]["phase"] == "Failed"
    reason, message = ready(world, namespace)
    assert reason == "OutputSchemaFailed"
    assert "v" in message
    assert run["status"]["stepStates"]["b"]["phase"] == "Skipped"
    assert world.cluster.find("StepRun", namespace, "r-b") is None


@pytest.mark.spec("workloads-36")
@pytest.mark.parametrize(
    ("condition", "phase", "told"),
    [
        ('{{ eq steps.a.output.v "said" }}', "Succeeded", ""),
        ('{{ eq steps.a.output.v "other" }}', "Failed", "it said something else"),
        ("{{ steps.a.output.nothing.there }}", "Failed", "nothing"),
    ],
)
def test_a_check_after_the_execution_decides_about_a_success(
    world: World, namespace: str, condition: str, phase: str, told: str, component: Callable[..., str]
) -> None:
    check = {"condition": condition, "failureMessage": "it said something else"}
    run = finish(world, namespace, step("a", component("liar"), postExecution=check))
    assert run["status"]["phase"] == phase, run["status"]
    assert told in ready(world, namespace)[1]


@pytest.mark.spec("workloads-23")
def test_a_retry_keeps_its_recorded_moment(
    world: World, namespace: str, calls: Path, component: Callable[..., str]
) -> None:
    retry = {"retry": {"maxRetries": 1, "delay": "1500ms"}}
    flaky = step("a", component("flaky"), with_={"calls": str(calls), "succeed_at": 2}, execution=retry)
    until = world.cluster.following("StepRun", namespace, "r-a")  # it waits for a moment only
    world.cluster.apply(story("s", namespace, flaky), storyrun("r", namespace, "s"))
    status = until(lambda s: "nextRetryAt" in s.get("status", {}))["status"]
    assert (status["phase"], status["retries"]) == ("Pending", 1)
    assert "error" not in status
    assert world.cluster.wait_run(namespace, "r")["status"]["phase"] == "Succeeded"
    second = float(calls.read_text().splitlines()[1])
    assert second >= parse_time(status["nextRetryAt"]).timestamp() - 0.001


@pytest.mark.spec("workloads-45")
def test_an_account_of_somebody_else_is_never_used(world: World, namespace: str) -> None:
    name = "s-engram-runner"
    foreign = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    world.cluster.create(foreign)
    world.cluster.apply(story("s", namespace, step("a", "silent")), storyrun("r", namespace, "s"))
    assert name in str(world.cluster.wait_event(namespace, "IdentityRefused"))
    assert "ownerReferences" not in world.cluster.get("ServiceAccount", namespace, name)["metadata"]
    assert world.cluster.list("Job", namespace) == []
    world.cluster.delete("ServiceAccount", namespace, name)
    assert world.cluster.wait_run(namespace, "r")["status"]["phase"] == "Succeeded"
