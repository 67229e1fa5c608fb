"""The stored form of a value: `{"contentType":"json","data":<JSON>}` or `{"contentType":"raw","data":"<text>"}`.

Written and read piece by piece, so that neither costs a second copy of a large value. What we write breaks a large
list or object into lines of about a mebibyte; inside JSON a line break never stands for itself, so a reader may decode
line by line. What others write in one line is read as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from bobrapet.api import env
from bobrapet.storage.body import PIECE_BYTES, regrouped
from bobrapet.storage.errors import PayloadCorrupt
from bobrapet.storage.layout import shown
from bobrapet.storage.store import Reading

_JSON: Final = b'{"contentType":"json","data":'
_RAW: Final = b'{"contentType":"raw","data":"'
_TAIL: Final = 16  # longer than any escape sequence: a surrogate pair has 12 characters
_MARK: Final = env.STORAGE_REF[:5].encode()
_LINE_BYTES: Final = PIECE_BYTES
_FIRST_BATCH: Final = 64


class _Envelope(msgspec.Struct):
    content_type: str = msgspec.field(name="contentType")
    data: Any


@dataclass(frozen=True, slots=True)
class Content:
    """A value as it was stored."""

    value: Any
    may_hold_references: bool
    """False: there is certainly no reference in it, so nobody needs to search it."""


class _Otherwise(Exception):
    """The content is not laid out as we write it."""


def raw_pieces(text: str) -> Iterator[bytes]:
    """The stored form of a text."""
    yield _RAW
    for start in range(0, len(text), PIECE_BYTES):
        yield msgspec.json.encode(text[start : start + PIECE_BYTES])[1:-1]
    yield b'"}'


def json_pieces(value: Any, heavy: Collection[int] = ()) -> Iterator[bytes]:
    """The stored form of a JSON value. `heavy` has the identities of those values inside that are large themselves."""
    yield _JSON
    yield from regrouped(_json(value, heavy, is_root=True))
    yield b"}"


def read_content(reading: Reading) -> Content:
    """The value of an object. Raises PayloadCorrupt; the caller closes the reading."""
    pieces = iter(reading)
    if reading.info.size <= _LINE_BYTES:
        return _whole(b"".join(pieces), reading.info.path)
    source = _Source(pieces)
    head = source.peek(len(_JSON) + 2)
    try:
        if head.startswith(_RAW):
            source.skip(len(_RAW))
            return Content(_text(source), may_hold_references=False)
        if head[: len(_JSON)] == _JSON and head[len(_JSON) :] in (b"[\n", b"{\n"):
            source.skip(len(head))
            return _lines(source, is_list=head.endswith(b"[\n"))
    except _Otherwise:
        raise PayloadCorrupt(f"{shown(reading.info.path)} is no payload: it does not end as it begins") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PayloadCorrupt(f"{shown(reading.info.path)} is no payload: {error}") from error
    return _whole(source.rest(), reading.info.path)


def _json(value: Any, heavy: Collection[int], *, is_root: bool) -> Iterator[bytes]:
    if isinstance(value, str) and id(value) in heavy:
        yield b'"'
        for start in range(0, len(value), PIECE_BYTES):
            yield msgspec.json.encode(value[start : start + PIECE_BYTES])[1:-1]
        yield b'"'
    elif isinstance(value, list) and (is_root or id(value) in heavy):
        yield b"[\n" if is_root else b"["
        yield from _separated(_list_batches(value, heavy), b",\n" if is_root else b",")
        yield b"]"
    elif isinstance(value, Mapping) and (is_root or id(value) in heavy):
        yield b"{\n" if is_root else b"{"
        yield from _separated(_map_batches(value, heavy), b",\n" if is_root else b",")
        yield b"}"
    else:
        yield msgspec.json.encode(value)


def _separated(batches: Iterable[Iterable[bytes]], separator: bytes) -> Iterator[bytes]:
    is_first = True
    for batch in batches:
        if not is_first:
            yield separator
        is_first = False
        yield from batch


def _list_batches(value: list[Any], heavy: Collection[int]) -> Iterator[Iterable[bytes]]:
    """Runs of light members, each about a line long, and heavy ones by themselves."""
    count, start = _FIRST_BATCH, 0
    while start < len(value):
        if id(value[start]) in heavy:
            yield _json(value[start], heavy, is_root=False)
            start += 1
            continue
        batch = value[start : start + count]
        if heavy:
            batch = batch[: next((n for n, member in enumerate(batch) if id(member) in heavy), len(batch))]
        encoded = msgspec.json.encode(batch)[1:-1]
        yield (encoded,)
        start += len(batch)
        count = max(1, min(2 * count, count * _LINE_BYTES // max(len(encoded), 1)))


def _map_batches(value: Mapping[str, Any], heavy: Collection[int]) -> Iterator[Iterable[bytes]]:
    batch: dict[str, Any] = {}
    count = _FIRST_BATCH
    for key, member in value.items():
        if id(member) in heavy:
            if batch:
                yield (msgspec.json.encode(batch)[1:-1],)
                batch = {}
            yield _prefixed(msgspec.json.encode(key) + b":", _json(member, heavy, is_root=False))
            continue
        batch[key] = member
        if len(batch) >= count:
            encoded = msgspec.json.encode(batch)[1:-1]
            yield (encoded,)
            batch = {}
            count = max(1, min(2 * count, count * _LINE_BYTES // max(len(encoded), 1)))
    if batch:
        yield (msgspec.json.encode(batch)[1:-1],)


def _prefixed(prefix: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield prefix
    yield from pieces


class _Source:
    """Pieces that can be looked at before they are taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = b""

    def peek(self, count: int) -> bytes:
        while len(self._buffer) < count and (piece := next(self._pieces, b"")):
            self._buffer += piece
        return self._buffer[:count]

    def skip(self, count: int) -> None:
        self._buffer = self._buffer[count:]

    def __iter__(self) -> Iterator[bytes]:
        first, self._buffer = self._buffer, b""
        if first:
            yield first
        yield from self._pieces

    def rest(self) -> bytes:
        return b"".join(self)


