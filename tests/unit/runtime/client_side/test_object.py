"""The three projections of an object (spec runtime OBJ-1 to OBJ-9)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.runtime.client.apiutil import gvk_for_class, gvk_for_object
from bobrapet.runtime.client.object import (
    ObjectKey,
    OwnerReference,
    PartialObjectMetadata,
    Unstructured,
    compare_resource_version,
    deep_copy,
    from_bytes,
    metadata_dict,
    replace_metadata,
    to_dict,
)
from bobrapet.runtime.errors import ClientError, NotRegistered
from bobrapet.runtime.scheme import AmbiguousKind, GroupVersionKind, Scheme
from tests.unit.runtime.client_side.models import ConfigMap, Job, Meta, Planet, Widget, widget

JOB = GroupVersionKind("batch", "v1", "Job")


def test_a_kind_has_one_class() -> None:
    assert Unstructured.of("batch/v1", "Job") is Unstructured.of(JOB) is Job
    assert PartialObjectMetadata.of(JOB) is not Job
    assert issubclass(Job, Unstructured)


def test_an_object_of_a_kind_says_so() -> None:
    assert Job().object == {"apiVersion": "batch/v1", "kind": "Job"}
    assert Job({"kind": "Other", "apiVersion": "v1"}).kind == "Other"


def test_metadata_reads_and_writes_the_dict() -> None:
    job = Job()
    job.metadata.name = "a"
    job.metadata.labels = {"x": "y"}
    job.metadata.owner_references = [OwnerReference("v1", "Pod", "p", "u", controller=True)]
    assert job.object["metadata"] == {
        "name": "a",
        "labels": {"x": "y"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}],
    }
    assert job.metadata.owner_references == [OwnerReference("v1", "Pod", "p", "u", controller=True)]
    job.metadata.name = ""
    job.metadata.labels = None
    job.metadata.owner_references = None
    assert job.object["metadata"] == {}
    assert (job.metadata.name, job.metadata.generation, job.metadata.labels) == ("", 0, None)


def test_paths_into_an_object() -> None:
    job = Job()
    assert job.get("spec", "template", "x") is None
    job.set("spec", "template", "x", value=3)
    assert job.get("spec", "template", "x") == 3
    assert job.get("spec", "template", "x", "deeper", default="d") == "d"


def test_a_deep_copy_shares_nothing() -> None:
    for obj in (Job({"metadata": {"name": "a"}, "spec": {"x": [1]}}), widget(parts=["a"])):
        copied = deep_copy(obj)
        assert type(copied) is type(obj)
        assert to_dict(copied) == to_dict(obj)
    copied = deep_copy(job := Job({"spec": {"x": [1]}}))
    copied.object["spec"]["x"].append(2)
    assert job.object["spec"]["x"] == [1]


def test_unknown_fields_absent_null_and_empty_survive_a_round_trip() -> None:
    raw = (
        b'{"metadata":{"name":"a","future":{"x":1}},'
        b'"spec":{"colour":null,"parts":[],"new":123456789012345678901234567890}}'
    )
    assert to_dict(from_bytes(Widget, raw)) == {
        "metadata": {"name": "a", "future": {"x": 1}},
        "spec": {"colour": None, "parts": [], "new": 123456789012345678901234567890},
    }


def test_metadata_of_any_projection_can_be_replaced() -> None:
    for obj in (Job({"metadata": {"name": "a"}}), widget("a")):
        raw = dict(metadata_dict(obj))
        raw["finalizers"] = ["f"]
        replace_metadata(obj, raw)
        assert obj.metadata.finalizers == ["f"]
        assert obj.metadata.name == "a"


def test_keys() -> None:
    assert ObjectKey.of(widget("a", "n")) == ObjectKey("n", "a") == ObjectKey.parse("n/a")
    assert ObjectKey.of(Planet(metadata=Meta(name="earth"))) == ObjectKey.parse("earth")
    assert (str(ObjectKey("n", "a")), str(ObjectKey("", "a"))) == ("n/a", "a")


def test_kinds_of_objects_and_classes() -> None:
    scheme = Scheme()
    scheme.add_known_types(Widget)
    gvk = GroupVersionKind("test.example.com", "v1", "Widget")
    assert gvk_for_object(widget(), scheme) == gvk_for_class(Widget, scheme) == gvk
    assert gvk_for_object(Job(), scheme) == gvk_for_class(Job, scheme) == JOB
    assert gvk_for_object(Unstructured({"apiVersion": "v1", "kind": "Pod"}), scheme).kind == "Pod"
    assert scheme.class_for(gvk) is Widget
    for nameless in (Unstructured(), PartialObjectMetadata({"kind": "Pod"})):
        with pytest.raises(NotRegistered):
            gvk_for_object(nameless, scheme)
    with pytest.raises(NotRegistered, match=r"Unstructured\.of"):
        gvk_for_class(Unstructured, scheme)


def test_an_unregistered_class_is_named() -> None:
    with pytest.raises(NotRegistered, match=r"models\.Widget"):
        Scheme().gvk_for(Widget)


def test_a_class_of_two_kinds_is_ambiguous() -> None:
    scheme = Scheme()
    scheme.add_known_type(GroupVersionKind("a", "v1", "Widget"), Widget)
    scheme.add_known_type(GroupVersionKind("a", "v2", "Widget"), Widget)
    with pytest.raises(AmbiguousKind, match="a/v1, Kind=Widget, a/v2, Kind=Widget"):
        scheme.gvk_for(Widget)


def test_a_kind_has_one_class_in_a_scheme() -> None:
    scheme = Scheme()
    scheme.add_known_types(Widget, Widget)
    with pytest.raises(ClientError, match="registered for"):
        scheme.add_known_type(GroupVersionKind.parse("test.example.com/v1", "Widget"), Planet)


def test_the_repr_names_the_object() -> None:
    assert repr(ConfigMap({"metadata": {"name": "a", "namespace": "n"}})) == "<Unstructured v1 ConfigMap n/a>"


@given(st.integers(0, 10**30), st.integers(0, 10**30))
def test_numeric_resource_versions_are_ordered(a: int, b: int) -> None:
    assert compare_resource_version(str(a), str(b)) == (a > b) - (a < b)


@pytest.mark.parametrize(("a", "b"), [("", "1"), (None, "1"), ("x", "1"), ("1", "²"), ("-1", "1"), ("x", "y")])
def test_other_resource_versions_are_not(a: str | None, b: str) -> None:
    assert compare_resource_version(a, b) is None


def test_equal_words_are_equal_whatever_they_are() -> None:
    assert compare_resource_version("abc", "abc") == 0
