"""Merge patch, strategic merge patch, server-side apply."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.local.apiserver import fieldset, patch, strategic
from bobrapet.local.apiserver.schema import copy
from bobrapet.local.apiserver.typed import type_schema
from tests.unit.local.apiserver.builders import APPLY, CONFIGMAPS, CRDS, MERGE, WIDGETS, configmap, crd, widget
from tests.unit.local.apiserver.conftest import Client

POD_SPEC = type_schema("core/v1.PodSpec")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=2), children, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=2), json_values, max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return value


@given(objects, objects)
def test_a_merge_patch_neither_changes_its_arguments_nor_leaves_nulls_of_its_own(target: Any, given_patch: Any) -> None:
    target = without_nulls(target)
    before = copy(target), copy(given_patch)
    merged = patch.merge(target, given_patch)
    assert (target, given_patch) == before
    for name, value in given_patch.items():
        if value is None:
            assert name not in merged
        elif not isinstance(value, dict):
            assert merged[name] == value
    assert {name: value for name, value in merged.items() if name not in given_patch} == {
        name: value for name, value in target.items() if name not in given_patch
    }


@given(objects)
def test_a_merge_patch_with_the_object_itself_changes_nothing(target: Any) -> None:
    target = without_nulls(target)
    assert patch.merge(target, target) == target


def container(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **more}


@pytest.mark.parametrize(
    ("target", "given_patch", "result"),
    [
        pytest.param(
            {"containers": [container("a", image="1", command=["x"])]},
            {"containers": [container("a", image="2")]},
            {"containers": [container("a", image="2", command=["x"])]},
            id="an entry is merged by its key",
        ),
        pytest.param(
            {"containers": [container("a"), container("b")]},
            {"containers": [{"name": "a", "$patch": "delete"}]},
            {"containers": [container("b")]},
            id="an entry is deleted by directive",
        ),
        pytest.param(
            {"containers": [container("a")]},
            {"containers": [container("b"), {"$patch": "replace"}]},
            {"containers": [container("b")]},
            id="a list is replaced by directive",
        ),
        pytest.param(
            {"containers": [container("a", command=["x", "y"])]},
            {"containers": [container("a", command=["z"])]},
            {"containers": [container("a", command=["z"])]},
            id="an atomic list is replaced",
        ),
        pytest.param(
            {"containers": [container("a"), container("b")]},
            {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]},
            {"containers": [container("b"), container("a")]},
            id="entries are put in order",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]},
            {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
            id="a union keeps one member",
        ),
        pytest.param(
            {"nodeSelector": {"a": "1"}, "hostname": "h"},
            {"nodeSelector": {"$patch": "replace", "b": "2"}, "hostname": None},
            {"nodeSelector": {"b": "2"}},
            id="a map is replaced, a field removed",
        ),
    ],
)
def test_strategic_merge(target: dict[str, Any], given_patch: dict[str, Any], result: dict[str, Any]) -> None:
    assert strategic.merge(target, given_patch, POD_SPEC) == result


@given(objects, objects)
def test_sets_of_fields_obey_the_laws_of_sets(a: Any, b: Any) -> None:
    first, second = fieldset.fields_of(a, None), fieldset.fields_of(b, None)
    assert fieldset.difference(first, first) == {}
    assert fieldset.union(first, {}) == first
    assert fieldset.intersection(first, first) == first
    both = set(fieldset.paths(fieldset.union(first, second)))
    assert set(fieldset.paths(fieldset.difference(first, second))) <= both


async def managers(api: Client, path: str) -> dict[str, str]:
    metadata = (await api("GET", path))["metadata"]
    return {entry["manager"]: entry["operation"] for entry in metadata.get("managedFields", ())}


async def test_an_applied_object_is_created_and_knows_its_manager(api: Client) -> None:
    first = await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=me", configmap(x="1"), type=APPLY)
    again = await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=me", configmap(x="1"), type=APPLY)
    assert (first.code, again.code) == (201, 200)
    assert again.body == first.body
    assert first["metadata"]["managedFields"][0]["fieldsV1"] == {"f:data": {"f:x": {}}}


async def test_fields_that_an_applier_no_longer_names_go(api: Client) -> None:
    await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=me", configmap(x="1", y="2"), type=APPLY)
    await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=you", configmap(z="3"), type=APPLY)
    await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=me", configmap(x="1"), type=APPLY)
    assert (await api("GET", f"{CONFIGMAPS}/a"))["data"] == {"x": "1", "z": "3"}


async def test_a_field_of_another_manager_is_a_conflict_unless_forced(api: Client) -> None:
    await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=one", configmap(x="1"), type=APPLY)
    refused = await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=two", configmap(x="2"), type=APPLY)
    assert (refused.code, refused["message"]) == (409, 'Apply failed with 1 conflict: conflict with "one": .data.x')
    assert refused["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    forced = await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=two&force=true", configmap(x="2"), type=APPLY)
    assert forced["data"] == {"x": "2"}
    assert await managers(api, f"{CONFIGMAPS}/a") == {"two": "Apply"}


async def test_the_same_value_is_shared(api: Client) -> None:
    for name in ("one", "two"):
        assert (await api("PATCH", f"{CONFIGMAPS}/a?fieldManager={name}", configmap(x="1"), type=APPLY)).code < 300
    await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=one", configmap(), type=APPLY)
    assert (await api("GET", f"{CONFIGMAPS}/a"))["data"] == {"x": "1"}


async def test_an_update_takes_the_fields_it_changes(api: Client) -> None:
    await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=one", configmap(x="1", y="1"), type=APPLY)
    await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=editor", {"data": {"x": "2"}}, type=MERGE)
    refused = await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=one", configmap(x="1", y="1"), type=APPLY)
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "editor" using v1: .data.x'


async def test_what_was_there_before_the_first_apply_belongs_to_somebody(api: Client) -> None:
    await api("POST", CONFIGMAPS, configmap(x="1"))
    assert await managers(api, f"{CONFIGMAPS}/a") == {}
    refused = await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=one", configmap(x="2"), type=APPLY)
    assert '"before-first-apply" using v1: .data.x' in refused["message"]


async def test_entries_of_keyed_lists_have_owners_of_their_own(api: Client) -> None:
    item = {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer"}}}
    items = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    await api("POST", CRDS, crd({"type": "object", "properties": {"items": items}}))
    await api("PATCH", f"{WIDGETS}/w?fieldManager=one", widget(items=[{"name": "a", "v": 1}]), type=APPLY)
    await api("PATCH", f"{WIDGETS}/w?fieldManager=two", widget(items=[{"name": "b", "v": 2}]), type=APPLY)
    await api("PATCH", f"{WIDGETS}/w?fieldManager=one", widget(items=[{"name": "c"}]), type=APPLY)
    spec = (await api("GET", f"{WIDGETS}/w"))["spec"]
    assert spec == {"items": [{"name": "b", "v": 2}, {"name": "c"}]}


async def test_an_unknown_field_cannot_be_applied(api: Client) -> None:
    await api("POST", CRDS, crd({"type": "object", "properties": {"a": {"type": "string"}}}))
    answer = await api("PATCH", f"{WIDGETS}/w?fieldManager=one", widget(a="1", b="2"), type=APPLY)
    assert answer.code == 500
    assert answer["message"].endswith(".spec.b: field not declared in schema")


async def test_apply_accepts_yaml(api: Client) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\ndata:\n  x: 'yes'\n"
    applied = await api("PATCH", f"{CONFIGMAPS}/a?fieldManager=one", body, type=APPLY)
    assert (applied.code, applied["data"]) == (201, {"x": "yes"})
