"""Structural schemas of CRDs: pruning, defaults, checks, and what an update may leave as it is."""

from __future__ import annotations

from typing import Any

import pytest

from bobrapet.local.apiserver.schema import fill_defaults, prune, structural
from bobrapet.local.apiserver.validation import validate
from tests.unit.local.apiserver.builders import CRDS, MERGE, WIDGETS, crd, widget
from tests.unit.local.apiserver.conftest import Client

STRING = {"type": "string"}


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def array(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def pruned(schema: dict[str, Any], value: Any) -> tuple[Any, list[str]]:
    unknown: list[str] = []
    prune(structural(schema), value, "", unknown)
    return value, unknown


def test_unknown_fields_fall_away_at_every_depth_and_are_named() -> None:
    schema = obj(a=STRING, list=array(obj(b=STRING)), map={"type": "object", "additionalProperties": obj(c=STRING)})
    value = {"a": "1", "x": 1, "list": [{"b": "2", "y": 1}], "map": {"k": {"c": "3", "z": 1}}}
    assert pruned(schema, value) == (
        {"a": "1", "list": [{"b": "2"}], "map": {"k": {"c": "3"}}},
        ["x", "list[0].y", "map.k.z"],
    )


def test_preserved_fields_stay_but_known_ones_below_are_still_pruned() -> None:
    schema = {**obj(known=obj(a=STRING)), "x-kubernetes-preserve-unknown-fields": True}
    value = {"any": {"thing": [1]}, "known": {"a": "1", "b": 2}}
    assert pruned(schema, value) == ({"any": {"thing": [1]}, "known": {"a": "1"}}, ["known.b"])


def test_nulls_fall_away_unless_they_are_allowed() -> None:
    schema = obj(a=STRING, b={**STRING, "nullable": True})
    assert pruned(schema, {"a": None, "b": None}) == ({"b": None}, [])


def test_an_embedded_object_keeps_what_every_object_has() -> None:
    schema = {**obj(spec=obj(a=STRING)), "x-kubernetes-embedded-resource": True}
    value = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "n"}, "spec": {"b": 1}, "other": 1}
    assert pruned(schema, value)[0] == {"apiVersion": "v1", "kind": "X", "metadata": {"name": "n"}, "spec": {}}


def test_defaults_are_filled_where_their_parent_exists_and_are_never_shared() -> None:
    schema = structural(
        obj(a={**obj(b={**STRING, "default": "x"}), "default": {}}, c=obj(d={**STRING, "default": "y"}))
    )
    one: dict[str, Any] = {}
    two: dict[str, Any] = {"c": {}}
    fill_defaults(schema, one)
    fill_defaults(schema, two)
    assert one == {"a": {"b": "x"}}
    assert two == {"a": {"b": "x"}, "c": {"d": "y"}}
    one["a"]["b"] = "changed"
    again: dict[str, Any] = {}
    fill_defaults(schema, again)
    assert again == {"a": {"b": "x"}}


@pytest.mark.parametrize(
    ("schema", "value", "fault"),
    [
        ({"type": "integer"}, 1.5, 'f: Invalid value: "number": f in body must be of type integer: "number"'),
        ({"type": "integer"}, True, 'f: Invalid value: "boolean": f in body must be of type integer: "boolean"'),
        ({"type": "integer", "maximum": 3}, 4, "f: Invalid value: 4: f in body should be less than or equal to 3"),
        ({**STRING, "minLength": 2}, "é", 'f: Invalid value: "é": f in body should be at least 2 chars long'),
        ({**STRING, "pattern": "^a+$"}, "b", "f: Invalid value: \"b\": f in body should match '^a+$'"),
        ({**STRING, "format": "date"}, "x", 'f: Invalid value: "x": f in body must be of type date: "x"'),
        (array(STRING, maxItems=1), ["a", "b"], "f: Too many: 2: must have at most 1 item"),
        (array(STRING, **{"x-kubernetes-list-type": "set"}), ["a", "a"], 'f[1]: Duplicate value: "a"'),
    ],
)
def test_faults_are_told_in_the_words_of_a_kube_apiserver(schema: dict[str, Any], value: Any, fault: str) -> None:
    assert [str(error) for error in validate(structural(schema), value, "f")] == [fault]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "number"}, 1),
        ({"type": "integer"}, 10**30),
        ({**STRING, "maxLength": 1}, "é"),
        ({"x-kubernetes-int-or-string": True}, "80"),
        ({**STRING, "format": "no-such-format"}, "anything"),
        ({**STRING, "format": "duration"}, "1h30m"),
        ({**STRING, "format": "date-time"}, "2026-01-01T00:00:00.5+02:00"),
        ({**STRING, "nullable": True}, None),
        ({"type": "object", "additionalProperties": True}, {"a": [1]}),
    ],
)
def test_values_that_are_right(schema: dict[str, Any], value: Any) -> None:
    assert validate(structural(schema), value, "f") == []


def test_all_faults_are_told_at_once() -> None:
    schema = structural({**obj(a={"type": "integer"}, b=STRING), "required": ["c"]})
    fields = [error.field for error in validate(schema, {"a": "x", "b": 1}, "spec")]
    assert fields == ["spec.c", "spec.a", "spec.b"]


def test_a_pattern_that_would_backtrack_for_ever_is_matched_in_linear_time() -> None:
    schema = structural({**STRING, "pattern": "^(a+)+$"})
    assert len(validate(schema, "a" * 50_000 + "b", "f")) == 1


