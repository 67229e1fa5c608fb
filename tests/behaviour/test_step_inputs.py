"""What a step gets: its inputs unchanged and never evaluated twice, large ones too, and its Secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.builders import step, story, storyrun
from tests.behaviour.cluster import Object
from tests.behaviour.worlds import World

HOSTILE = [
    "{{ inputs.secret }}",
    '{{ printf "%s" inputs }}',
    "{{",
    "$(id) `id` ${HOME} $HOME",
    "'; rm -rf / #",
    '"},"x":{"a":"',
    "line\nbreak\ttab\x7f",
    "\u2028\u202e\U0001f600",
    "<script>&amp;</script>",
    "$bubuStorageRef",
]


def finish(world: World, namespace: str, *steps: Object, inputs: Object | None = None, **spec: Any) -> Object:
    world.cluster.apply(story("s", namespace, *steps, **spec), storyrun("r", namespace, "s", inputs))
    return world.cluster.wait_run(namespace, "r")


def steprun(world: World, namespace: str, name: str = "a") -> Object:
    return world.cluster.get("StepRun", namespace, f"r-{name}")


def ready(obj: Object) -> tuple[str, str]:
    condition = next(c for c in obj["status"]["conditions"] if c["type"] == "Ready")
    return condition["reason"], condition["message"]


@pytest.mark.spec("workloads-21")
def test_hostile_text_passes_through_two_steps_unevaluated(world: World, namespace: str) -> None:
    run = finish(
        world,
        namespace,
        step("a", "echo", with_={"texts": "{{ inputs.texts }}", "one": "{{ index inputs.texts 0 }}"}),
        step("b", "echo", with_={"texts": "{{ steps.a.output.texts }}", "one": "{{ steps.a.output.one }}"}),
        inputs={"texts": HOSTILE, "secret": "s3cret"},
        output={"texts": "{{ steps.b.output.texts }}", "one": "{{ steps.b.output.one }}"},
    )
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["output"] == {"texts": HOSTILE, "one": HOSTILE[0]}
    assert "s3cret" not in json.dumps(steprun(world, namespace)["spec"]), "resolved inputs are not written down"


@pytest.mark.spec("workloads-15", "workloads-16")
def test_defaults_of_the_schema_reach_the_component_and_not_the_steprun(
    world: World, namespace: str, component: Callable[..., str]
) -> None:
    properties = {
        "method": {"default": "GET"},
        "none": {"default": 1},
        "off": {"default": True},
        "zero": {"default": 7},
    }
    schema = {"type": "object", "properties": properties}
    given = {"none": None, "off": False, "zero": 0}
    finish(world, namespace, step("a", component("echo", inputSchema=schema), with_=given))
    found = steprun(world, namespace)
    assert found["status"]["phase"] == "Succeeded", found["status"]
    output = found["status"]["output"]
    assert (output["method"], output["off"], output["zero"], output.get("none")) == ("GET", False, 0, None)
    assert "method" not in found["spec"]["input"]


@pytest.mark.spec("workloads-17")
def test_inputs_that_violate_the_schema_fail_the_step_without_a_job(
    world: World, namespace: str, component: Callable[..., str]
) -> None:
    schema = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    strict = component("echo", inputSchema=schema)
    run = finish(world, namespace, step("a", strict, with_={"url": "{{ inputs.url }}"}), inputs={"url": 7})
    assert run["status"]["phase"] == "Failed"
    failed = steprun(world, namespace)
    assert (ready(failed)[0], failed["status"]["exitClass"]) == ("InputSchemaFailed", "terminal")
    assert "url" in failed["status"]["lastFailureMsg"]
    assert world.cluster.find("Job", namespace, "r-a") is None


@pytest.mark.spec("workloads-18")
def test_a_required_path_that_is_null_fails_the_step(world: World, namespace: str) -> None:
    needy = step("b", "echo", "a", requires=["steps.a.output.id"])
    finish(world, namespace, step("a", "echo", with_={"id": None}), needy)
    assert ready(steprun(world, namespace, "b"))[0] == "DependencyFailed"


def test_inputs_above_32_kib_travel_in_a_secret_and_arrive_unchanged(world: World, namespace: str) -> None:
    run = finish(
        world,
        namespace,
        step("a", "big", with_={"bytes": 60_000}),
        step("b", "echo", with_={"text": "{{ steps.a.output.data }}"}),
    )
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert steprun(world, namespace, "b")["status"]["output"]["text"] == "x" * 60_000
    secret = world.cluster.get("Secret", namespace, "r-b-trigger-data")
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("StepRun", "r-b", True)
    job = world.cluster.get("Job", namespace, "r-b")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    data = next(entry for entry in container["env"] if entry["name"] == "BUBU_TRIGGER_DATA")
    assert data["valueFrom"]["secretKeyRef"] == {"name": "r-b-trigger-data", "key": "triggerData"}


SCHEMA = {
    "login": {"mountType": "env", "envPrefix": "LOGIN_", "expectedKeys": ["user", "password"], "required": True},
    "all": {"mountType": "env"},
    "cert": {"mountType": "file", "mountPath": "/etc/cert"},
    "twice": {"mountType": "both"},
    "unused": {"mountType": "env"},
}


def secret(name: str, namespace: str, **data: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


@pytest.mark.spec("workloads-10")
def test_secrets_arrive_as_variables_and_as_files(world: World, namespace: str, component: Callable[..., str]) -> None:
    world.cluster.apply(
        secret("db", namespace, user="ada", password="p w", other="not asked for"),
        secret("tls", namespace, **{"tls.crt": "CERT"}),
        secret("both", namespace, KEY="k"),
    )
    bound = {"login": "db", "all": "both", "cert": "tls", "twice": "both"}
    name = component("environment", {"secrets": {**bound, "login": "overlaid"}}, secretSchema=SCHEMA)
    finish(world, namespace, step("a", name, secrets={"login": "db"}))
    found = steprun(world, namespace)
    assert found["status"]["phase"] == "Succeeded", found["status"]
    assert found["status"]["output"] == {
        "variables": {
            "LOGIN_user": "ada",
            "LOGIN_password": "p w",
            "all_KEY": "k",
            "twice_KEY": "k",
            "BUBU_SECRET_login": "env:LOGIN_",
            "BUBU_SECRET_login_NAME": "db",
            "BUBU_SECRET_all": "env:all_",
            "BUBU_SECRET_all_NAME": "both",
            "BUBU_SECRET_cert": "file:/etc/cert",
            "BUBU_SECRET_twice": "env:twice_",
            "BUBU_SECRET_twice_NAME": "both",
        },
        "files": {"/etc/cert/tls.crt": "CERT", "/etc/bubu/secrets/twice/KEY": "k"},
    }


@pytest.mark.parametrize("logical", ["login", "cert"], ids=["as variables", "as files"])
def test_a_secret_that_is_missing_is_named_in_the_status_and_waited_for(
    world: World, namespace: str, component: Callable[..., str], logical: str
) -> None:
    name = component("silent", {"secrets": {logical: "db"}}, secretSchema={logical: SCHEMA[logical]})
    world.cluster.apply(story("s", namespace, step("a", name)), storyrun("r", namespace, "s"))

    def is_named(found: Object) -> bool:
        conditions = found.get("status", {}).get("conditions", ())
        return any(c["type"] == "Ready" and '"db"' in c["message"].replace("'", '"') for c in conditions)

    waiting = world.cluster.wait("StepRun", namespace, "r-a", is_named)
    assert waiting["status"]["phase"] == "Running"
    world.cluster.apply(secret("db", namespace, user="u", password="p"))
    assert world.cluster.wait_run(namespace, "r")["status"]["phase"] == "Succeeded"


def test_a_secret_that_the_schema_does_not_have_and_one_that_nobody_bound_give_nothing(
    world: World, namespace: str, component: Callable[..., str]
) -> None:
    name = component("environment", {"secrets": {}}, secretSchema={"unused": {"mountType": "env"}})
    finish(world, namespace, step("a", name))
    assert steprun(world, namespace)["status"]["output"] == {"variables": {}, "files": {}}


@pytest.mark.spec("workloads-12")
def test_a_missing_tls_secret_keeps_the_step_pending_until_it_is_there(
    world: World, namespace: str, component: Callable[..., str]
) -> None:
    name = component("silent", {"transport": {"tls": {"secretRef": {"name": "certificates"}}}})
    world.cluster.apply(story("s", namespace, step("a", name)), storyrun("r", namespace, "s"))
    waiting = world.cluster.wait("StepRun", namespace, "r-a", lambda s: "SecretNotFound" in str(s.get("status", {})))
    assert waiting["status"]["phase"] == "Pending"
    assert world.cluster.find("Job", namespace, "r-a") is None
    world.cluster.apply(secret("certificates", namespace, **{"tls.crt": "c", "tls.key": "k", "ca.crt": "a"}))
    assert world.cluster.wait_run(namespace, "r")["status"]["phase"] == "Succeeded"


@pytest.mark.spec("workloads-39", "workloads-40")
def test_a_second_run_with_equal_inputs_reuses_the_output(
    world: World, namespace: str, calls: Path, component: Callable[..., str]
) -> None:
    versioned = component("counted", {"version": "1.0.0"})
    execution = {"cache": {"mode": "readWrite", "ttlSeconds": 600}}
    counted = step("a", versioned, with_={"calls": str(calls), "n": "{{ inputs.n }}"}, execution=execution)
    policy = {"storage": {"file": {"volumeClaimName": "cache"}}}
    world.cluster.apply(story("s", namespace, counted, policy=policy))
    found = {}
    for name, number in (("r1", 1), ("r2", 1), ("r3", 2)):
        world.cluster.create(storyrun(name, namespace, "s", {"n": number}))
        run = world.cluster.wait_run(namespace, name)
        assert run["status"]["phase"] == "Succeeded", run["status"]
        marked = world.cluster.wait("StepRun", namespace, f"{name}-a", lambda s: cache_status(s) != "")
        found[name] = (cache_status(marked), marked["status"]["output"])
    assert found == {"r1": ("stored", {"done": True}), "r2": ("hit", {"done": True}), "r3": ("stored", {"done": True})}
    assert calls.read_text().split() == ["r1-a", "r3-a"]
    assert world.cluster.find("Job", namespace, "r2-a") is None


def cache_status(obj: Object) -> str:
    return str(obj["metadata"].get("annotations", {}).get("cache.bubustack.io/status", ""))
