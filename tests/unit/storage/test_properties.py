"""Whatever goes in comes back, and whatever a stranger writes harms nobody."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bobrapet.api.payloads import PayloadReference, SelectorError, select
from bobrapet.storage import Body, Limits, MemoryStore, Retries, StorageError, dehydrate, hydrate
from bobrapet.storage.layout import check_path, part_path

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(texts, inner, max_size=6)),
    max_leaves=40,
)
limits = st.builds(Limits, inline=st.integers(0, 200), depth=st.integers(1, 6), remainder=st.integers(0, 400))
ONCE = Retries(delays=(), timeout=1e9)


@settings(max_examples=150, deadline=None)
@given(values, limits, st.booleans())
def test_hydrate_undoes_dehydrate(value: Any, limits: Limits, is_input: bool) -> None:
    store = MemoryStore()
    found = dehydrate(value, store, "outputs/team-a/run1-x", limits, is_input=is_input)
    assert msgspec.json.encode(hydrate(found, store, depth=64)) == msgspec.json.encode(value)
    assert all(path.startswith("outputs/team-a/run1-x/") for path in store.objects)
    if is_input and limits.inline >= 400:
        assert len(msgspec.json.encode(found)) <= limits.inline


@settings(max_examples=100, deadline=None)
@given(values, limits)
def test_nothing_inline_is_over_the_limit(value: Any, limits: Limits) -> None:
    def check(found: Any) -> None:
        if PayloadReference.parse(found) is not None:
            return
        if isinstance(found, dict):
            for member in found.values():
                check(member)
        elif isinstance(found, list):
            for member in found:
                check(member)
        elif found not in ("", None):
            size = len(found.encode()) if isinstance(found, str) else len(msgspec.json.encode(found))
            assert size <= limits.inline

    check(dehydrate(value, MemoryStore(), "outputs/team-a/x", limits))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_a_path_is_refused_or_stays_inside(path: str) -> None:
    try:
        checked = check_path(path)
    except StorageError:
        return
    parts = checked.split("/")
    assert not checked.startswith("/")
    assert all(part not in ("", ".", "..") for part in parts)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 99), st.text(max_size=40)), max_size=5))
def test_every_place_in_a_value_has_a_path_that_is_safe(keys: list[str | int]) -> None:
    path = part_path("outputs/team-a/x", keys)
    assert check_path(path) == path
    assert path.count("/") == 3


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.one_of(st.integers(0, 9), texts), min_size=1, max_size=4), min_size=2, max_size=2))
def test_two_places_never_share_a_path(places: list[list[str | int]]) -> None:
    first, second = places
    if [str(key) for key in first] != [str(key) for key in second]:
        assert part_path("p", first) != part_path("p", second)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300),
    st.dictionaries(
        st.sampled_from(["$bubuStorageRef", "$bubuStoragePath", "$bubuStorageContentType", "x"]),
        st.one_of(texts, st.integers()),
    ),
)
def test_hostile_objects_and_references_raise_our_errors_only(data: bytes, reference: dict[str, Any]) -> None:
    store = MemoryStore()
    store.put("o/x.json", Body.of(data))
    for value in (reference, {"$bubuStorageRef": "o/x.json"}, {**reference, "$bubuStorageRef": "o/x.json"}):
        with suppress(StorageError):
            hydrate(value, store, retries=ONCE)


@settings(max_examples=150, deadline=None)
@given(values, st.text(st.sampled_from('ab01.[]*"\\'), max_size=12))
def test_a_selector_finds_something_or_says_why_not(value: Any, selector: str) -> None:
    told = "found"
    try:
        select(value, selector)
    except SelectorError as error:
        told = str(error)
    assert told
