"""What only the webhook decides: patches, answers, lookups, hostile input (spec admission A2, A10 126, 127, A11)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bobrapet.admission import WEBHOOKS
from bobrapet.runtime.errors import Forbidden, RequestTimeout, ServiceUnavailable
from tests.unit.admission.world import World, causes
from tests.unit.validation.builders import engram, grant, manifest, story, template

RETRY = {"maxRetries": 3, "delay": "1s", "backoff": "exponential"}
DOWN = ServiceUnavailable("etcd has no leader")


def transport() -> dict[str, Any]:
    return manifest("Transport", {"provider": "p", "driver": "d", "supportedBinary": ["application/json"]}, "t", "")


def binding(**spec: Any) -> dict[str, Any]:
    given = {"transportRef": "t", "driver": "d", "stepName": "s", "storyRunRef": {"name": "r"}, "engramName": "e"}
    return manifest(
        "TransportBinding", {**given, "binary": {"direction": "publish", "mimeTypes": ["application/json"]}, **spec}
    )


def run(story_name: str = "s", **spec: Any) -> dict[str, Any]:
    return manifest("StoryRun", {"storyRef": {"name": story_name}, **spec}, "r")


# Filling in


@pytest.mark.spec("admission-2", "admission-3")
async def test_a_patch_fills_in_a_story() -> None:
    filled = await World().fill(story("name: a, execution: {}", "name: b, sideEffects: true", policy={}))
    assert filled["spec"]["policy"]["retries"] == {"stepRetryPolicy": RETRY, "continueOnStepFailure": False}
    assert [step["execution"]["retry"] for step in filled["spec"]["steps"]] == [RETRY, {**RETRY, "maxRetries": 0}]


@pytest.mark.spec("admission-5")
async def test_defaults_follow_the_configuration_as_it_is_now() -> None:
    filled = await World(retry__max_retries="0").fill(story("name: a", policy={}))
    assert filled["spec"]["policy"]["retries"]["stepRetryPolicy"]["maxRetries"] == 0


@pytest.mark.spec("admission-98", "admission-99")
async def test_a_step_run_without_a_namespace_of_its_own_gets_the_one_of_the_request() -> None:
    given = manifest("StepRun", {"storyRunRef": {"name": "r"}, "stepId": "a"})
    del given["metadata"]["namespace"]
    filled = await World().fill(given, namespace="ns")
    assert filled["spec"] == {**given["spec"], "retry": RETRY, "idempotencyKey": "ns/ns/storyrun/r/step/a"}
    assert filled["metadata"] == given["metadata"]
    assert await World().fill(filled, namespace="ns") == filled


async def test_fields_that_this_version_does_not_know_are_left_alone() -> None:
    given = story("name: a, execution: {}, newer: {x: [1]}", fromTheFuture=True)
    filled = await World().fill(given)
    assert filled["spec"]["fromTheFuture"] is True
    assert filled["spec"]["steps"][0]["newer"] == {"x": [1]}


@pytest.mark.parametrize("spec", [{"steps": 5, "policy": []}, {"steps": ["x", {"execution": 1}]}, "text", None, [1]])
async def test_what_cannot_be_read_passes_unchanged(spec: Any) -> None:
    given = {"apiVersion": "bubustack.io/v1alpha1", "kind": "Story", "metadata": {"name": "x"}, "spec": spec}
    assert await World().fill(given) == given


async def test_an_update_fills_in_only_what_it_touches() -> None:
    old = story("name: a, execution: {}")
    labelled = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}
    assert await World().fill(labelled, old) == labelled
    leaving = story("name: b, execution: {}")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert await World().fill(leaving, old) == leaving
    touched = story("name: b, execution: {}")
    assert (await World().fill(touched, old))["spec"]["steps"][0]["execution"] == {"retry": RETRY}


# Judging


async def test_all_faults_are_told_at_once_as_causes() -> None:
    response = await World().judge(story("name: a, needs: [nope]", "name: a", "name: c, ref: {name: e}, type: wait"))
    found = causes(response)
    assert len(found) >= 3
    assert ("spec.steps[0].needs[0]", "FieldValueInvalid") in found or (
        "spec.steps[0].needs[0]",
        "FieldValueNotFound",
    ) in found
    assert ("spec.steps[1].name", "FieldValueDuplicate") in found
    assert {key: response.details[key] for key in ("name", "group", "kind")} == {
        "name": "x",
        "group": "bubustack.io",
        "kind": "Story",
    }
    assert response.message.startswith('Story.bubustack.io "x" is invalid: [spec.steps')


async def test_a_long_list_of_faults_is_cut_in_the_message_but_not_in_the_causes() -> None:
    response = await World().judge(story(*(f"name: s{index}, needs: [nope]" for index in range(30))))
    assert len(causes(response)) == 30
    assert response.message.endswith("and 10 more]")


async def test_numbers_beyond_the_type_of_go_are_refused_with_their_path() -> None:
    response = await World().judge(story("name: a", policy={"concurrency": 3_000_000_000}))
    assert [field for field, _ in causes(response)] == ["spec.policy.concurrency"]


async def test_warnings_come_with_a_yes_and_with_a_no() -> None:
    missing = story("name: a, ref: {name: gone}")
    response = await World().judge(missing)
    assert response.allowed
    assert "engram 'gone' not found" in response.warnings[0]
    missing["spec"]["steps"].append({"name": "a", "type": "condition"})
    response = await World().judge(missing)
    assert causes(response)
    assert "engram 'gone' not found" in response.warnings[0]


@pytest.mark.spec("admission-62", "admission-63")
async def test_metadata_of_an_invalid_story_may_change() -> None:
    old = story("name: a", "name: a")
    labelled = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}
    assert (await World().judge(labelled, old)).allowed
    assert not (await World().judge(story("name: b", "name: b"), old)).allowed
    # Even one that our models cannot read, stored before there was a webhook.
    old["spec"]["policy"] = {"concurrency": 3_000_000_000}
    labelled = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}
    assert (await World().judge(labelled, old)).allowed
    assert (await World().judge(story("name: repaired"), old)).allowed


@pytest.mark.spec("admission-92")
async def test_a_run_is_immutable() -> None:
    response = await World(story("name: a", name="s")).judge(run(inputs={"a": 2}), run(inputs={"a": 1}))
    assert [reason for _, reason in causes(response)] == ["FieldValueForbidden"]
    assert "immutable" in response.message


@pytest.mark.spec("admission-127")
@pytest.mark.parametrize("row", WEBHOOKS, ids=lambda row: row.kind.KIND)
async def test_deletion_is_never_refused(row: Any) -> None:
    old = {"apiVersion": row.kind.API_VERSION, "kind": row.kind.KIND, "metadata": {"name": "x"}, "spec": "broken"}
    world = World()
    assert (await world.judge(b"", old, operation="DELETE")).allowed
    assert await world.fill(b"", old, operation="DELETE") == b""
    assert (await world.judge(old, old, sub_resource="status")).allowed


async def test_a_dry_run_is_a_run() -> None:
    world = World(engram(), template())
    given = story("name: a, ref: {name: e}, execution: {}", "name: a")
    assert await world.judge(given, dry_run=True) == await world.judge(given)
    assert await world.fill(given, dry_run=True) == await world.fill(given)


# Lookups


async def test_nothing_is_read_for_an_object_that_names_nothing() -> None:
    world = World()
    assert (await world.judge(story("name: a"))).allowed
    assert not (await world.judge(story("name: a", "name: a"))).allowed
    assert world.cached.asked == world.live.asked == []


async def test_a_yes_comes_from_the_cache_alone() -> None:
    world = World(engram(), template())
    response = await world.judge(story("name: a, ref: {name: e}", "name: b, ref: {name: e}"))
    assert response.allowed
    assert response.warnings == ()
    assert sorted(world.cached.asked) == [("Engram", "ns/e"), ("EngramTemplate", "t")]
    assert world.live.asked == []


@pytest.mark.spec("admission-83")
async def test_a_no_is_said_only_after_reading_live() -> None:
    fresh = World(story("name: a", name="s"), cached=())
    assert (await fresh.judge(run())).allowed
    assert fresh.live.asked == [("Story", "ns/s")]
    assert causes(await World().judge(run())) == [("spec.storyRef.name", "FieldValueNotFound")]


async def test_a_warning_is_given_only_after_reading_live() -> None:
    response = await World(engram(), template(), cached=()).judge(story("name: a, ref: {name: e}"))
    assert (response.allowed, response.warnings) == (True, ())


@pytest.mark.spec("admission-20", "admission-22")
async def test_grants_are_looked_up_in_the_namespace_of_the_target() -> None:
    far = story("name: a, type: executeStory, with: {storyRef: {name: s, namespace: other}}")
    target = story("name: a", name="s", namespace="other")
    config = {"references__cross_namespace_policy": "grant"}
    granting = World(grant({"kind": "Story"}), target, **config)
    assert (await granting.judge(far)).allowed
    assert ("ReferenceGrant", "other/*") in granting.live.asked
    elsewhere = World(grant({"kind": "Story"}, namespace="ns"), target, **config)
    assert [reason for _, reason in causes(await elsewhere.judge(far))] == ["FieldValueForbidden"]


@pytest.mark.spec("admission-71")
async def test_of_a_secret_only_its_existence_is_read() -> None:
    given = engram(secrets={"api": "token"})
    needs = template(secretSchema={"api": {"required": True}})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": "ns"}}
    assert (await World(needs, secret).judge(given)).warnings == ()
    response = await World(needs).judge(given)
    assert response.allowed
    assert "secret 'token' not found" in response.warnings[0]
    response = await World(needs, broken={"Secret": Forbidden("no secrets for you")}).judge(given)
    assert (response.allowed, response.code) == (False, 500)
    assert "no secrets for you" in response.message


@pytest.mark.spec("admission-126")
async def test_a_failed_lookup_is_told_when_nothing_else_is_wrong() -> None:
    for failure in (DOWN, RequestTimeout("no answer")):
        response = await World(transport(), broken={"Transport": failure}).judge(binding())
        assert (response.allowed, response.code, response.details) == (False, 500, {})
        assert f"Transport t cannot be read, try again: {failure}" == response.message
    response = await World(broken={"Transport": DOWN}).judge(binding(driver=" ", binary=None))
    found = causes(response)
    assert "spec.transportRef" not in {field for field, _ in found}
    assert "spec.driver" in {field for field, _ in found}
    assert (await World(transport()).judge(binding())).allowed


async def test_grants_that_cannot_be_read_are_not_called_absent() -> None:
    far = story("name: a, type: executeStory, with: {storyRef: {name: s, namespace: other}}")
    world = World(references__cross_namespace_policy="grant", broken={"ReferenceGrant": DOWN})
    response = await world.judge(far)
    assert response.code == 500
    assert "ReferenceGrants of namespace other cannot be read" in response.message


@pytest.mark.spec("admission-75")
async def test_an_impulse_is_warned_about_a_story_that_cannot_be_read() -> None:
    given = manifest("Impulse", {"templateRef": {"name": "it"}, "storyRef": {"name": "s"}})
    kinds = manifest("ImpulseTemplate", {"version": "1", "supportedModes": ["deployment"], "image": "i"}, "it")
    response = await World(kinds, broken={"Story": DOWN}).judge(given)
    assert response.allowed
    assert any("Story ns/s cannot be read" in warning for warning in response.warnings)


async def test_a_cache_that_cannot_answer_is_passed_by() -> None:
    world = World(story("name: a", name="s"))
    world.cached.broken = {"Story": DOWN}
    assert (await world.judge(run())).allowed


# Hostile input

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
FIELDS = (
    *("steps", "ref", "name", "needs", "with", "policy", "execution", "retry", "storyRef", "inputs", "templateRef"),
    *("metadata", "namespace", "annotations", "deletionTimestamp", "secrets", "transports", "driver", "status"),
)
words = st.sampled_from(FIELDS)
trees = st.recursive(
    leaves | st.just("{{ .steps.a.output"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
)


@settings(max_examples=60)
@given(row=st.sampled_from(WEBHOOKS), spec=trees | values, metadata=trees | values, old=st.none() | trees)
async def test_no_object_makes_a_handler_fail(row: Any, spec: Any, metadata: Any, old: Any) -> None:
    identity = {"apiVersion": row.kind.API_VERSION, "kind": row.kind.KIND}
    given = {**identity, "metadata": metadata, "spec": spec}
    before = {**identity, "metadata": metadata, "spec": old} if old is not None else None
    world = World()
    assert isinstance(await world.fill(given, before), dict)
    response = await world.judge(given, before, name="x", namespace="ns")
    assert response.code in (200, 422), response


@settings(max_examples=60)
@given(raw=st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode()))
async def test_what_is_no_object_is_refused_and_passes_the_defaulter(raw: bytes) -> None:
    old = story("name: a")
    assert await World().fill(raw, old, operation="CREATE") == raw
    assert (await World().judge(raw, old, operation="CREATE")).code == 400


@pytest.mark.parametrize("depth", [100, 200, 900, 100_000])
async def test_depth_is_no_weapon(depth: int) -> None:
    nested = '{"a":' * depth + "1" + "}" * depth
    head = '{"apiVersion":"bubustack.io/v1alpha1","kind":"Story","metadata":{"name":"x"},'
    raw = f'{head}"spec":{{"steps":[{{"name":"a","type":"condition","with":{nested}}}]}}}}'.encode()
    old = story("name: a")
    for request in ({"operation": "CREATE"}, {"operation": "UPDATE", "old_object": raw}):
        assert await World().fill(raw, old, **request) == raw
        response = await World().judge(raw, old, **request)
        assert response.code in (200, 400, 422), response.message
