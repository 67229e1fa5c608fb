"""kubectl against `bobrapet dev`: what people type first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.behaviour.builders import engram, step, story, storyrun
from tests.behaviour.cluster import PATIENCE
from tests.behaviour.worlds import ROOT, World

Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(world: World, namespace: str) -> Kubectl:
    """Runs kubectl in the namespace of the test and gives its standard output; both worlds have to answer alike."""
    program = shutil.which("kubectl", path=f"{ROOT}/.cache/tools:{os.environ['PATH']}")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("kubectl is missing: hack/tools kubectl builds it")
        pytest.skip("kubectl is missing: hack/tools kubectl builds it")

    def run(*arguments: str, stdin: str = "", code: int = 0) -> str:
        command = [program, "--kubeconfig", str(world.cluster.kubeconfig), "-n", namespace, *arguments]
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, "HOME": str(world.folder)},
        )
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if code else "")

    return run


PATIENTLY = f"--timeout={PATIENCE - 10}s"


def manifest(*objects: object) -> str:
    return "---\n".join(yaml.safe_dump(obj) for obj in objects)


@pytest.fixture
def finished(world: World, namespace: str) -> str:
    """A namespace with a run that has ended."""
    world.cluster.apply(
        story("s", namespace, step("a", "echo", with_={"v": 1}), step("b", "silent", "a")),
        storyrun("r", namespace, "s"),
    )
    world.cluster.wait_run(namespace, "r")
    return namespace


def test_apply_creates_configures_and_leaves_unchanged(kubectl: Kubectl, namespace: str) -> None:
    one = manifest(story("s", namespace, step("a", "echo")))
    two = manifest(story("s", namespace, step("a", "echo"), step("b", "echo")))
    assert "created" in kubectl("apply", "-f", "-", stdin=one)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=one)
    assert "configured" in kubectl("apply", "-f", "-", stdin=two)
    assert kubectl("get", "story", "s", "-o", "jsonpath={.spec.steps[*].name}") == "a b"
    assert "serverside-applied" in kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=two)


def test_apply_refuses_a_field_that_does_not_exist(kubectl: Kubectl, namespace: str) -> None:
    wrong = story("s", namespace, step("a", "echo"))
    wrong["spec"]["stpes"] = []
    said = kubectl("apply", "-f", "-", stdin=manifest(wrong), code=1)
    assert 'unknown field "spec.stpes"' in said


def test_get_prints_tables_names_yaml_and_jsonpath(kubectl: Kubectl, finished: str) -> None:
    table = kubectl("get", "storyruns")
    assert table.split()[0] == "NAME"
    assert "Succeeded" in table
    assert "r-a" in kubectl("get", "stepruns", "-o", "wide")
    assert kubectl("get", "storyrun", "r", "-o", "name").strip() == "storyrun.runs.bubustack.io/r"
    assert yaml.safe_load(kubectl("get", "storyrun", "r", "-o", "yaml"))["status"]["phase"] == "Succeeded"
    assert kubectl("get", "steprun", "r-a", "-o", "jsonpath={.status.output.v}") == "1"
    listed = json.loads(kubectl("get", "stepruns", "-o", "json", "-l", "bubustack.io/storyrun=r"))
    assert [item["metadata"]["name"] for item in listed["items"]] == ["r-a", "r-b"]
    assert finished in kubectl("get", "storyruns", "-A")


def told(kubectl: Kubectl, word: str, *arguments: str) -> str:
    """What kubectl prints once it has a word: Events come after what they tell of."""
    deadline = time.monotonic() + PATIENCE
    while word not in (text := kubectl(*arguments)):
        assert time.monotonic() < deadline, f"{arguments} does not tell of {word}: {text}"
        time.sleep(0.2)
    return text


def test_describe_tells_status_and_events(kubectl: Kubectl, finished: str) -> None:
    text = told(kubectl, "StoryRunSucceeded", "describe", "storyrun", "r")
    assert "Phase:" in text
    assert "Succeeded" in text.partition("Events:")[0]
    assert "StoryRunSucceeded" in text.partition("Events:")[2]
    assert "Conditions:" in kubectl("describe", "steprun", "r-a")


def test_logs_show_what_a_component_printed(kubectl: Kubectl, finished: str) -> None:
    assert "saying nothing to the API server" in kubectl("logs", "job/r-b")


def test_logs_follow_until_the_component_ends(kubectl: Kubectl, finished: str) -> None:
    pod = kubectl("get", "pods", "-l", "job-name=r-b", "-o", "name").strip()
    assert "saying nothing to the API server" in kubectl("logs", "-f", pod)


def test_wait_returns_when_the_run_is_done(kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "-f", "-", stdin=manifest(story("s", namespace, step("a", "silent"))))
    kubectl("create", "-f", "-", stdin=manifest(storyrun("r", namespace, "s")))
    assert "condition met" in kubectl("wait", "storyrun/r", "--for=condition=Ready", PATIENTLY)
    assert "condition met" in kubectl("wait", "storyrun/r", "--for=jsonpath={.status.phase}=Succeeded", PATIENTLY)


def test_watch_shows_changes_as_they_happen(kubectl: Kubectl, world: World, namespace: str, tmp_path: Path) -> None:
    program = shutil.which("kubectl", path=f"{ROOT}/.cache/tools:{os.environ['PATH']}")
    assert program is not None
    command = [program, "--kubeconfig", str(world.cluster.kubeconfig), "-n", namespace, "get", "storyruns", "-w"]
    kubectl(
        "apply", "-f", "-", stdin=manifest(story("s", namespace, step("a", "silent")), storyrun("r", namespace, "s"))
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert any("Succeeded" in line for line in process.stdout)
        finally:
            process.terminate()


def test_patch_and_delete(kubectl: Kubectl, world: World, namespace: str) -> None:
    world.cluster.apply(engram("echo", namespace, name="mine", of="test-echo"))
    assert "patched" in kubectl("patch", "engram", "mine", "--type=merge", "-p", '{"spec":{"version":"2.0.0"}}')
    json_patch = '[{"op": "replace", "path": "/spec/version", "value": "3.0.0"}]'
    assert "patched" in kubectl("patch", "engram", "mine", "--type=json", "-p", json_patch)
    assert kubectl("get", "engram", "mine", "-o", "jsonpath={.spec.version}") == "3.0.0"
    assert "deleted" in kubectl("delete", "engram", "mine")
    assert "NotFound" in kubectl("get", "engram", "mine", code=1)


def test_api_resources_lists_our_kinds(kubectl: Kubectl) -> None:
    text = kubectl("api-resources", "--api-group=runs.bubustack.io")
    assert "StoryRun" in text
    assert "StepRun" in text


def test_events_of_a_run_are_listed(kubectl: Kubectl, finished: str) -> None:
    assert "StoryRun/r" in told(kubectl, "StoryRunSucceeded", "events", "--for=storyrun/r")


def test_explain_teaches_the_api(kubectl: Kubectl) -> None:
    text = kubectl("explain", "story.spec.steps.needs")
    assert "needs" in text
    assert "<[]string>" in text
