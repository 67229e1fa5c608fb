"""Sprig's JSON and base encodings."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.json_text import NotJson, decode_json, encode_json
from bobrapet.expressions.limits import Run
from bobrapet.expressions.text import decode, encode

ENCODING = Library()

_PORTION = 40_000
"""Bytes handled between two looks at the clock: a multiple of 5 and of 8, the groups of Base32."""


@ENCODING.add("mustToJson", "a", takes_run=True)
def must_to_json(run: Run, value: Any) -> str:
    try:
        return encode_json(value, run)
    except NotJson as problem:
        raise FunctionError(str(problem)) from None


@ENCODING.add("toJson", "a", takes_run=True)
def to_json(run: Run, value: Any) -> str:
    try:
        return encode_json(value, run)
    except NotJson:
        # Sprig's toJson swallows the error of a value without JSON.
        return ""


@ENCODING.add("mustToPrettyJson", "a", takes_run=True)
def must_to_pretty_json(run: Run, value: Any) -> str:
    try:
        return encode_json(value, run, indent="  ")
    except NotJson as problem:
        raise FunctionError(str(problem)) from None


@ENCODING.add("toPrettyJson", "a", takes_run=True)
def to_pretty_json(run: Run, value: Any) -> str:
    try:
        return encode_json(value, run, indent="  ")
    except NotJson:
        return ""


@ENCODING.add("toRawJson mustToRawJson", "a", takes_run=True)
def to_raw_json(run: Run, value: Any) -> str:
    try:
        return encode_json(value, run, escape_html=False)
    except NotJson as problem:
        raise FunctionError(str(problem)) from None


@ENCODING.add("fromJson", "s", takes_run=True)
def from_json(run: Run, text: str) -> Any:
    run.reserve(len(text))
    try:
        return decode_json(text)
    except NotJson:
        return None


@ENCODING.add("mustFromJson", "s", takes_run=True)
def must_from_json(run: Run, text: str) -> Any:
    run.reserve(len(text))
    try:
        return decode_json(text)
    except NotJson as problem:
        raise FunctionError(f"not JSON: {problem}") from None


@ENCODING.add("b64enc", "s", takes_run=True)
def b64enc(run: Run, text: str) -> str:
    run.reserve(2 * len(text))
    return base64.b64encode(encode(text)).decode("ascii")


@ENCODING.add("b32enc", "s", takes_run=True)
def b32enc(run: Run, text: str) -> str:
    data = encode(text)
    run.reserve(2 * len(data))
    # The library's Base32 is written in Python: portions, so that it can be interrupted.
    portions = [data[start : start + _PORTION] for start in range(0, len(data), _PORTION)]
    return b"".join(base64.b32encode(portion) for portion in _timed(run, portions)).decode("ascii")


def _timed(run: Run, portions: list[bytes]) -> Iterator[bytes]:
    for portion in portions:
        run.check_time()
        yield portion


_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_LINE_ENDS = b"\r\n"
_PAD = ord("=")


@ENCODING.add("b64dec", "s")
def b64dec(text: str) -> str:
    data = encode(text)
    digits = data.translate(None, _LINE_ENDS)
    body = digits.rstrip(b"=")
    if len(digits) % 4 or len(digits) - len(body) > 2 or body.translate(None, _BASE64):
        return f"illegal base64 data at input byte {_bad_base64(data)}"
    return decode(base64.b64decode(digits))


def _bad_base64(data: bytes) -> int:
    """Returns where Go's decoder, which counts line ends, gives up on a malformed text."""
    in_group = 0
    end = len(data)
    for position, byte in enumerate(data):
        if byte in _LINE_ENDS:
            continue
        if byte in _BASE64:
            in_group = (in_group + 1) % 4
            continue
        if byte != _PAD or in_group < 2:
            return position
        following = _after_line_ends(data, position + 1)
        if in_group == 2:
            if following == end:
                return end
            if data[following] != _PAD:
                return following - 1
            following = _after_line_ends(data, following + 1)
        return following
    return end - in_group


def _after_line_ends(data: bytes, position: int) -> int:
    while position < len(data) and data[position] in _LINE_ENDS:
        position += 1
    return position


@ENCODING.add("b32dec", "s", takes_run=True)
def b32dec(run: Run, text: str) -> str:
    digits = encode(text).translate(None, _LINE_ENDS)
    bad, length = _check_base32(digits)
    if bad >= 0:
        return f"illegal base32 data at input byte {bad}"
    padded = digits[:length] + b"=" * (-length % 8)
    portions = [padded[start : start + _PORTION] for start in range(0, len(padded), _PORTION)]
    return decode(b"".join(base64.b32decode(portion) for portion in _timed(run, portions)))


def _check_base32(digits: bytes) -> tuple[int, int]:
    """Returns where Go's decoder gives up, or -1, and the number of digits before the padding.

    What follows a complete padding is not looked at.
    """
    end = len(digits)
    length = end - len(digits.lstrip(_BASE32))
    if length == end:
        return (end - end % 8, 0) if end % 8 else (-1, end)
    in_group, rest = length % 8, end - length - 1
    if digits[length] != _PAD or in_group < 2 or rest >= 8:
        return length, 0
    if rest + in_group < 7:
        return end, 0
    missing = 7 - in_group
    padding = digits[length + 1 : length + 1 + missing]
    wrong = len(padding) - len(padding.lstrip(b"="))
    if wrong < len(padding):
        return length + wrong, 0
    return (length, 0) if in_group in (3, 6) else (-1, length)
