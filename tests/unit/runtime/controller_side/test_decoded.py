"""What a cache keeps decoded for its readers."""

from __future__ import annotations

from typing import Any

import msgspec

from bobrapet.runtime.cache.internal.decoded import Decoded
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.scheme import GroupVersionKind
from bobrapet.runtime.toolscache.record import Record, RecordDecoder
from tests.unit.runtime.controller_side.fakes import WIDGET, widget

GADGET = GroupVersionKind("example.org", "v1", "Gadget")


def record(name: str, gvk: GroupVersionKind = WIDGET, version: int = 1) -> Record:
    body = {**widget(name, version), "kind": gvk.kind}
    return RecordDecoder(gvk).decode(msgspec.json.encode(body))


def get(decoded: Decoded, found: Record, gvk: GroupVersionKind = WIDGET) -> Any:
    return decoded.get(gvk, Unstructured.of(gvk), found)


def test_all_who_ask_for_a_record_share_its_object() -> None:
    decoded, first = Decoded(), record("a")
    assert get(decoded, first) is get(decoded, first)


def test_a_new_state_of_an_object_is_a_new_object() -> None:
    decoded = Decoded()
    old, new = get(decoded, record("a", version=1)), get(decoded, record("a", version=2))
    assert (old.metadata.resource_version, new.metadata.resource_version) == ("1", "2")


def test_kinds_of_the_same_name_are_kept_apart() -> None:
    decoded, mine, other = Decoded(), record("a"), record("a", GADGET)
    first = get(decoded, mine)
    assert get(decoded, other, GADGET).kind == "Gadget"
    assert get(decoded, mine) is first


def test_beyond_the_limit_the_one_not_asked_for_longest_is_forgotten_whatever_its_kind() -> None:
    oldest, newer, newest = record("a", GADGET), record("b"), record("c")
    decoded = Decoded(most_bytes=len(oldest.body) + len(newest.body) + 1)
    kept = get(decoded, oldest, GADGET)
    forgotten = get(decoded, newer)
    assert get(decoded, oldest, GADGET) is kept  # asked for again: now the other one is the oldest
    get(decoded, newest)
    assert get(decoded, oldest, GADGET) is kept
    assert get(decoded, newer) is not forgotten


def test_states_that_were_replaced_take_no_room() -> None:
    other = record("b")
    decoded = Decoded(most_bytes=len(other.body) + len(record("a", version=100).body))
    kept = get(decoded, other)
    for version in range(100, 200):
        get(decoded, record("a", version=version))
        assert get(decoded, other) is kept


def test_an_object_that_is_larger_than_the_limit_is_kept_alone() -> None:
    decoded, large = Decoded(most_bytes=1), record("a")
    kept = get(decoded, large)
    assert get(decoded, large) is kept