def test_what_an_update_leaves_alone_is_not_checked_again() -> None:
    schema = structural(obj(a={**STRING, "maxLength": 1}, list=array({**obj(n=STRING, v={"type": "integer"})})))
    old = {"a": "too long", "list": [{"n": "x", "v": "wrong"}]}
    assert validate(schema, {**old, "b": 1}, "spec", old) == []
    changed = {"a": "also too long", "list": old["list"]}
    assert [error.field for error in validate(schema, changed, "spec", old)] == ["spec.a"]


def test_items_of_a_keyed_list_are_recognised_wherever_they_moved() -> None:
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}
    schema = structural(obj(list=array(obj(n=STRING, v={"type": "integer"}), **keyed)))
    old = {"list": [{"n": "x", "v": "wrong"}]}
    new = {"list": [{"n": "new", "v": 1}, {"n": "x", "v": "wrong"}]}
    assert validate(schema, new, "spec", old) == []


async def test_a_definition_is_served_as_soon_as_it_is_created_and_says_so(api: Client) -> None:
    created = await api("POST", CRDS, crd())
    assert {c["type"]: c["status"] for c in created["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    assert created["status"]["storedVersions"] == ["v1"]
    assert (await api("POST", WIDGETS, widget())).code == 201
    group = await api("GET", "/apis/example.com/v1")
    assert [entry["name"] for entry in group["resources"]] == ["widgets", "widgets/status"]


async def test_a_changed_definition_takes_effect_with_the_next_request(api: Client) -> None:
    definition = (await api("POST", CRDS, crd(obj(a=STRING)))).body
    await api("POST", WIDGETS, widget(a="1", b="2"))
    assert (await api("GET", f"{WIDGETS}/w"))["spec"] == {"a": "1"}
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["b"] = {**STRING, "default": "d"}
    await api("PUT", f"{CRDS}/widgets.example.com", definition)
    assert (await api("PATCH", f"{WIDGETS}/w", {"spec": {"a": "3"}}, type=MERGE))["spec"] == {"a": "3", "b": "d"}


async def test_versions_show_the_same_object(api: Client) -> None:
    definition = crd()
    second = {**definition["spec"]["versions"][0], "name": "v2", "storage": False}
    definition["spec"]["versions"].append(second)
    await api("POST", CRDS, definition)
    later = WIDGETS.replace("/v1/", "/v2/")
    created = await api("POST", later, {**widget(a=1), "apiVersion": "example.com/v2"})
    assert created["apiVersion"] == "example.com/v2"
    assert (await api("GET", f"{WIDGETS}/w"))["apiVersion"] == "example.com/v1"
    listed = await api("GET", later)
    assert [item["apiVersion"] for item in listed["items"]] == ["example.com/v2"]
    preferred = (await api("GET", "/apis/example.com"))["preferredVersion"]["version"]
    assert preferred == "v2"


async def test_custom_fields_can_be_selected(api: Client) -> None:
    await api("POST", CRDS, crd(obj(color=STRING), selectableFields=[{"jsonPath": ".spec.color"}]))
    for name, color in (("a", "red"), ("b", "blue")):
        await api("POST", WIDGETS, widget(name, color=color))
    selected = await api("GET", WIDGETS, fieldSelector="spec.color=blue")
    assert [item["metadata"]["name"] for item in selected["items"]] == ["b"]
    assert (await api("GET", WIDGETS, fieldSelector="spec.size=1")).code == 400


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d["spec"]["versions"][0].pop("schema"), "spec.versions[0].schema.openAPIV3Schema"),
        (lambda d: d["spec"]["versions"][0].update(storage=False), "spec.versions"),
        (lambda d: d["spec"].update(scope="Galaxy"), "spec.scope"),
        (lambda d: d["spec"]["names"].pop("kind"), "spec.names.kind"),
        (lambda d: d["metadata"].update(name="other"), "metadata.name"),
        (lambda d: spec_of(d).update(properties={"x": {}}), "properties[spec].properties[x].type"),
        (lambda d: spec_of(d).update(properties={"x": {**STRING, "pattern": "("}}), "properties[x].pattern"),
        (lambda d: spec_of(d).update(properties={"x": {"type": "array"}}), "properties[x].items"),
        (lambda d: spec_of(d).update(properties={"x": {**STRING, "default": 5}}), "properties[x].default"),
    ],
)
async def test_a_definition_that_cannot_be_served_is_refused(api: Client, change: Any, field: str) -> None:
    definition = crd()
    change(definition)
    refused = await api("POST", CRDS, definition)
    assert refused.code == 422
    assert any(cause["field"].endswith(field) for cause in refused["details"]["causes"]), refused.body
    assert (await api("GET", "/apis/example.com/v1")).code == 404


def spec_of(definition: dict[str, Any]) -> dict[str, Any]:
    """The schema of `spec` in a definition."""
    properties = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    found: dict[str, Any] = properties["spec"]
    return found


async def test_a_definition_keeps_its_group_scope_and_names(api: Client) -> None:
    definition = (await api("POST", CRDS, crd())).body
    definition["spec"]["scope"] = "Cluster"
    refused = await api("PUT", f"{CRDS}/widgets.example.com", definition)
    assert [cause["field"] for cause in refused["details"]["causes"]] == ["spec.scope"]
