"""Sprig's JSON and base encodings."""

from __future__ import annotations

import base64
from typing import Any

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.json_text import NotJson, decode_json, encode_json
from bobrapet.expressions.limits import Run
from bobrapet.expressions.text import decode, encode

ENCODING = Library()


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
    run.reserve(2 * len(text))
    return base64.b32encode(encode(text)).decode("ascii")


_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@ENCODING.add("b64dec", "s")
def b64dec(text: str) -> str:
    data = encode(text)
    bad = _first_bad_byte(data, _BASE64, 4, {2: 2, 3: 1})
    if bad >= 0:
        return f"illegal base64 data at input byte {bad}"
    return decode(base64.b64decode(data.replace(b"\r", b"").replace(b"\n", b"")))


@ENCODING.add("b32dec", "s")
def b32dec(text: str) -> str:
    data = encode(text)
    bad = _first_bad_byte(data, _BASE32, 8, {2: 6, 4: 4, 5: 3, 7: 1})
    if bad >= 0:
        return f"illegal base32 data at input byte {bad}"
    return decode(base64.b32decode(data.replace(b"\r", b"").replace(b"\n", b"")))


def _first_bad_byte(data: bytes, alphabet: bytes, group: int, padding: dict[int, int]) -> int:
    """Returns where a decoder that skips line ends stops, or -1 when the text is well formed.

    `padding` tells how many `=` complete a last group of a number of digits.
    """
    digits = data.translate(None, b"\r\n")
    body = digits.rstrip(b"=")
    if not body.translate(None, alphabet) and len(digits) % group == 0:
        last = len(body) % group
        if len(digits) - len(body) == (padding.get(last, -1) if last else 0):
            return -1
    return _walk_groups(data, alphabet, group, padding)


def _walk_groups(data: bytes, alphabet: bytes, group: int, padding: dict[int, int]) -> int:
    """Finds the offending byte as Go's decoders report it."""
    position = 0
    in_group = 0
    length = len(data)
    known = set(alphabet)
    while position < length:
        byte = data[position]
        position += 1
        if byte in b"\r\n":
            continue
        if byte in known:
            in_group = (in_group + 1) % group
            continue
        if byte != ord("=") or in_group not in padding:
            return position - 1
        missing = padding[in_group] - 1
        while missing:
            while position < length and data[position] in b"\r\n":
                position += 1
            if position == length:
                return length
            if data[position] != ord("="):
                return position - 1 if group == 4 else position
            position += 1
            missing -= 1
        while position < length and data[position] in b"\r\n":
            position += 1
        return position if position < length else -1
    return length - in_group if in_group else -1
