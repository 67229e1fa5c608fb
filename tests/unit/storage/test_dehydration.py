"""Values over the limit are stored and replaced by references (spec workloads 8, 10.2, 10.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from bobrapet.storage import Limits, MemoryStore, PayloadTooLarge, SchemaIdentity, dehydrate, hydrate
from bobrapet.storage.dehydrate import plan_dehydration
from bobrapet.storage.layout import output_prefix

PREFIX = output_prefix("team-a", "run1-fetch")
LIMITS = Limits(inline=4096)


def stored(store: MemoryStore, name: str) -> Any:
    return msgspec.json.decode(store.objects[f"{PREFIX}/{name}.json"])


@pytest.mark.spec("workloads-47")
def test_a_text_over_the_limit_becomes_a_raw_object_of_its_key() -> None:
    store, text = MemoryStore(), "x" * 5000
    value = dehydrate({"body": text, "status": 200}, store, PREFIX, LIMITS)
    assert value == {
        "body": {
            "$bubuStorageRef": "outputs/team-a/run1-fetch/body.json",
            "$bubuStorageContentType": "text/plain",
        },
        "status": 200,
    }
    assert stored(store, "body") == {"contentType": "raw", "data": text}
    assert hydrate(value, store) == {"body": text, "status": 200}


def test_the_key_path_has_keys_and_indexes() -> None:
    store = MemoryStore()
    dehydrate({"items": [{"body": "x"}, {"body": "y" * 5000}]}, store, PREFIX, LIMITS)
    assert list(store.objects) == [f"{PREFIX}/items.1.body.json"]


def test_a_container_of_small_values_goes_as_a_whole() -> None:
    store, rows = MemoryStore(), [{"id": number} for number in range(1000)]
    value = dehydrate({"rows": rows, "count": 1000}, store, PREFIX, LIMITS)
    assert value["rows"]["$bubuStorageContentType"] == "application/json"
    assert value["count"] == 1000
    assert stored(store, "rows") == {"contentType": "json", "data": rows}


def test_a_whole_value_lies_at_output() -> None:
    store = MemoryStore()
    value = dehydrate({f"k{number}": number for number in range(1000)}, store, PREFIX, LIMITS)
    assert value["$bubuStorageRef"] == f"{PREFIX}/output.json"


def test_what_is_at_the_limit_stays_and_is_not_copied() -> None:
    store, value = MemoryStore(), {"exact": "x" * 4096, "list": [1, 2]}
    kept = dehydrate(value["exact"], store, PREFIX, LIMITS)
    assert kept is value["exact"]
    small = {"a": [1, {"b": "c"}]}
    assert dehydrate(small, store, PREFIX, LIMITS) is small
    assert not store.objects


def test_the_limit_counts_bytes_not_characters() -> None:
    store = MemoryStore()
    assert dehydrate("é" * 2049, store, PREFIX, LIMITS) != "é" * 2049
    assert dehydrate("é" * 2048, store, PREFIX, LIMITS) == "é" * 2048


def test_a_container_whose_references_are_too_many_goes_with_all_its_parts() -> None:
    store = MemoryStore()
    value = [{"body": "x" * 5000} for _ in range(3000)]
    planned = plan_dehydration({"pages": value}, PREFIX, LIMITS)
    assert [write.reference.path for write in planned.writes] == [f"{PREFIX}/pages.json"]
    assert hydrate(dehydrate({"pages": value}, store, PREFIX, LIMITS), store) == {"pages": value}


def test_what_is_nested_deeper_than_the_limit_goes_whatever_its_size() -> None:
    store = MemoryStore()
    value = dehydrate({"a": {"b": {"c": {"d": 1}}}}, store, PREFIX, Limits(inline=4096, depth=3))
    assert value["a"]["b"]["c"]["$bubuStorageRef"] == f"{PREFIX}/a.b.c.json"
    assert hydrate(value, store) == {"a": {"b": {"c": {"d": 1}}}}


@pytest.mark.spec("workloads-48")
def test_limit_zero_offloads_everything_that_is_not_empty() -> None:
    store = MemoryStore()
    value = {"text": "x", "number": 7, "list": [], "none": None, "nothing": "", "no": False}
    found = dehydrate(value, store, PREFIX, Limits(inline=0))
    assert {key for key, part in found.items() if isinstance(part, dict)} == {"text", "number", "no"}
    assert hydrate(found, store) == value


@pytest.mark.spec("workloads-48")
def test_without_a_store_the_error_names_both_remedies() -> None:
    with pytest.raises(PayloadTooLarge, match=r"^body has more than 4096 .*storage policy, or raise execution\.max"):
        dehydrate({"body": "x" * 5000}, None, PREFIX, LIMITS)
    assert dehydrate({"body": "x"}, None, PREFIX, LIMITS) == {"body": "x"}


def test_inputs_come_under_the_limit_as_a_whole() -> None:
    store = MemoryStore()
    value = {f"k{number}": "x" * 200 for number in range(30)} | {"big": "y" * 5000}
    found = dehydrate(value, store, "inputs/team-a/run1-load", LIMITS, is_input=True)
    assert found["$bubuStorageRef"] == "inputs/team-a/run1-load/input.json"
    assert set(store.objects) == {"inputs/team-a/run1-load/input.json", "inputs/team-a/run1-load/big.json"}
    assert hydrate(found, store) == value


def test_a_part_called_input_does_not_share_the_object_of_the_rest() -> None:
    store = MemoryStore()
    value = {f"k{number}": "x" * 200 for number in range(30)} | {"input": "y" * 5000}
    assert hydrate(dehydrate(value, store, "inputs/team-a/a", LIMITS, is_input=True), store) == value
    assert len(store.objects) == 2


def test_references_carry_the_identity_of_the_schema() -> None:
    schema = SchemaIdentity("bubu://engram/team-a/http/output", "1.0.0")
    value = dehydrate("x" * 5000, MemoryStore(), PREFIX, LIMITS, schema=schema)
    assert value["$bubuStorageSchema"] == "bubu://engram/team-a/http/output"
    assert value["$bubuStorageSchemaVersion"] == "1.0.0"


def test_a_reference_that_is_passed_on_stays_one() -> None:
    reference = {"$bubuStorageRef": "outputs/team-a/run1-a/body.json"}
    assert dehydrate({"body": reference}, MemoryStore(), PREFIX, Limits(inline=0)) == {"body": reference}


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "a/b", "a.b", "", "ü", "x" * 300, "a\x00b", ".", "con~1", "a b", "\\"]
)
def test_strange_keys_make_tame_and_distinct_paths(key: str) -> None:
    store = MemoryStore()
    value = {key: "x" * 5000, "a": {"b": "y" * 5000}, "a.b.c": "z" * 5000}
    found = dehydrate(value, store, PREFIX, LIMITS)
    assert hydrate(found, store) == value
    assert all(path.startswith(f"{PREFIX}/") and path.count("/") == 3 for path in store.objects)
    assert len(store.objects) == len(set(value) | {"a"})


def test_every_object_carries_length_and_digest() -> None:
    store = MemoryStore()
    dehydrate("x" * 5000, store, PREFIX, LIMITS)
    ((path, data),) = store.objects.items()
    assert store.infos[path].size == len(data)
    assert len(store.infos[path].sha256) == 64


def large_values() -> Iterator[Any]:
    yield pytest.param('a"\\\n\x01é😀' * 300_000, id="text with escapes")
    yield pytest.param([{"n": n, "s": "line\nbreak"} for n in range(60_000)], id="list of objects")
    yield pytest.param({f"k{n}": "v" * 50 for n in range(40_000)}, id="wide object")
    yield pytest.param(["x" * 3_000_000, 1, {"deep": ["y" * 2_500_000] * 2}, *range(300_000)], id="large parts")
    yield pytest.param({"a": {"b": "x" * 5_000_000}, "c": [None] * 100_000}, id="large nested text")


@pytest.mark.parametrize("value", list(large_values()))
@pytest.mark.parametrize("limit", [4096, 50_000_000])
def test_large_values_come_back_as_they_were(value: Any, limit: int) -> None:
    store = MemoryStore()
    found = dehydrate({"v": value}, store, PREFIX, Limits(inline=limit, depth=1))
    assert hydrate(found, store) == {"v": value}
    for data in store.objects.values():
        assert msgspec.json.decode(data)["contentType"] in ("json", "raw")
