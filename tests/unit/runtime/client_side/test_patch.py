"""What a patch carries (spec runtime CLI-6 to CLI-8)."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.fake import ClientBuilder
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.client.patch import (
    json_patch,
    merge_apply,
    merge_diff,
    merge_from,
    raw_patch,
    same_json,
    strategic_merge_from,
)
from bobrapet.runtime.errors import Conflict, MissingResourceVersion, UnsupportedOperation
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.interface import MERGE_PATCH
from tests.unit.runtime.client_side.models import AnyWidget, ConfigMap, Job, Widget, config_map, widget
from tests.unit.runtime.client_side.stub import StubServer, json

WORDS = st.text("abc", max_size=2)
SCALARS = st.one_of(st.booleans(), st.integers(-3, 3), st.floats(-1, 1).map(lambda x: round(x, 1)), WORDS)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=12
)
OBJECTS = st.dictionaries(WORDS, VALUES, max_size=4)


def merged(base: Any, modified: Any) -> Any:
    data = merge_from(base).body(modified)
    return None if data is None else msgspec.json.decode(data)


@given(OBJECTS, OBJECTS)
def test_the_difference_applied_to_the_base_gives_the_modified_object(base: Any, modified: Any) -> None:
    before = copy.deepcopy((base, modified))
    assert same_json(merge_apply(base, merge_diff(base, modified)), modified)
    assert same_json([base, modified], list(before)), "the arguments were changed"


@given(OBJECTS)
def test_no_difference_is_empty(base: Any) -> None:
    assert merge_diff(base, copy.deepcopy(base)) == {}


@given(OBJECTS, OBJECTS)
def test_a_difference_touches_only_what_changed(base: Any, modified: Any) -> None:
    for key in merge_diff(base, modified):
        assert key not in base or key not in modified or not same_json(base[key], modified[key])


def test_true_is_not_one() -> None:
    assert merge_diff({"a": 1}, {"a": True}) == {"a": True}
    assert merge_diff({"a": [0]}, {"a": [False]}) == {"a": [False]}
    assert merge_diff({"a": 1}, {"a": 1.0}) == {}


@pytest.mark.spec("runtime-88")
def test_removed_keys_become_null_and_lists_are_replaced_whole() -> None:
    base = widget(parts=["a", "b"], colour="red", size=1)
    modified = Widget.model_validate(base.model_dump(by_alias=True, exclude_unset=True))
    assert modified.spec is not None
    modified.spec.parts = ["a", "b", "c"]
    del modified.spec.colour
    assert merged(base, modified) == {"spec": {"parts": ["a", "b", "c"], "colour": None}}


def test_the_base_is_a_snapshot() -> None:
    obj = config_map(a="1")
    patch = merge_from(obj)
    obj.object["data"]["a"] = "2"
    assert msgspec.json.decode(patch.body(obj) or b"") == {"data": {"a": "2"}}


@pytest.mark.spec("runtime-88")
def test_the_optimistic_lock_carries_the_version_of_the_base() -> None:
    base = ConfigMap({"metadata": {"name": "c", "resourceVersion": "7"}, "data": {}})
    modified = base.deep_copy()
    modified.object["data"]["a"] = "1"
    modified.metadata.resource_version = "9"
    data = merge_from(base, optimistic_lock=True).body(modified)
    assert msgspec.json.decode(data or b"") == {"data": {"a": "1"}, "metadata": {"resourceVersion": "7"}}
    assert merge_from(base, optimistic_lock=True).body(base) is None


@pytest.mark.spec("runtime-88")
def test_a_base_without_version_cannot_be_locked() -> None:
    with pytest.raises(MissingResourceVersion, match="no resourceVersion"):
        merge_from(config_map(), optimistic_lock=True)


@pytest.mark.spec("runtime-88")
async def test_an_empty_difference_is_not_sent(stub: StubServer) -> None:
    client = ApiClient(RestClient(stub.config()), ClientBuilder().with_types(Widget).build().scheme)
    obj = ConfigMap({"metadata": {"name": "c", "namespace": "n"}, "data": {"a": "1"}})
    stub.answer(json({"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": True}]}))
    async with client:
        assert await client.patch(obj, merge_from(obj)) is obj
        assert await client.status().patch(obj, merge_from(obj)) is obj
        assert await client.patch(obj, json_patch([])) is obj
    assert [seen.method for seen in stub.seen] == ["GET"], "discovery only"


@pytest.mark.spec("runtime-88")
async def test_strategic_merge_of_custom_kinds_is_refused_before_sending() -> None:
    client = ClientBuilder().with_types(Widget).with_objects(widget()).build()
    for base in (widget(), AnyWidget({"metadata": {"name": "w", "namespace": "default"}})):
        with pytest.raises(UnsupportedOperation, match="use merge_from or apply"):
            await client.patch(base, strategic_merge_from(base))


async def test_strategic_merge_of_built_in_kinds_merges_lists_by_key() -> None:
    job = Job({"metadata": {"name": "j", "namespace": "n"}, "spec": {"template": {"spec": {"containers": [
        {"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}}}})  # fmt: skip
    client = ClientBuilder().with_objects(job).build()
    wanted = {"spec": {"template": {"spec": {"containers": [{"name": "b", "image": "2"}]}}}}
    patched = await client.patch(job, raw_patch("application/strategic-merge-patch+json", msgspec.json.encode(wanted)))
    containers = patched.get("spec", "template", "spec", "containers")
    assert [(entry["name"], entry["image"]) for entry in containers] == [("a", "1"), ("b", "2")]


async def test_a_json_patch_and_a_raw_patch() -> None:
    client = ClientBuilder().with_objects(config_map(a="1")).build()
    obj = config_map()
    patched = await client.patch(obj, json_patch([{"op": "replace", "path": "/data/a", "value": "2"}]))
    assert patched.object["data"] == {"a": "2"}
    patched = await client.patch(obj, raw_patch(MERGE_PATCH, b'{"data":{"b":"3"}}'))
    assert patched.object["data"] == {"a": "2", "b": "3"}
    assert obj.object["data"] == {}, "the argument was changed"


async def test_a_locked_patch_of_a_stale_base_conflicts() -> None:
    client = ClientBuilder().with_objects(config_map(a="1")).build()
    first = await client.get(ConfigMap, ObjectKey("default", "c"))
    await client.patch(config_map(), raw_patch(MERGE_PATCH, b'{"data":{"other":"x"}}'))
    changed = first.deep_copy()
    changed.object["data"]["a"] = "2"
    with pytest.raises(Conflict):
        await client.patch(changed, merge_from(first, optimistic_lock=True))
    patched = await client.patch(changed, merge_from(first))
    assert patched.object["data"] == {"a": "2", "other": "x"}
