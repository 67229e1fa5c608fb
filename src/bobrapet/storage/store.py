"""What a payload store can do. Five calls make a store; the others are made of them.

Calls block and may be made from any number of threads. Paths are checked by the store itself, so that no caller can
forget to.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bobrapet.storage.body import Body, Digests
from bobrapet.storage.errors import PayloadCorrupt, PayloadTooLarge
from bobrapet.storage.layout import shown

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows about an object."""

    path: str
    size: int
    modified: float = 0.0
    """Seconds since 1970."""
    sha256: str = ""
    """What it had when it was written; empty: the store does not keep it."""


class Reading:
    """An object that is being read: iterate over its pieces, inside `with`.

    The pieces are checked: length and digest are compared at the end, and PayloadCorrupt is raised when they differ.
    """

    def __init__(self, info: ObjectInfo, pieces: Iterable[bytes], close: Callable[[], None] = lambda: None) -> None:
        self.info = info
        self._pieces = pieces
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return _verified(self.info, self._pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


class Store(ABC):
    """A place for payloads."""

    @abstractmethod
    def open(self, path: str) -> Reading:
        """Starts reading. Raises PayloadNotFound, ReferenceRefused or Retriable; so do the pieces."""

    @abstractmethod
    def put(self, path: str, body: Body) -> None:
        """Writes, or replaces, all at once: nobody ever sees a part. Raises ReferenceRefused, Retriable."""

    @abstractmethod
    def put_if_absent(self, path: str, body: Body) -> bool:
        """Writes unless something is there; says whether it did. One of several concurrent callers wins."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Removes; success when nothing is there."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object below a folder, in no order, without digests."""

    def get(self, path: str, limit: int | None = None) -> bytes:
        """The whole content. Raises PayloadTooLarge, before reading, when it has more than `limit` bytes."""
        with self.open(path) as reading:
            if limit is not None and reading.info.size > limit:
                raise PayloadTooLarge(f"{shown(path)} has {reading.info.size} bytes, most: {limit}")
            return b"".join(reading)

    def upload(self, source: Path, path: str, content_type: str = "application/octet-stream") -> ObjectInfo:
        """Writes a file, piece by piece."""
        body = Body.file(source, content_type)
        self.put(path, body)
        return ObjectInfo(path, body.size, sha256=body.sha256)

    def download(self, path: str, target: Path) -> ObjectInfo:
        """Reads into a file, piece by piece; the file appears when all of it is there and right."""
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with self.open(path) as reading, partial.open("wb") as file:
                for piece in reading:
                    file.write(piece)
            partial.replace(target)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        return reading.info


def _verified(info: ObjectInfo, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same pieces; raises PayloadCorrupt at the end when they are not what `info` promises."""
    digests = Digests() if info.sha256 else None
    size = 0
    for piece in pieces:
        size += len(piece)
        if digests is not None:
            digests.update(piece)
        yield piece
    if size != info.size:
        raise PayloadCorrupt(f"{shown(info.path)} ended after {size} of {info.size} bytes")
    if digests is not None and digests.sha256 != info.sha256:
        raise PayloadCorrupt(
            f"{shown(info.path)} is not what was written: expected sha256 {info.sha256}, found {digests.sha256}"
        )
