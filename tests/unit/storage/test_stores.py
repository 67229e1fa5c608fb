"""What every store does, whichever it is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bobrapet.storage import (
    Body,
    Limits,
    PayloadNotFound,
    PayloadTooLarge,
    ReferenceRefused,
    Store,
    dehydrate,
    hydrate,
)

LARGE = b"0123456789abcdef" * (400_000)  # more than one part of an upload


def test_what_was_put_is_got(store: Store) -> None:
    store.put("outputs/team-a/x/a.json", Body.of(b"one", "application/json"))
    assert store.get("outputs/team-a/x/a.json") == b"one"


def test_putting_again_replaces(store: Store) -> None:
    store.put("a/b.json", Body.of(b"one"))
    store.put("a/b.json", Body.of(b"two"))
    assert store.get("a/b.json") == b"two"


def test_nothing_there_is_told(store: Store) -> None:
    with pytest.raises(PayloadNotFound, match=r"nothing is stored at 'a/b\.json'"):
        store.get("a/b.json")


def test_only_the_first_writes_if_absent(store: Store) -> None:
    assert store.put_if_absent("a/b.json", Body.of(b"one"))
    assert not store.put_if_absent("a/b.json", Body.of(b"two"))
    assert store.get("a/b.json") == b"one"


def test_one_of_many_writers_at_once_wins(store: Store) -> None:
    wins: list[int] = []
    barrier = threading.Barrier(6)

    def write(number: int) -> None:
        barrier.wait()
        if store.put_if_absent("a/b.json", Body.of(b"%d" % number)):
            wins.append(number)

    threads = [threading.Thread(target=write, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert store.get("a/b.json") == b"%d" % wins[0]


def test_deleting_is_done_once_or_twice(store: Store) -> None:
    store.put("a/b.json", Body.of(b"one"))
    store.delete("a/b.json")
    store.delete("a/b.json")
    assert [info.path for info in store.list()] == []


def test_a_list_has_what_lies_below_a_folder(store: Store) -> None:
    for path in ("outputs/a/x/1.json", "outputs/a/x/2.json", "outputs/a/xy/3.json", "outputs/b/x/4.json"):
        store.put(path, Body.of(b"12345"))
    assert sorted(info.path for info in store.list("outputs/a/x")) == ["outputs/a/x/1.json", "outputs/a/x/2.json"]
    assert {info.size for info in store.list()} == {5}
    assert list(store.list("nothing/here")) == []


@pytest.mark.parametrize("path", ["../x", "/x", "", "a//b", "a/../../b", "a\x00b"])
def test_no_call_follows_a_path_that_leaves_the_store(store: Store, path: str) -> None:
    for call in (
        lambda: store.get(path),
        lambda: store.put(path, Body.of(b"x")),
        lambda: store.put_if_absent(path, Body.of(b"x")),
        lambda: store.delete(path),
    ):
        with pytest.raises(ReferenceRefused):
            call()


@pytest.mark.parametrize("name", ["plain.json", "ü.json", "a b.json", "100%20.json", "#?&=+.json", "~x.json", ".dot"])
def test_odd_names_are_kept_as_they_are(store: Store, name: str) -> None:
    store.put(f"odd/{name}", Body.of(b"x"))
    assert [info.path for info in store.list("odd")] == [f"odd/{name}"]
    assert store.get(f"odd/{name}") == b"x"


def test_large_bodies_and_files_come_back_as_they_were(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "in").write_bytes(LARGE)
    info = store.upload(folder / "in", "files/large")
    assert info.size == len(LARGE)
    assert store.open("files/large").info.sha256 == info.sha256
    store.download("files/large", folder / "out")
    assert (folder / "out").read_bytes() == LARGE
    assert sorted(found.name for found in folder.iterdir()) == ["in", "out"]


def test_an_empty_file_is_a_file(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "in").touch()
    store.upload(folder / "in", "files/empty")
    assert store.download("files/empty", folder / "out").size == 0


def test_a_failed_download_leaves_no_file(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("files")
    with pytest.raises(PayloadNotFound):
        store.download("files/none", folder / "out")
    assert list(folder.iterdir()) == []


def test_a_limit_is_told_before_reading(store: Store) -> None:
    store.put("a/b.json", Body.of(b"12345"))
    with pytest.raises(PayloadTooLarge, match="has 5 bytes, most: 4"):
        store.get("a/b.json", limit=4)


def test_values_are_dehydrated_and_hydrated(store: Store) -> None:
    value = {"text": "x" * 6_000_000, "rows": [{"id": n} for n in range(3000)], "small": [1, None, "é"]}
    found = dehydrate(value, store, "outputs/team-a/run1-fetch", Limits(inline=4096))
    assert set(found["text"]) == {"$bubuStorageRef", "$bubuStorageContentType"}
    assert hydrate(found, store) == value
