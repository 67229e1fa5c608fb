"""Splitting a body into lines (spec runtime REF-18)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bobrapet.runtime.errors import ConnectionFailed
from bobrapet.runtime.rest.lines import LineSplitter, LineStream


@given(st.binary(max_size=200).map(lambda data: data.replace(b"\r", b"")), st.lists(st.integers(0, 200), max_size=10))
def test_where_the_body_is_cut_makes_no_difference(body: bytes, cuts: list[int]) -> None:
    splitter = LineSplitter()
    edges = [0, *sorted(cuts), len(body)]
    lines = [line for a, b in pairwise(edges) for line in splitter.feed(body[a:b])]
    assert lines == [line for line in body.split(b"\n")[:-1] if line]
    assert splitter.rest() == body.split(b"\n")[-1]


def test_a_long_line_in_many_parts_takes_linear_time() -> None:
    def cost(parts: int) -> float:
        splitter = LineSplitter()
        chunk = b"x" * 1000
        started = time.thread_time()  # nobody else's
        for _ in range(parts):
            splitter.feed(chunk)
        assert len(splitter.feed(b"\n")[0]) == parts * 1000
        return time.thread_time() - started

    small = min(cost(1000) for _ in range(3))
    large = min(cost(16_000) for _ in range(3))
    # To copy what is there with each part would move 128 GB.
    assert large < 64 * max(small, 0.005), "16 times the data took more than 64 times as long"


def test_a_line_without_end_is_refused() -> None:
    splitter = LineSplitter(max_line=1 << 20)
    for _ in range(10):
        splitter.feed(b"x" * 100_000)
    with pytest.raises(ConnectionFailed, match="1 MiB"):
        splitter.feed(b"x" * 100_000)


async def test_single_lines_and_batches_can_be_mixed_in_order() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a\nb\nc"
        yield b"\nd\n"
        yield b"tail"

    stream = LineStream(chunks())
    assert await anext(stream) == b"a"
    assert [line async for line in stream] == [b"b", b"c", b"d", b"tail"]
