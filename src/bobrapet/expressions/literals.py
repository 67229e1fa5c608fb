"""Go's literals: what is between quotes, and numbers."""

from __future__ import annotations

import re

from bobrapet.expressions.nodes import Number
from bobrapet.expressions.text import decode

_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_MAX_INT = 2**63 - 1
_MIN_INT = -(2**63)
_MAX_UINT = 2**64 - 1

_INTEGER = re.compile(
    r"([+-]?)(?:0[xX](?P<hex>(?:_?[0-9a-fA-F])+)|0[bB](?P<binary>(?:_?[01])+)|0[oO](?P<octal>(?:_?[0-7])+)"
    r"|0(?P<old>(?:_?[0-7])+)|(?P<decimal>0|[1-9](?:_?[0-9])*))"
)
_BASES = {"hex": 16, "binary": 2, "octal": 8, "old": 8, "decimal": 10}
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEX_FLOAT = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")


class LiteralError(ValueError):
    """A literal that Go would refuse; the parser adds the position."""


def unquote(literal: str, also: str = "") -> str:
    """Returns the text of a `"..."`, '`...`' or bracket-key `'...'` literal.

    `also` lists characters besides the literal's own quote that a backslash may precede.
    """
    quote = literal[0]
    body = literal[1:-1]
    if quote == "`":
        return body.replace("\r", "")
    if "\\" not in body:
        return body
    allowed = quote + also
    raw_bytes = False

    def unescape(match: re.Match[str]) -> str:
        nonlocal raw_bytes
        escape = match.group()
        head = escape[1]
        if len(escape) == 2:
            if head in _SIMPLE:
                return _SIMPLE[head]
            if head in allowed:
                return head
            raise LiteralError(f"invalid escape {escape}")
        if head in "uU":
            code = int(escape[2:], 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                raise LiteralError(f"{escape} is not a character")
            return chr(code)
        code = int(escape[2:], 16) if head == "x" else int(escape[1:], 8)
        if code > 255:
            raise LiteralError(f"{escape} is not a byte")
        if code < 128:
            return chr(code)
        raw_bytes = True
        return chr(0xDC00 + code)

    value = _ESCAPE.sub(unescape, body)
    return decode(value.encode("utf-8", "surrogateescape")) if raw_bytes else value


def rune(literal: str) -> int:
    """Returns the code point of a `'c'` literal."""
    body = literal[1:-1]
    if body.startswith("\\") and body[1:2] in ("x", *"01234567"):
        match = _ESCAPE.fullmatch(body)
        if match is None or len(body) == 2:
            raise LiteralError(f"malformed character constant {literal}")
        code = int(body[2:], 16) if body[1] == "x" else int(body[1:], 8)
        if code > 255:
            raise LiteralError(f"{body} is not a byte")
        return code
    value = unquote(literal)
    if len(value) != 1 or body == '\\"':
        raise LiteralError(f"malformed character constant {literal}; strings take double quotes")
    return ord(value)


def number(pos: int, text: str) -> Number:
    """Reads a number, deciding which kinds it can stand for (Go: parse.NumberNode)."""
    if text.endswith("i"):
        value = _complex(text)
        if value.imag:
            return Number(pos, text, None, None, value)
        real = value.real
        return Number(pos, text, int(real) if real.is_integer() and abs(real) < 2**63 else None, real, value)
    integer = parse_integer(text)
    if integer is not None and _MIN_INT <= integer <= _MAX_UINT:
        in_range = integer <= _MAX_INT
        return Number(pos, text, integer if in_range else None, float(integer), None)
    floating = parse_float(text)
    if floating is None:
        raise LiteralError(f"illegal number syntax: {text}")
    if not re.search(r"[.eEpP]", text):
        raise LiteralError(f"integer overflow: {text}")
    whole = int(floating) if floating.is_integer() and -(2.0**63) <= floating < 2.0**63 else None
    return Number(pos, text, whole, floating, None)


def parse_integer(text: str) -> int | None:
    """Reads an integer with a base prefix, as strconv.ParseInt with base 0; None if it is not one. No range check."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    kind = match.lastgroup or ""
    digits = match.group(kind).replace("_", "")
    if len(digits) > 400:
        return None
    value = int(digits, _BASES[kind])
    return -value if match.group(1) == "-" else value


def parse_float(text: str) -> float | None:
    """Reads a decimal or hexadecimal floating-point literal; None if it is not one or out of range."""
    if "_" in text:
        prefix = text.lstrip("+-")[:2]
        digits = "[0-9a-fA-F]" if prefix in ("0x", "0X") else "[0-9]"
        if re.search(rf"(?<!{digits})(?<!0[xX])_|_(?!{digits})", text):
            return None
        text = text.replace("_", "")
    if len(text) > 400:
        return None
    if _HEX_FLOAT.fullmatch(text):
        try:
            return float.fromhex(text)
        except OverflowError:
            return None
    if not _FLOAT.fullmatch(text):
        return None
    value = float(text)
    return None if value in (float("inf"), float("-inf")) else value


def _complex(text: str) -> complex:
    body = text[:-1]
    split = max(body.rfind("+"), body.rfind("-"))
    if split > 0 and body[split - 1] not in "eEpP":
        real, imaginary = parse_float(body[:split]), parse_float(body[split:])
        if real is not None and imaginary is not None:
            return complex(real, imaginary)
    else:
        imaginary = parse_float(body)
        if imaginary is not None:
            return complex(0.0, imaginary)
    raise LiteralError(f"illegal number syntax: {text}")
