"""Label and field selectors."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.local.apiserver import ApiError, selectors

LABELS = {"app": "web", "tier": "front", "n": "5", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app!=web", False),
        ("missing!=x", True),
        ("app", True),
        ("!app", False),
        ("!missing", True),
        ("app in (web, db)", True),
        ("app notin (web,db)", False),
        ("missing notin (x)", True),
        ("app=web,tier=back", False),
        ("app=web, tier in (front), !missing", True),
        ("n>4", True),
        ("n<4", False),
        ("app>4", False),
        ("empty=", True),
        ("empty in ()", True),
        ("example.com/x", False),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    match = selectors.label_matcher(text)
    assert (match is None or match(LABELS)) == matches


@pytest.mark.parametrize("text", ["a in x", "//a", "a in (b", "=a", "a b", "a,,b", "n>x", "a=b=c", "-a", "a=-"])
def test_broken_selectors_are_bad_requests(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        selectors.labels(text)
    assert refused.value.code == 400


def test_field_selectors_are_terms_with_escapes() -> None:
    parsed = selectors.fields(r"metadata.name=a\,b,type!=X")
    assert [(term.key, term.operator, term.values) for term in parsed] == [
        ("metadata.name", "In", ("a,b",)),
        ("type", "NotIn", ("X",)),
    ]


@given(st.dictionaries(st.from_regex(r"[a-z]{1,4}", fullmatch=True), st.from_regex(r"[a-z0-9]{0,4}", fullmatch=True)))
def test_an_object_matches_the_selector_made_of_its_labels(labels: dict[str, str]) -> None:
    match = selectors.label_matcher(selectors.selector_text({"matchLabels": labels}))
    assert match is None or match(labels)


@given(st.text(max_size=20))
def test_any_text_is_a_selector_or_a_bad_request(text: str) -> None:
    with suppress(ApiError):
        selectors.labels(text)
