"""Strings and characters between quotes, as Go's `%q` writes them (strconv.Quote)."""

from __future__ import annotations

import re

from bobrapet.expressions.limits import Run
from bobrapet.expressions.rewriting import rewrite

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}
_SPECIAL = re.compile(r"[^ !#-\[\]-~]")
_NOT_RAW = re.compile("[\x00-\x08\x0a-\x1f\x7f`\ufeff\ud800-\udfff]")


def quote(run: Run, value: str, *, ascii_only: bool = False, raw: bool = False) -> str:
    """Returns `value` in double quotes; with `raw`, in back quotes where that is possible."""
    if raw and not _NOT_RAW.search(value):
        return f"`{value}`"
    return '"' + rewrite(run, value, _SPECIAL, lambda character: _escape(character, '"', ascii_only)) + '"'


def quote_rune(code: int, *, ascii_only: bool = False) -> str:
    """Returns a character in single quotes."""
    return f"'{_escape(chr(code), chr(39), ascii_only)}'"


def is_printable(character: str) -> bool:
    """Go's unicode.IsPrint: letters, marks, numbers, punctuation, symbols, and the ASCII space."""
    return character.isprintable()


def _is_broken(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _escape(character: str, mark: str, ascii_only: bool) -> str:
    if character == mark:
        return "\\" + character
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if _is_broken(character):
        return "\\ufffd" if ascii_only else "\ufffd"
    if is_printable(character) and (code < 0x80 or not ascii_only):
        return character
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
