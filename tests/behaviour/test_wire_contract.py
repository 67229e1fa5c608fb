"""One contract for every language: the same component in Python, shell and Go, without SDK, gives the same results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import Object
from tests.behaviour.worlds import WIRE, WIRE_GO, World

SECRETS = {
    "api": {"mountType": "env", "envPrefix": "API_", "expectedKeys": ["token"]},
    "file": {"mountType": "file"},
}


@pytest.fixture(scope="session")
def languages() -> tuple[str, ...]:
    """Builds what must be built; only Python is always there."""
    found = ["python"]
    if shutil.which("curl") and shutil.which("sh"):
        found.append("shell")
    go = shutil.which("go", path="/usr/local/go/bin:/usr/bin:/usr/local/bin") or shutil.which("go")
    if go is not None:
        WIRE_GO.parent.mkdir(parents=True, exist_ok=True)
        # Each world may have a process of pytest of its own: neither overwrites what runs in the other.
        built = WIRE_GO.with_name(f"{WIRE_GO.name}.{os.getpid()}")
        subprocess.run([go, "build", "-o", str(built), str(WIRE / "wire.go")], check=True, timeout=600)
        built.replace(WIRE_GO)
        found.append("go")
    return tuple(found)


@pytest.fixture
def results(
    world: World, namespace: str, component: Callable[..., str], languages: tuple[str, ...], mode: str, calls: Path
) -> dict[str, Object]:
    """Language -> the status that its StepRun ended with."""
    world.cluster.apply(*(_secret(name, namespace) for name in ("credentials", "certificate")))
    steps = [
        step(
            language,
            component(
                f"wire-{language}", {"secrets": {"api": "credentials", "file": "certificate"}}, secretSchema=SECRETS
            ),
            with_={"mode": mode, "text": "{{ inputs.text }}", "n": 9007199254740993}
            | ({"calls": str(calls)} if mode == "all" else {}),
            execution={"timeout": "5m", "retry": {"maxRetries": 2, "delay": "50ms"}},
            allowFailure=True,
        )
        for language in languages
    ]
    hostile = {"text": 'it\'s "$(id)" `id` {{ steps }} \\ \u2028 é'}
    if mode == "all":
        texts = {language: f"{{{{ steps.{language}.output.body }}}}" for language in languages}
        steps.append(step("use", "consume", with_=texts))
    policy = {"storage": {"file": {"volumeClaimName": "payloads"}}}
    world.cluster.apply(story("s", namespace, *steps, policy=policy), storyrun("r", namespace, "s", hostile))
    world.cluster.wait_run(namespace, "r")
    return {name: world.cluster.get("StepRun", namespace, f"r-{name}")["status"] for name in languages}


@pytest.mark.parametrize("mode", ["succeed"])
def test_a_success_is_the_same_in_every_language(results: dict[str, Object]) -> None:
    for language, status in results.items():
        assert status["phase"] == "Succeeded", f"{language}: {json.dumps(status)}"
        assert status["output"] == {
            "inputs": {"mode": "succeed", "n": 9007199254740993, "text": 'it\'s "$(id)" `id` {{ steps }} \\ \u2028 é'},
            "config": {"mode": "succeed", "n": 9007199254740993, "text": 'it\'s "$(id)" `id` {{ steps }} \\ \u2028 é'},
            "secret": "t0ken",
            "file": "t0ken",
            "attempt": "0",
            "step": language,
            "story": "s",
            "timeout": "5m0s",
        }
    assert_alike(results)


@pytest.mark.parametrize("mode", ["retry"])
def test_a_retry_that_was_asked_for_is_the_same_in_every_language(results: dict[str, Object]) -> None:
    for language, status in results.items():
        assert status["phase"] == "Succeeded", f"{language}: {json.dumps(status)}"
        assert (status["output"]["attempt"], status["retries"]) == ("1", 1)
        assert "error" not in status
    assert_alike(results)


@pytest.mark.parametrize("mode", ["fail"])
def test_a_failure_is_the_same_in_every_language(results: dict[str, Object]) -> None:
    for language, status in results.items():
        assert (status["phase"], status["exitClass"]) == ("Failed", "terminal"), f"{language}: {json.dumps(status)}"
        assert status["error"]["code"] == "HTTP_429"
        assert status["lastFailureMsg"] == "the service said no"
    assert_alike(results)


@pytest.mark.parametrize("mode", ["all"])
def test_signals_effects_and_payloads_are_the_same_in_every_language(
    world: World, namespace: str, results: dict[str, Object], calls: Path
) -> None:
    for language, status in results.items():
        assert status["phase"] == "Succeeded", f"{language}: {json.dumps(status)}"
        assert [event["seq"] for event in status["signalEvents"]] == [1, 2], "one in each attempt"
        assert [(effect["key"], effect["status"]) for effect in status["effects"]] == [("charge", "succeeded")]
        path = f"outputs/{namespace}/r-{language}/body.json"
        assert status["output"]["body"] == {"$bubuStorageRef": path, "$bubuStorageContentType": "text/plain"}
        claims = [c["metadata"]["name"] for c in world.cluster.list("EffectClaim", namespace)]
        (claim,) = (name for name in claims if name.startswith(f"r-{language}-effect-"))
        world.cluster.wait("EffectClaim", namespace, claim, lambda c: c.get("status", {}).get("phase") == "Completed")
    assert sorted(calls.read_text().split()) == sorted(results), "each effect happened once in two attempts"
    used = world.cluster.get("StepRun", namespace, "r-use")["status"]
    assert used["output"]["found"] == dict.fromkeys(results, 100_000), used
    assert_alike(results)


def assert_alike(results: dict[str, Object]) -> None:
    """Everything but names, times and what tells the languages apart."""
    reference, *others = (_comparable(status) for status in results.values())
    for other in others:
        assert other == reference


def _comparable(status: Object) -> Any:
    of_its_own = {"startedAt", "finishedAt", "duration", "podName", "lastOutputAt", "observedGeneration"}
    found = {key: value for key, value in status.items() if key not in of_its_own}
    if "output" in found:
        found["output"] = {key: value for key, value in found["output"].items() if key not in ("step", "body")}
    for events in ("signalEvents", "effects"):
        found[events] = [{**event, "emittedAt": ""} for event in found.get(events, [])]
    found["conditions"] = [
        {key: value for key, value in condition.items() if key not in ("lastTransitionTime", "observedGeneration")}
        for condition in found["conditions"]
    ]
    return found


def _secret(name: str, namespace: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": "t0ken"}}
