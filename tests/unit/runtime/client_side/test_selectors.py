"""Label and field selectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.runtime.client.selectors import FieldSelector, InvalidSelector, LabelSelector


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("a=1", {"a": "1"}, True),
        ("a==1", {"a": "2"}, False),
        ("a=", {"a": ""}, True),
        ("a!=1", {}, True),
        ("a!=1", {"a": "1"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("! a", {}, True),
        ("a in (1, 2)", {"a": "2"}, True),
        ("a in (1,2)", {}, False),
        ("a notin (1,2)", {}, True),
        ("a notin (1,2)", {"a": "1"}, False),
        ("a>3", {"a": "4"}, True),
        ("a>3", {"a": "3"}, False),
        ("a<3", {"a": "x"}, False),
        ("a<3", {}, False),
        ("x.io/a=1 , b,!c", {"x.io/a": "1", "b": ""}, True),
        ("x.io/a=1,b,!c", {"x.io/a": "1", "b": "", "c": ""}, False),
        ("in=1", {"in": "1"}, True),
    ],
)
def test_label_selectors(text: str, labels: dict[str, str], expected: bool) -> None:
    assert LabelSelector.parse(text).matches(labels) is expected


@pytest.mark.parametrize("text", [",", "a b", "=x", "a=b,", "a in", "a in 1", "a in (1", "a=(", "-a", "a=b=c"])
def test_what_is_no_selector_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InvalidSelector, match="cannot read"):
        LabelSelector.parse(text)


def test_a_map_means_equality_and_objects_without_labels_are_no_error() -> None:
    assert LabelSelector.parse({"a": "1"}).matches({"a": "1"})
    assert not LabelSelector.parse({"a": "1"}).matches(None)
    assert LabelSelector.parse(None).matches(None)


def test_selector_objects() -> None:
    selector = LabelSelector.from_object(
        {
            "matchLabels": {"a": "1"},
            "matchExpressions": [
                {"key": "b", "operator": "In", "values": ["x", "y"]},
                {"key": "c", "operator": "DoesNotExist"},
            ],
        }
    )
    assert str(selector) == "a=1,b in (x,y),!c"
    assert selector.matches({"a": "1", "b": "y"})
    with pytest.raises(InvalidSelector, match="Like"):
        LabelSelector.from_object({"matchExpressions": [{"key": "b", "operator": "Like"}]})


NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,5}[a-z0-9])?", fullmatch=True)
REQUIREMENTS = st.one_of(
    st.tuples(NAMES, st.sampled_from(["=", "!="]), NAMES).map("".join),
    st.tuples(NAMES, st.sampled_from(["in", "notin"]), st.lists(NAMES, min_size=1, max_size=3)).map(
        lambda parts: f"{parts[0]} {parts[1]} ({','.join(parts[2])})"
    ),
    NAMES,
    NAMES.map("!{}".format),
)


@given(st.lists(REQUIREMENTS, min_size=1, max_size=4), st.dictionaries(NAMES, NAMES, max_size=4))
def test_the_text_of_a_selector_means_the_same(terms: list[str], labels: dict[str, str]) -> None:
    selector = LabelSelector.parse(",".join(terms))
    again = LabelSelector.parse(str(selector))
    assert again == selector
    assert selector.matches(labels) == all(LabelSelector.parse(term).matches(labels) for term in terms)


def test_field_selectors() -> None:
    selector = FieldSelector.parse(r"metadata.name=a,status.phase!=Running,spec.x==1\,2")
    values = {"metadata.name": "a", "status.phase": "Pending", "spec.x": "1,2"}
    assert selector.matches(values.__getitem__)
    assert not selector.matches({**values, "status.phase": "Running"}.__getitem__)
    assert selector.required("metadata.name") == "a"
    assert selector.required("status.phase") is None
    assert str(selector.without("spec.x")) == "metadata.name=a,status.phase!=Running"
    with pytest.raises(InvalidSelector, match="field=value"):
        FieldSelector.parse("metadata.name")
