"""The store by itself: compare-and-set, order, history, durability."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from bobrapet.local.store import (
    ChangeType,
    HistoryExpired,
    Key,
    ObjectTooLarge,
    RevisionConflict,
    Store,
    StoreDamaged,
    StoreError,
    StoreInUse,
)

A = Key("things", "ns", "a")
B = Key("things", "ns", "b")


def obj(**data: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "data": data}


@pytest.fixture(params=["memory", "file"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    store = Store(tmp_path if request.param == "file" else None)
    store.open()
    yield store
    await store.close()


async def test_every_write_gets_a_higher_revision_and_carries_it(store: Store) -> None:
    first = await store.put(A, obj(), expected=0)
    second = await store.put(B, obj(), expected=0)

    assert second.revision > first.revision
    assert first.object()["metadata"]["resourceVersion"] == str(first.revision)
    assert store.revision == second.revision


async def test_a_write_on_top_of_an_unseen_one_is_refused(store: Store) -> None:
    seen = await store.put(A, obj(x=1), expected=0)
    await store.put(A, obj(x=2), expected=seen.revision)

    with pytest.raises(RevisionConflict):
        await store.put(A, obj(x=3), expected=seen.revision)
    with pytest.raises(RevisionConflict):
        await store.put(A, obj(x=3), expected=0)
    current = store.get(A)
    assert current is not None
    assert current.object()["data"] == {"x": 2}


async def test_of_writers_that_race_for_one_revision_exactly_one_wins(store: Store) -> None:
    seen = await store.put(A, obj(), expected=0)

    outcomes = await asyncio.gather(
        *(store.put(A, obj(x=i), expected=seen.revision) for i in range(20)), return_exceptions=True
    )

    winners = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(winners) == 1
    assert store.get(A) is winners[0]


async def test_a_write_is_seen_by_readers_and_followers_only_once_it_is_durable(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    writing = asyncio.ensure_future(store.put(A, obj(), expected=0))
    await asyncio.sleep(0)  # the write is on its way to the log

    assert store.get(A) is None
    assert store.feed("things").since(store.revision) == []
    record = await writing
    assert store.get(A) is record
    await store.close()


async def test_a_writer_that_goes_away_does_not_undo_its_write(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    writing = asyncio.ensure_future(store.put(A, obj(), expected=0))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await store.put(B, obj(), expected=0)

    assert store.get(A) is not None
    await store.close()


async def test_lists_are_in_order_of_namespace_and_name(store: Store) -> None:
    for namespace, name in (("b", "x"), ("a", "z"), ("a", "b")):
        await store.put(Key("things", namespace, name), obj(), expected=0)

    assert [(r.key.namespace, r.key.name) for r in store.list("things")] == [("a", "b"), ("a", "z"), ("b", "x")]
    assert [r.key.name for r in store.list("things", "a")] == ["b", "z"]


async def test_the_feed_has_every_change_in_order_with_its_former_state(store: Store) -> None:
    start = store.revision
    created = await store.put(A, obj(x=1), expected=0)
    updated = await store.put(A, obj(x=2), expected=created.revision)
    await store.delete(A, obj(x=2), expected=updated.revision)

    changes = store.feed("things").since(start)
    assert [change.type for change in changes] == [ChangeType.ADDED, ChangeType.MODIFIED, ChangeType.DELETED]
    assert changes[1].before is created
    assert store.feed("things").since(updated.revision) == changes[2:]
    assert store.get(A) is None


async def test_a_history_that_was_trimmed_says_so_instead_of_skipping() -> None:
    store = Store(history=8)
    store.open()
    start = store.revision
    for i in range(20):
        await store.put(Key("things", "ns", f"n{i}"), obj(), expected=0)

    with pytest.raises(HistoryExpired):
        store.feed("things").since(start)
    kept = store.feed("things").since(store.feed("things").oldest)
    assert [change.record.key.name for change in kept][-1] == "n19"
    await store.close()


async def test_an_object_over_the_limit_is_refused_and_nothing_is_written(store: Store) -> None:
    with pytest.raises(ObjectTooLarge):
        await store.put(A, obj(x="y" * 100), expected=0, limit=100)
    assert store.get(A) is None
    await store.put(A, obj(), expected=0)


async def test_a_second_server_cannot_share_the_folder_and_a_later_one_can(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    first.open()
    with pytest.raises(StoreInUse, match=str(os.getpid())):
        second.open()
    await first.close()
    second.open()
    await second.close()


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    await store.put(A, {**obj(x=1), "metadata": {"name": "a", "labels": {"l": "v"}}}, expected=0)
    gone = await store.put(B, obj(), expected=0)
    await store.delete(B, obj(), expected=gone.revision)
    revision = store.revision
    await store.close()

    again = Store(tmp_path)
    again.open()
    record = again.get(A)
    assert record is not None
    assert record.object()["data"] == {"x": 1}
    assert record.labels == {"l": "v"}
    assert again.get(B) is None
    assert again.revision == revision
    await again.close()


async def test_watches_from_before_a_restart_have_to_start_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    first = await store.put(A, obj(), expected=0)
    await store.put(B, obj(), expected=0)
    await store.close()

    again = Store(tmp_path)
    again.open()
    with pytest.raises(HistoryExpired):
        again.feed("things").since(first.revision)
    assert again.feed("things").since(again.revision) == []
    await again.close()


async def test_a_store_that_something_wrote_into_says_so_and_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    for number in range(200):
        await store.put(Key("things", "ns", f"n{number}"), obj(text="x" * 500), expected=0)
    await store.close()
    file = tmp_path / "store.db"
    whole = file.read_bytes()
    for at in range(4096, len(whole) - 4096, 8192):
        file.write_bytes(whole[:at] + b"\x5a" * 4096 + whole[at + 4096 :])
        with pytest.raises(StoreDamaged, match=r"store\.db is damaged"):
            Store(tmp_path).open()
    file.write_bytes(whole)
    again = Store(tmp_path)
    again.open()
    assert again.get(Key("things", "ns", "n199")) is not None
    await again.close()


async def test_a_file_that_is_no_store_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreError, match=r"store\.db"):
        Store(tmp_path).open()
    assert (tmp_path / "store.db").read_bytes().startswith(b"something")


WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from bobrapet.local.store import Key, Store

    async def main():
        store = Store(Path(sys.argv[1]))
        store.open()

        async def write(worker):
            for i in range(1000000):
                key = Key("things", str(worker), f"n{i}")
                await store.put(key, {"metadata": {"name": key.name}, "data": "x" * 500}, expected=0)
                sys.stdout.write(f"{worker} {i}\\n")
                sys.stdout.flush()

        await asyncio.gather(*(write(worker) for worker in range(8)))

    asyncio.run(main())
    """
)


