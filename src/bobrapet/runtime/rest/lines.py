"""Splits a response body into lines while it arrives (spec runtime REF-18)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from bobrapet.runtime.errors import ConnectionFailed

MAX_LINE = 64 << 20
"""Bytes of the longest line that is accepted: far above any object, low enough to stop a server that never ends one."""


class LineSplitter:
    """Feeds on chunks and gives complete lines without their end. Long lines are joined once, when they end."""

    __slots__ = ("_pending", "_pending_size", "max_line")

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self.max_line = max_line
        self._pending: list[bytes] = []
        self._pending_size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes; empty lines are left out."""
        end = chunk.rfind(b"\n")
        if end < 0:
            self._keep(chunk)
            return []
        lines = chunk[:end].split(b"\n")
        if self._pending:
            self._pending.append(lines[0])
            lines[0] = b"".join(self._pending)
            self._pending = []
            self._pending_size = 0
        if end + 1 < len(chunk):
            self._keep(chunk[end + 1 :])
        return [line for line in lines if line and line != b"\r"]

    def rest(self) -> bytes:
        """What came after the last line end."""
        return b"".join(self._pending)

    def _keep(self, part: bytes) -> None:
        self._pending.append(part)
        self._pending_size += len(part)
        if self._pending_size > self.max_line:
            raise ConnectionFailed(f"the server sent a line of more than {self.max_line >> 20} MiB")


class LineStream:
    """The lines of a response that is still open.

    Iterate over it for single lines, or over `batches()` for the lines of each network read together: that is cheaper,
    and tells where the stream paused. A part without line end at the close of the stream is delivered too.
    """

    def __init__(self, chunks: AsyncIterator[bytes], max_line: int = MAX_LINE) -> None:
        self._chunks = chunks
        self._splitter = LineSplitter(max_line)
        self._ready: Iterator[bytes] = iter(())
        self._batches = self.batches()

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Non-empty lists of lines."""
        feed = self._splitter.feed
        async for chunk in self._chunks:
            lines = feed(chunk)
            if lines:
                yield lines
        last = self._splitter.rest()
        if last.strip():
            yield [last]

    def __aiter__(self) -> LineStream:
        return self

    async def __anext__(self) -> bytes:
        while True:
            for line in self._ready:
                return line
            self._ready = iter(await anext(self._batches))
