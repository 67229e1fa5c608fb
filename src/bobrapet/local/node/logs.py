"""Container logs: bounded files that can be read while they grow.

One line of a file is one line of output with its arrival time, in the format that the Kubernetes container runtime
interface writes: `2026-01-02T03:04:05.000000000Z stdout F text`; `P` for `F` marks a piece of a line that goes on.
A log keeps `max_bytes` in the current file and as much again in the one before it, like a kubelet with two files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 10 << 20  # a kubelet's containerLogMaxSize
MAX_LINE = 16 << 10  # longer lines are stored in pieces, as every runtime does
READ_SIZE = 64 << 10
FULL, PARTIAL = b"F", b"P"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """The query of `pods/log`, with its names. None: not asked for."""

    follow: bool = False
    tail_lines: int | None = None
    since: datetime | None = None
    timestamps: bool = False
    limit_bytes: int | None = None


class ContainerLog:
    """The log of one start of a container while it is written."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None
        self._size = 0
        self._lost = 0
        self._writers = 0
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def finished(self) -> bool:
        """Nothing more will be written."""
        return self._closed

    @property
    def change(self) -> asyncio.Event:
        """Is set when something is written, or the log is finished, after this was read."""
        return self._changed

    def open(self) -> None:
        """Creates the file, which is also the mark that the container was started. A full disk costs only the log."""
        with contextlib.suppress(OSError):
            self._rotate()

    def pipe(self, stream: str) -> LogPipe:
        """A pipe whose writing end may be given to a process as its `stream` (stdout or stderr)."""
        return LogPipe(self, stream.encode())

    def append(self, stream: bytes, text: bytes, tag: bytes = FULL) -> None:
        """Stores one line (or piece). A full disk loses lines, never the container: the gap is told once it can be."""
        stamp = _stamp(time.time_ns())
        entry = b"%b %b %b %b\n" % (stamp, stream, tag, text)
        try:
            if self._lost:
                note = b"[%d bytes of log were lost: the disk was full or failed]" % self._lost
                self._write(b"%b stderr F %b\n" % (stamp, note))
                self._lost = 0
            self._write(entry)
        except OSError:
            self._lost += len(text)

    def notify(self) -> None:
        """Wakes the followers; called once for a batch of lines."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """Finishes the log: followers read what is left and end."""
        if not self._closed:
            self._closed = True
            if self._file is not None:
                self._file.close()
            self.notify()

    def _write(self, entry: bytes) -> None:
        if self._file is None or self._size + len(entry) > self._max_bytes:
            self._rotate()
        assert self._file is not None
        self._file.write(entry)
        self._size += len(entry)

    def _rotate(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            os.replace(self.path, rotated(self.path))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a reader sees a line as soon as it is appended, and a kill of this process loses none.
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed with the log
        self._size = self._file.tell()


class LogPipe:
    """Carries what a process writes into its log, line by line, from the event loop."""

    def __init__(self, log: ContainerLog, stream: bytes) -> None:
        self._log = log
        self._stream = stream
        self._rest = b""
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._read)

    def close_writer(self) -> None:
        """To be called once the process has its copy."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        """Takes what the pipe still holds, then lets it go. To be called when the process is over."""
        self.close_writer()
        if self._reader < 0:
            return
        while self._read():
            pass
        if self._rest:
            self._log.append(self._stream, self._rest, PARTIAL)
            self._rest = b""
            self._log.notify()
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        self._reader = -1

    def _read(self) -> bool:
        try:
            data = os.read(self._reader, READ_SIZE)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._reader)
            return False
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            while len(line) > MAX_LINE:
                self._log.append(self._stream, line[:MAX_LINE], PARTIAL)
                line = line[MAX_LINE:]
            self._log.append(self._stream, line)
        while len(rest) > MAX_LINE:
            self._log.append(self._stream, rest[:MAX_LINE], PARTIAL)
            rest = rest[MAX_LINE:]
        self._rest = rest
        if lines:
            self._log.notify()
        return True


def rotated(path: Path) -> Path:
    """The file that holds what came before `path`."""
    return path.with_name(path.name + ".1")


async def read_log(path: Path, options: LogOptions, live: ContainerLog | None = None) -> AsyncIterator[bytes]:
    """Yields the log at `path` as `pods/log` answers it; with `live` and `follow` until the container ends."""
    budget = options.limit_bytes
    continued = False  # inside a line whose earlier pieces are out
    since = _stamp(int(options.since.timestamp() * 1e9)) if options.since is not None else b""
    async for batch in _batches(path, options, live):
        out = bytearray()
        for entry in batch:
            stamp, _, rest = entry.partition(b" ")
            _, _, rest = rest.partition(b" ")
            tag, _, text = rest.partition(b" ")
            # Fixed-width UTC stamps compare as text.
            if stamp < since:
                continue
            if options.timestamps and not continued:
                out += stamp + b" "
            out += text if tag == PARTIAL else text + b"\n"
            continued = tag == PARTIAL
        if budget is not None:
            if len(out) >= budget:
                yield bytes(out[:budget])
                return
            budget -= len(out)
        if out:
            yield bytes(out)


def tail(path: Path, lines: int, max_bytes: int) -> str:
    """The last lines of a log as text, at most `max_bytes` of them: for a termination message or an error report."""
    entries = _last_entries([file for file in (rotated(path), path) if file.exists()], lines)
    text = b"\n".join(entry.split(b" ", 3)[3] for entry in entries if entry.count(b" ") >= 3)
    return text[-max_bytes:].decode(errors="replace")


async def _batches(path: Path, options: LogOptions, live: ContainerLog | None) -> AsyncIterator[list[bytes]]:
    """Entries of both files, oldest first, in batches. Following goes by handle, so that rotation loses nothing."""
    follow = live if options.follow else None
    with contextlib.ExitStack() as stack:
        files = _open(path, stack)
        if options.tail_lines is not None:
            last = _last_entries([Path(file.name) for file in files], options.tail_lines)
            for file in files:
                file.seek(0, os.SEEK_END)
            yield last
        else:
            for file in files:
                for batch in _read_entries(file):
                    yield batch
                    await asyncio.sleep(0)
        if follow is None:
            return
        current = files[-1] if files else None
        while True:
            finished = follow.finished
            change = follow.change
            if current is not None:
                for batch in _read_entries(current):
                    yield batch
            newer = _newer(path, current, stack)
            if newer is not None:
                current = newer
                continue
            if finished:
                return
            await change.wait()


def _open(path: Path, stack: contextlib.ExitStack) -> list[BinaryIO]:
    files: list[BinaryIO] = []
    for candidate in (rotated(path), path):
        with contextlib.suppress(FileNotFoundError):
            files.append(stack.enter_context(candidate.open("rb")))
    return files


def _newer(path: Path, current: BinaryIO | None, stack: contextlib.ExitStack) -> BinaryIO | None:
    """The file now at `path` when it is another one than `current`."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if current is not None:
        known = os.fstat(current.fileno())
        if (known.st_dev, known.st_ino) == (status.st_dev, status.st_ino):
            return None
    return stack.enter_context(open(path, "rb"))


def _read_entries(file: BinaryIO) -> Iterator[list[bytes]]:
    """Whole entries from the current position to the end, in batches; an entry being written is left for later."""
    while True:
        start = file.tell()
        data = file.read(READ_SIZE)
        complete = data.rfind(b"\n") + 1
        if not complete:
            file.seek(start)
            return
        file.seek(start + complete)
        yield data[: complete - 1].split(b"\n")


def _last_entries(files: list[Path], lines: int) -> list[bytes]:
    """The last `lines` lines of output: pieces of one line count as one."""
    found: list[bytes] = []
    complete = 0
    for path in reversed(files):
        for entry in _backwards(path):
            if entry.split(b" ", 3)[2:3] == [FULL] or not found:
                if complete == lines:
                    return found[::-1]
                complete += 1
            found.append(entry)
    return found[::-1]


def _backwards(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position > 0:
            size = min(READ_SIZE, position)
            position -= size
            file.seek(position)
            first, *lines = (file.read(size) + rest).split(b"\n")
            yield from (line for line in reversed(lines) if line)
            rest = first
        if rest:
            yield rest


def _stamp(nanoseconds: int) -> bytes:
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % fraction