@pytest.mark.parametrize("acknowledged", [1, 57, 400])
def test_no_acknowledged_write_is_lost_when_the_process_is_killed(tmp_path: Path, acknowledged: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = [process.stdout.readline().split() for _ in range(acknowledged)]
    process.send_signal(signal.SIGKILL)
    # What stood in the pipe was acknowledged too; its last line may be cut.
    seen += [line.split() for line in process.stdout.read().split("\n")[:-1]]
    process.wait()
    process.stdout.close()

    async def check() -> None:
        store = Store(tmp_path)
        store.open()
        for worker, number in seen:
            assert store.get(Key("things", worker, f"n{number}")) is not None, (worker, number)
        # It can be written on, above everything that was there.
        before = store.revision
        assert (await store.put(A, obj(), expected=0)).revision > before
        await store.close()

    asyncio.run(check())


FULL = textwrap.dedent(
    """
    import asyncio, resource, signal, sys
    from pathlib import Path
    from bobrapet.local.store import Key, Store, StoreFull

    async def main():
        store = Store(Path(sys.argv[1]))
        store.open()
        # A limit on file sizes refuses writes in the same place as a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        written = 0
        try:
            while True:
                key = Key("things", "ns", f"n{written}")
                await store.put(key, {"metadata": {"name": key.name}, "data": "x" * 20_000}, expected=0)
                written += 1
        except StoreFull:
            print(written, store.get(key) is None)
        # Space again: the same store goes on.
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await store.put(key, {"metadata": {"name": key.name}}, expected=0)
        await store.close()

    asyncio.run(main())
    """
)


def test_a_full_disk_refuses_the_write_and_corrupts_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    written, unseen = done.stdout.split()
    assert unseen == "True"

    async def check() -> int:
        store = Store(tmp_path)
        store.open()
        count = store.count("things")
        await store.close()
        return count

    assert asyncio.run(check()) == int(written) + 1
