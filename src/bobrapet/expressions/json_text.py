"""JSON as Go's encoding/json reads and writes it."""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
from typing import Any

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.limits import VALUE_DEPTH, Run
from bobrapet.expressions.printing import shortest_digits
from bobrapet.expressions.text import decode, encode
from bobrapet.expressions.values import INTEGERS, Absent, NilList, Opaque, to_float

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_HTML = re.compile("[<>&]")
_LINES = re.compile("[\u2028\u2029]")


class NotJson(ValueError):
    """Text that is no JSON document, or a value that has none."""


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise NotJson(f"{text} is out of range")
    return value


def _integer(text: str) -> int | float:
    # An int cannot hold the sign that a float64 keeps.
    return -0.0 if text == "-0" else int(text)


def _refuse(text: str) -> None:
    raise NotJson(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_integer, parse_constant=_refuse)


def decode_json(text: str) -> Any:
    """Returns the value of a JSON document; raises NotJson. Integers keep all digits."""
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as problem:
        raise NotJson(str(problem)) from None
    return _without_surrogates(value) if "\\u" in text or not text.isascii() else value


def _without_surrogates(value: Any) -> Any:
    """Go replaces half a surrogate pair by U+FFFD."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(element) for element in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(element) for key, element in value.items()}
    return value


def encode_json(value: Any, run: Run, *, escape_html: bool = True, indent: str = "") -> str:
    """Returns the JSON text of a value, keys sorted; raises NotJson for what has none (an infinity)."""
    parts: list[str] = []
    _Encoder(parts, run, escape_html, indent).write(value, 0)
    size = sum(map(len, parts))
    run.reserve(size)
    return "".join(parts)


class _Encoder:
    """Appends the pieces of a document to `parts`."""

    __slots__ = ("escape_html", "indent", "parts", "run")

    def __init__(self, parts: list[str], run: Run, escape_html: bool, indent: str) -> None:
        self.parts = parts
        self.run = run
        self.escape_html = escape_html
        self.indent = indent

    def string(self, value: str) -> str:
        text = encode_basestring(value)
        if not value.isascii() and _LONE_SURROGATE.search(text):
            # Bytes that are no character come out as an escape, unlike a U+FFFD that was there before.
            text = _LONE_SURROGATE.sub(r"\\ufffd", decode(encode(text)))
        if self.escape_html and _HTML.search(text):
            text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
        if not text.isascii() and _LINES.search(text):
            text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        if len(text) > 64:
            self.run.reserve(len(text))
        return text

    def write(self, value: Any, depth: int) -> None:
        kind = type(value)
        parts = self.parts
        if kind is str:
            parts.append(self.string(value))
        elif value is None or value is Absent:
            parts.append("null")
        elif kind is bool:
            parts.append("true" if value else "false")
        elif isinstance(value, INTEGERS):
            parts.append(str(int(value)))
        elif isinstance(value, (int, float)):
            parts.append(json_number(value))
        elif isinstance(value, (list, dict)):
            self.container(value, depth)
        elif isinstance(value, str):
            parts.append(self.string(str.__str__(value)))
        elif isinstance(value, Opaque):
            text = value.json()
            parts.append("{}" if text is None else self.string(text))
        else:
            raise NotJson(f"no JSON for a value of type {kind.__name__}")

    def container(self, value: list[Any] | dict[str, Any], depth: int) -> None:
        if depth > VALUE_DEPTH:
            raise FunctionError(f"value is nested deeper than {VALUE_DEPTH} levels", "depth")
        parts = self.parts
        is_list = isinstance(value, list)
        self.run.reserve_elements(len(value))
        if not value:
            parts.append("null" if isinstance(value, NilList) else "[]" if is_list else "{}")
            return
        newline = f"\n{self.indent * (depth + 1)}" if self.indent else ""
        parts.append("[" if is_list else "{")
        before = newline
        for element in self.run.paced(value if is_list else self.run.sorted(value)):
            parts.append(before)
            before = "," + newline
            if isinstance(value, dict):
                parts.append(self.string(element) + (": " if self.indent else ":"))
                self.write(value[element], depth + 1)
            else:
                self.write(element, depth + 1)
        if self.indent:
            parts.append(f"\n{self.indent * depth}")
        parts.append("]" if is_list else "}")


def json_number(value: float) -> str:
    """Returns a float64 as JSON: plain from 1e-6 up to 1e21, else scientific without padding."""
    if isinstance(value, int) and -(2**53) <= value <= 2**53:
        return int.__repr__(value)
    number = to_float(value)
    magnitude = abs(number)
    if not magnitude <= 1.7976931348623157e308:
        raise NotJson(f"{number} has no JSON")
    shown = repr(number)
    if number == 0 or 1e-4 <= magnitude < 1e16:
        return shown[:-2] if shown.endswith(".0") else shown
    digits, exponent = shortest_digits(shown)
    sign = "-" if number < 0 else ""
    if magnitude >= 1e21 or magnitude < 1e-6:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{'+' if exponent > 0 else '-'}{abs(exponent)}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return f"{sign}{digits.ljust(exponent + 1, '0')}"