def _whole(data: bytes, path: str) -> Content:
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadCorrupt(f"{shown(path)} is no payload: {error}") from error
    if envelope.content_type == "raw":
        if not isinstance(envelope.data, str):
            raise PayloadCorrupt(f"{shown(path)} is no payload: its type is raw, its data no text")
        return Content(envelope.data, may_hold_references=False)
    if envelope.content_type != "json":
        raise PayloadCorrupt(f"{shown(path)} is no payload: its type {envelope.content_type!r} is neither json nor raw")
    return Content(envelope.data, may_hold_references=_MARK in data)


def _text(source: _Source) -> str:
    """The text up to the end of the envelope.

    `text += part` extends in place while nobody else holds the text (CPython), so a large one exists only once.
    """
    text = ""
    carry = b""
    for piece in source:
        carry += piece
        if len(carry) <= 2 * _TAIL:
            continue
        part, used = _decode_part(carry[:-_TAIL])
        text += part
        carry = carry[used:]
    end = carry.rstrip()
    if not end.endswith(b'"}'):
        raise _Otherwise
    text += msgspec.json.decode(b'"' + end[:-2] + b'"', type=str)
    return text


def _decode_part(data: bytes) -> tuple[str, int]:
    """As much of the inside of a JSON text as can be decoded, and how many bytes it is: the end may be in the middle
    of a character or an escape sequence."""
    failure: Exception | None = None
    for cut in range(len(data), max(len(data) - _TAIL, 0), -1):
        try:
            return msgspec.json.decode(b'"' + data[:cut] + b'"', type=str), cut
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _lines(source: _Source, *, is_list: bool) -> Content:
    """A list or an object, line by line."""
    items: list[Any] = []
    members: dict[str, Any] = {}
    carry: list[bytes] = []
    holds = False
    opening, closing = (b"[", b"]") if is_list else (b"{", b"}")

    def take(lines: bytes) -> None:
        nonlocal holds
        holds = holds or _MARK in lines
        if is_list:
            items.extend(msgspec.json.decode(opening + lines + closing, type=list[Any]))
        else:
            members.update(msgspec.json.decode(opening + lines + closing, type=dict[str, Any]))

    for piece in source:
        # All whole lines of a piece at once: a line break between two of them is only white space to the decoder.
        end = piece.rfind(b"\n")
        if end >= 0:
            lines = b"".join((*carry, piece[:end]))
            carry = []
            if not lines.endswith(b","):
                raise _Otherwise
            take(lines[:-1])
        carry.append(piece[end + 1 :])
    last = b"".join(carry).rstrip()
    if not last.endswith(closing + b"}"):
        raise _Otherwise
    take(last[:-2])
    return Content(items if is_list else members, holds)
