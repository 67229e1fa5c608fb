"""References are resolved, hostile ones refused (spec workloads 8, 10.2, 10.4)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bobrapet.storage import (
    BackendUnavailable,
    Body,
    Budget,
    MemoryStore,
    PayloadCorrupt,
    PayloadNotFound,
    PayloadTooLarge,
    ReferenceRefused,
    Retries,
    SelectionFailed,
    StorageMissing,
    check_namespace,
    hydrate,
)


def once() -> Retries:
    """One attempt. Its time begins here, so it is made where it is used."""
    return Retries(delays=())


def store_with(value: Any, path: str = "outputs/team-a/a/output.json") -> MemoryStore:
    store = MemoryStore()
    store.put(path, Body.of(msgspec.json.encode({"contentType": "json", "data": value})))
    return store


def reference(path: str = "outputs/team-a/a/output.json", selector: str = "") -> dict[str, str]:
    return {"$bubuStorageRef": path} | ({"$bubuStoragePath": selector} if selector else {})


def test_data_without_references_is_returned_as_it_is() -> None:
    value = {"a": [1, {"b": "c"}]}
    assert hydrate(value, None) is value


def test_references_inside_stored_data_are_resolved_too() -> None:
    store = store_with({"inner": reference("outputs/team-a/b/output.json")})
    store.put("outputs/team-a/b/output.json", Body.of(b'{"contentType":"raw","data":"text"}'))
    assert hydrate({"x": reference()}, store) == {"x": {"inner": "text"}}


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("items[1].id", 2),
        ("items[*].id", [1, 2, None]),
        ("items[*]", [{"id": 1}, {"id": 2}, {}]),
        ('["odd.key"]', "v"),
        ("", None),
    ],
)
def test_a_selector_reads_into_the_object(selector: str, found: Any) -> None:
    data = {"items": [{"id": 1}, {"id": 2}, {}], "odd.key": "v"}
    assert hydrate(reference(selector=selector), store_with(data)) == (data if found is None else found)


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("itms", r"there is no 'itms' \(known: items\)"),
        ("items[9]", r"there is no \[9\] \(the list has 1\)"),
        ("items.a", "'a' needs an object, there is list"),
        ("items[", "cannot read the path"),
        ("items[-1]", "cannot read the path"),
    ],
)
def test_a_selector_that_leads_nowhere_says_what_is_there(selector: str, message: str) -> None:
    with pytest.raises(SelectionFailed, match=message):
        hydrate(reference(selector=selector), store_with({"items": [1]}))


@pytest.mark.spec("workloads-47")
@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "outputs/../../x",
        "/etc/passwd",
        "",
        " ",
        "outputs//x",
        "./x",
        "outputs/./x",
        "a\\..\\b",
        "a\x00b",
        "x" * 1000,
        "a/" + "x" * 250,
        "\ud800",
    ],
)
def test_a_hostile_path_is_refused_before_the_store_is_asked(path: str) -> None:
    asked: list[str] = []
    store = MemoryStore(before=lambda verb, path: asked.append(path))
    with pytest.raises(ReferenceRefused):
        hydrate(reference(path), store)
    assert not asked


def test_a_map_with_other_keys_is_data() -> None:
    value = {"$bubuStorageRef": "../x", "other": 1}
    assert hydrate(value, None) is value


def test_references_in_a_circle_are_refused() -> None:
    store = store_with({"again": reference()})
    with pytest.raises(ReferenceRefused, match="refers to itself"):
        hydrate(reference(), store)


def test_a_chain_of_references_ends_at_the_depth() -> None:
    store = MemoryStore()
    for number in range(6):
        body = msgspec.json.encode({"contentType": "json", "data": [reference(f"o/{number + 1}.json")]})
        store.put(f"o/{number}.json", Body.of(body))
    with pytest.raises(ReferenceRefused, match="more than 4 payloads"):
        hydrate(reference("o/0.json"), store, depth=4)


def test_data_nested_beyond_the_stack_is_refused_not_crashed_on() -> None:
    value: Any = reference()
    for _ in range(5000):
        value = [value]
    with pytest.raises(ReferenceRefused, match="nested deeper"):
        hydrate(value, store_with(1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"no json",
        b'{"contentType":"json"}',
        b'{"contentType":"raw","data":1}',
        b'{"contentType":"xml","data":"a"}',
        b'{"contentType":"json","data":{"a":',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"contentType":"raw","data":"' + b"x" * 2_000_000,
        b'{"contentType":"raw","data":"' + b"x" * 2_000_000 + b'","data":"y"}',
        b'{"contentType":"raw","data":"' + b"\\" * 2_000_001 + b'"}',
        b'{"contentType":"json","data":[\n' + b"1,\n" * 700_000,
        b'{"contentType":"json","data":[\n1\n2\n' + b"1,\n" * 700_000 + b"1]}",
    ],
    ids=range(14),
)
def test_what_is_no_payload_is_corrupt(data: bytes) -> None:
    store = MemoryStore()
    store.put("o/x.json", Body.of(data))
    with pytest.raises(PayloadCorrupt, match="is no payload"):
        hydrate(reference("o/x.json"), store, retries=once())


def test_payloads_of_other_writers_are_read_whatever_their_layout() -> None:
    store = MemoryStore()
    rows = list(range(400_000))
    store.put("o/x.json", Body.of(b'{ "data" : ' + msgspec.json.encode(rows) + b', "contentType":"json" }\n'))
    text = '\\é😀"' * 300_000
    store.put("o/y.json", Body.of(b'{"contentType":"raw","data":' + msgspec.json.encode(text) + b"}\n "))
    assert hydrate([reference("o/x.json"), reference("o/y.json")], store) == [rows, text]


def test_changed_bytes_are_noticed() -> None:
    store = store_with({"amount": 10})
    path = "outputs/team-a/a/output.json"
    store.objects[path] = store.objects[path].replace(b"10", b"99")
    with pytest.raises(PayloadCorrupt, match=r"expected sha256 [0-9a-f]{64}, found"):
        hydrate(reference(), store, retries=once())


def test_truncated_bytes_are_noticed() -> None:
    store = store_with("x" * 100)
    path = "outputs/team-a/a/output.json"
    store.objects[path] = store.objects[path][:50]
    with pytest.raises(PayloadCorrupt, match="ended after 50 of"):
        hydrate(reference(), store, retries=once())


def test_nothing_at_the_path_is_final() -> None:
    with pytest.raises(PayloadNotFound, match=r"nothing is stored at 'o/x\.json'"):
        hydrate(reference("o/x.json"), MemoryStore())


def test_references_without_a_store_say_what_to_do() -> None:
    with pytest.raises(StorageMissing, match="storage policy"):
        hydrate(reference(), None)


def test_a_budget_bounds_all_that_is_read() -> None:
    store = store_with("x" * 600)
    budget = Budget(1000)
    hydrate(reference(), store, budget=budget)
    with pytest.raises(PayloadTooLarge, match="at most 1000"):
        hydrate(reference(), store, budget=budget)


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("outputs/team-a/x/y.json", True),
        ("outputs/team-b/x/y.json", False),
        ("cache/team-b/e/v/k.json", False),
        ("inputs/team-b/run1-x/y.json", False),
        ("inputs/run1-x/y.json", True),
        ("team-b/logs/r/s/t/1.log", False),
        ("team-a/logs/r/s/t/1.log", True),
    ],
)
def test_who_reads_with_rights_over_the_whole_store_stays_in_the_namespace(path: str, is_allowed: bool) -> None:
    if is_allowed:
        check_namespace(path, "team-a")
    else:
        with pytest.raises(ReferenceRefused, match="lies in namespace team-b, not in team-a"):
            check_namespace(path, "team-a")


def test_a_failing_store_is_asked_three_times() -> None:
    tries: list[str] = []

    def fail(verb: str, path: str) -> None:
        tries.append(path)
        raise BackendUnavailable("500")

    slept: list[float] = []
    with pytest.raises(BackendUnavailable, match="500"):
        hydrate(reference(), MemoryStore(before=fail), retries=Retries(sleep=slept.append))
    assert (len(tries), slept) == (3, [1.0, 2.0])


def test_a_store_that_recovers_is_enough() -> None:
    store = store_with(7)
    failures = iter([BackendUnavailable("500"), PayloadCorrupt("cut")])

    def fail(verb: str, path: str) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure

    store.before = fail
    assert hydrate(reference(), store, retries=Retries(sleep=lambda seconds: None)) == 7


def test_the_time_limit_bounds_the_whole_operation() -> None:
    moments = iter(range(0, 10_000, 100))
    retries = Retries(timeout=250.0, clock=lambda: float(next(moments)), sleep=lambda seconds: None)
    with pytest.raises(BackendUnavailable, match="longer than 250s"):
        hydrate([reference()] * 5, store_with(1), retries=retries)
