"""What is written to a store: bytes that can be read again and again, in pieces, with length and digests.

Large values never exist as one text. A body is made of pieces of about a mebibyte, is read once to measure it and once
for each attempt to write it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Body:
    """Content for `Store.put`."""

    pieces: Callable[[], Iterable[bytes]]
    """Starts reading from the beginning; every call gives the same bytes."""
    size: int
    sha256: str
    md5: str
    content_type: str = "application/octet-stream"

    @classmethod
    def of(cls, data: bytes, content_type: str = "application/octet-stream") -> Body:
        """Of bytes that are there anyway."""
        digests = Digests()
        digests.update(data)
        return cls(lambda: (data,), len(data), digests.sha256, digests.md5, content_type)

    @classmethod
    def measured(cls, pieces: Callable[[], Iterable[bytes]], content_type: str = "application/octet-stream") -> Body:
        """Of pieces that are made while reading. Reads them once."""
        digests = Digests()
        for piece in pieces():
            digests.update(piece)
        return cls(pieces, digests.size, digests.sha256, digests.md5, content_type)

    @classmethod
    def file(cls, path: Path, content_type: str = "application/octet-stream") -> Body:
        """Of a file, which must not change meanwhile. Reads it once."""
        return cls.measured(lambda: file_pieces(path), content_type)

    def data(self) -> bytes:
        """All of it; for small bodies."""
        return b"".join(self.pieces())


class Digests:
    """Length, SHA-256 and MD5 of what passes by."""

    def __init__(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)  # of stores and their tools; what we check is the SHA-256

    def update(self, piece: bytes) -> None:
        self.size += len(piece)
        self._sha256.update(piece)
        self._md5.update(piece)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()


def file_pieces(path: Path) -> Iterator[bytes]:
    """The content of a file in pieces."""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def regrouped(pieces: Iterable[bytes], size: int = PIECE_BYTES) -> Iterator[bytes]:
    """The same bytes in pieces of at least `size`, except for the last."""
    waiting: list[bytes] = []
    length = 0
    for piece in pieces:
        waiting.append(piece)
        length += len(piece)
        if length >= size:
            yield b"".join(waiting) if len(waiting) > 1 else piece
            waiting, length = [], 0
    if waiting:
        yield b"".join(waiting)
