from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bobrapet.local.node.logs import MAX_LINE, PARTIAL, ContainerLog, LogOptions, read_log, rotated, tail


async def read(path: Path, live: ContainerLog | None = None, **options: Any) -> bytes:
    return b"".join([chunk async for chunk in read_log(path, LogOptions(**options), live)])


def written(path: Path, *lines: str, max_bytes: int = 1 << 20) -> ContainerLog:
    log = ContainerLog(path, max_bytes)
    for line in lines:
        log.append(b"stdout", line.encode())
    return log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c" / "0.log"


async def test_lines_come_back_as_they_were_written(path: Path) -> None:
    written(path, "one", "", " two ")
    assert await read(path) == b"one\n\n two \n"


async def test_time_stamps_are_in_front_of_each_line_when_asked_for(path: Path) -> None:
    written(path, "one")
    line = (await read(path, timestamps=True)).decode()
    stamp, text = line.split(" ", 1)
    assert text == "one\n"
    age = datetime.now(UTC) - datetime.fromisoformat(stamp[:26] + "+00:00")
    assert timedelta() <= age < timedelta(hours=1)
    assert stamp.endswith("Z")


async def test_the_last_lines_count_lines_and_not_pieces(path: Path) -> None:
    log = written(path, "one", "two")
    log.append(b"stdout", b"thr", PARTIAL)
    log.append(b"stdout", b"ee")
    assert await read(path, tail_lines=2) == b"two\nthree\n"
    assert await read(path, tail_lines=0) == b""
    assert await read(path, tail_lines=99) == b"one\ntwo\nthree\n"


async def test_lines_before_the_asked_moment_are_left_out(path: Path) -> None:
    written(path, "one")
    assert await read(path, since=datetime.now(UTC) + timedelta(seconds=1)) == b""
    assert await read(path, since=datetime.now(UTC) - timedelta(hours=1)) == b"one\n"


async def test_a_byte_limit_cuts_exactly(path: Path) -> None:
    written(path, "one", "two")
    assert await read(path, limit_bytes=5) == b"one\nt"


async def test_the_files_stay_bounded_and_the_newest_lines_survive(path: Path) -> None:
    log = written(path, *(f"{number:05d}" for number in range(1000)), max_bytes=4000)
    kept = (await read(path)).split()
    assert sum(map(os.path.getsize, (path, rotated(path)))) <= 8000
    assert kept[-1] == b"00999"
    assert kept == [f"{number:05d}".encode() for number in range(1000 - len(kept), 1000)]
    assert await read(path, tail_lines=100) == b"".join(b"%05d\n" % number for number in range(900, 1000))
    log.close()


async def test_a_follower_gets_each_line_as_it_comes_across_rotations_and_ends_with_the_container(path: Path) -> None:
    log = written(path, "first", max_bytes=300)
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def follow() -> None:
        async for chunk in read_log(path, LogOptions(follow=True), log):
            got.put_nowait(chunk)

    follower = asyncio.create_task(follow())
    assert await got.get() == b"first\n"
    for number in range(30):
        log.append(b"stdout", b"%d" % number)
        log.notify()
        assert await got.get() == b"%d\n" % number
    log.append(b"stderr", b"last")
    log.close()
    assert await got.get() == b"last\n"
    await follower


async def test_a_follower_of_the_tail_misses_nothing_that_is_written_while_it_reads(path: Path) -> None:
    log = written(path, "one", "two")
    stream = read_log(path, LogOptions(follow=True, tail_lines=1), log)
    assert await anext(stream) == b"two\n"
    log.append(b"stdout", b"three")
    log.close()
    assert [chunk async for chunk in stream] == [b"three\n"]


async def test_what_a_process_writes_is_split_into_lines_and_long_lines_into_pieces(path: Path) -> None:
    log = ContainerLog(path)
    pipe = log.pipe("stdout")
    long = b"x" * (MAX_LINE * 2 + 5)
    with os.fdopen(os.dup(pipe.writer), "wb") as writer:
        pipe.close_writer()
        for part in (b"a", b"b\nc\n", long, b"\nno end"):
            writer.write(part)
            writer.flush()
            await asyncio.sleep(0)
    pipe.close()
    log.close()
    assert await read(path) == b"ab\nc\n" + long + b"\nno end"
    with open(path, "rb") as file:  # noqa: ASYNC230
        assert max(map(len, file)) < MAX_LINE + 100


async def test_a_full_disk_loses_lines_but_tells_how_much_once_there_is_room(path: Path) -> None:
    log = written(path, "before")
    handle, log._file = log._file, open("/dev/full", "wb", buffering=0)  # noqa: SIM115, ASYNC230
    log.append(b"stdout", b"lost")
    log._file.close()
    log._file = handle
    log.append(b"stdout", b"after")
    log.close()
    assert await read(path) == b"before\n[4 bytes of log were lost: the disk was full or failed]\nafter\n"


def test_the_tail_of_a_log_fits_a_message(path: Path) -> None:
    written(path, *(f"line {number}" for number in range(100)))
    assert tail(path, 2, 100) == "line 98\nline 99"
    assert tail(path, 2, 4) == "e 99"
    assert tail(path.with_name("none.log"), 2, 4) == ""
