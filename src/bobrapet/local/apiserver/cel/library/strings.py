"""Strings: the standard functions, the string extension, and regular expressions in the RE2 dialect."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from bobrapet.local.apiserver.cel import types
from bobrapet.local.apiserver.cel.errors import EvaluationError
from bobrapet.local.apiserver.cel.functions import (
    STRING_FACTOR,
    Functions,
    double_traversal,
    matching,
    traversal,
)
from bobrapet.local.apiserver.cel.library.operators import shown
from bobrapet.local.apiserver.cel.types import BOOL, DYN, INT, STRING, Type
from bobrapet.local.apiserver.cel.values import KINDS, Duration, Timestamp, size
from bobrapet.local.apiserver.patterns import pattern, pattern_problem

_STRINGS = types.list_of(STRING)
_MAX_PRECISION = 100
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def declare(functions: Functions) -> None:
    """Adds this family."""
    method = functions.method
    method("startsWith", "starts_with_string", (STRING, STRING), BOOL, str.startswith, _second)
    method("endsWith", "ends_with_string", (STRING, STRING), BOOL, str.endswith, _second)
    method("contains", "contains_string", (STRING, STRING), BOOL, str.__contains__, _product)
    functions.add("matches", "matches", (STRING, STRING), BOOL, _matches, cost=matching)
    method("matches", "matches_string", (STRING, STRING), BOOL, _matches, matching)
    method("find", "string_find_string", (STRING, STRING), STRING, _find, matching)
    method("findAll", "string_find_all_string", (STRING, STRING), _STRINGS, _find_all, matching)
    method("findAll", "string_find_all_string_int", (STRING, STRING, INT), _STRINGS, _find_all, matching)
    method("charAt", "string_char_at_int", (STRING, INT), STRING, _char_at)
    for name, id, call in (("indexOf", "index_of", _index_of), ("lastIndexOf", "last_index_of", _last_index_of)):
        method(name, f"string_{id}_string", (STRING, STRING), INT, call, traversal)
        method(name, f"string_{id}_string_int", (STRING, STRING, INT), INT, call, traversal)
    method("lowerAscii", "string_lower_ascii", (STRING,), STRING, lambda s: s.translate(_LOWER), traversal)
    method("upperAscii", "string_upper_ascii", (STRING,), STRING, lambda s: s.translate(_UPPER), traversal)
    method("trim", "string_trim", (STRING,), STRING, str.strip, traversal)
    method("substring", "string_substring_int", (STRING, INT), STRING, _substring, traversal)
    method("substring", "string_substring_int_int", (STRING, INT, INT), STRING, _substring, traversal)
    method("replace", "string_replace_string_string", (STRING, STRING, STRING), STRING, str.replace, double_traversal)
    method("replace", "string_replace_string_string_int", (STRING, STRING, STRING, INT), STRING, str.replace,
           double_traversal)  # fmt: skip
    method("split", "string_split_string", (STRING, STRING), _STRINGS, _split, double_traversal)
    method("split", "string_split_string_int", (STRING, STRING, INT), _STRINGS, _split, double_traversal)
    method("join", "list_join", (_STRINGS,), STRING, _join, _result_twice)
    method("join", "list_join_string", (_STRINGS, STRING), STRING, _join, _result_twice)
    method("format", "string_format", (STRING, types.list_of(DYN)), STRING, format_string, traversal)
    functions.add("strings.quote", "strings_quote", (STRING,), STRING, quote, cost=traversal)


def _second(args: Sequence[Any], _result: Any) -> int:
    return math.ceil(size(args[1]) * STRING_FACTOR)


def _product(args: Sequence[Any], _result: Any) -> int:
    return math.ceil(size(args[0]) * STRING_FACTOR) * math.ceil(size(args[1]) * STRING_FACTOR)


def _result_twice(_args: Sequence[Any], result: Any) -> int:
    return math.ceil(size(result) * 2 * STRING_FACTOR)


def _compiled(text: str, prefix: str = "") -> Any:
    if problem := pattern_problem(text):
        raise EvaluationError(f"{prefix}error parsing regexp: {problem}")
    return pattern(text)


def _matches(text: str, expression: str) -> bool:
    return _compiled(expression).search(text) is not None


def _find(text: str, expression: str) -> str:
    found = _compiled(expression, "Illegal regex: ").search(text)
    return "" if found is None else str(found.group())


def _find_all(text: str, expression: str, limit: int = -1) -> list[str]:
    found = [match.group() for match in _compiled(expression, "Illegal regex: ").finditer(text)]
    return found if limit < 0 else found[:limit]


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if not part:
        return start
    if not 0 <= start < max(len(text), 1):
        raise EvaluationError(f"index out of range: {start}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if not part:
        return len(text) if start is None else start
    if start is None:
        return text.rfind(part)
    if not 0 <= start < len(text):
        raise EvaluationError(f"index out of range: {start}")
    return text.rfind(part, 0, start + len(part))


def _substring(text: str, start: int, end: int | None = None) -> str:
    if end is not None and start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for bound in (start, end):
        if bound is not None and not 0 <= bound <= len(text):
            raise EvaluationError(f"index out of range: {bound}")
    return text[start:end]


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if limit == 1:
        return [text]
    if not separator:
        return list(text) if limit < 0 or limit >= len(text) else [*text[: limit - 1], text[limit - 1 :]]
    return text.split(separator, -1 if limit < 0 else limit - 1)


def _join(parts: list[Any], separator: str = "") -> str:
    for part in parts:
        if not isinstance(part, str):
            raise EvaluationError(f"join: invalid input: {shown(part)}")
    return separator.join(parts)


def quote(text: str) -> str:
    """A string as one writes it in an expression."""
    special = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
               "\\": "\\\\", '"': '\\"'}  # fmt: skip
    return '"' + "".join(special.get(char, char) for char in text) + '"'


def format_string(template: str, args: list[Any]) -> str:
    """`'%s has %d'.format([...])`. Raises EvaluationError."""
    parts: list[str] = []
    position = 0
    for text, clause, precision in _parsed(template):
        parts.append(text)
        if clause:
            if position >= len(args):
                raise EvaluationError(f"index {position} out of range")
            parts.append(_formatted(clause, args[position], precision))
            position += 1
    return "".join(parts)


def clauses(template: str) -> Iterator[str]:
    """The letters of the clauses of a template. Raises EvaluationError."""
    return (clause for _, clause, _ in _parsed(template) if clause)


def _parsed(template: str) -> Iterator[tuple[str, str, int | None]]:
    """Pieces of text, each with the clause that follows ("" at the end) and its precision."""
    at = 0
    for match in _CLAUSE.finditer(template):
        text = template[at : match.start()]
        at = match.end()
        precision, clause = match.groups()
        if clause == "%" and precision is None:
            yield f"{text}%", "", None
        elif not clause:
            problem = "unexpected end of string" if precision is None else "could not find end of precision specifier"
            raise EvaluationError(problem)
        elif clause not in _FORMATTED:
            raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{clause}"')
        elif precision is not None and int(precision or 0) > _MAX_PRECISION:
            raise EvaluationError(f"precision {precision} is too large")
        else:
            yield text, clause, None if precision is None else int(precision or 0)
    yield template[at:], "", None


_CLAUSE = re.compile(r"%(?:\.(\d*))?(.|$)", re.DOTALL)
_INTEGERS = ("int", "uint")
_STRINGABLE = (
    "string", "bool", "bytes", "int", "uint", "double", "map", "list", "type", "null_type",
    "google.protobuf.Duration", "google.protobuf.Timestamp",
)  # fmt: skip
_HEX = ("only integers, byte buffers, and strings can be formatted as hex", (*_INTEGERS, "bytes", "string"))
_FORMATTED = {
    "s": ("string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and "
          "timestamps", _STRINGABLE),
    "d": ("decimal clause can only be used on integers", _INTEGERS),
    "f": ("fixed-point clause can only be used on doubles", ("double", "string")),
    "e": ("scientific clause can only be used on doubles", ("double", "string")),
    "x": _HEX,
    "X": _HEX,
    "o": ("octal clause can only be used on integers", _INTEGERS),
    "b": ("only integers and bools can be formatted as binary", (*_INTEGERS, "bool")),
}  # fmt: skip
"""What each clause says when it gets something else, and what it takes."""


def clause_problem(clause: str, given: Type) -> str:
    """Why a clause does not take a value of this type; "" when it does."""
    told, taken = _FORMATTED[clause]
    if given.name in taken or given.name == "dyn":
        return ""
    return f"error during formatting: {told}, was given {given.name}"


def _formatted(clause: str, value: Any, precision: int | None) -> str:
    if problem := clause_problem(clause, KINDS[type(value)]):
        raise EvaluationError(problem)
    match clause, value:
        case "s", _:
            return _text(value)
        case "f", _:
            return _fixed(value, _PRECISION if precision is None else precision)
        case "e", _:
            return _scientific(value)
        case (("x" | "X"), (str() | bytes())):
            digits = (value.encode() if isinstance(value, str) else value).hex()
            return digits.upper() if clause == "X" else digits
    return format(int(value), clause)


def _number(value: float | str) -> float:
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        raise EvaluationError(f'could not convert "{value}" to float64')
    return float(value)


def _fixed(value: float | str, precision: int) -> str:
    """As one writes numbers in American English, which is what the language says."""
    number = _number(value)
    return _special(number) or f"{number:,.{precision}f}"


def _scientific(value: float | str) -> str:
    """The same with a power of ten; a precision is not heeded."""
    number = _number(value)
    if special := _special(number):
        return special
    mantissa, _, exponent = f"{number:.{_PRECISION}e}".partition("e")
    return f"{mantissa}×10{exponent.removeprefix('+').translate(_SUPERSCRIPT)}"


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "" if not math.isinf(value) else "∞" if value > 0 else "-∞"


_PRECISION = 6
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _text(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bytes():
            return value.decode(errors="replace")
        case Type():
            return value.name
        case list() | dict():
            return _literal(value)
    return shown(value)


def _literal(value: Any) -> str:
    """A value inside of a list or map, as one would write it in an expression."""
    match value:
        case str():
            return quote(value)
        case bytes():
            return f"b{quote(value.decode(errors='replace'))}"
        case float():
            return f"{value:.{_PRECISION}f}"
        case Timestamp():
            return f'timestamp("{value}")'
        case Duration():
            return f'duration("{value}")'
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case dict():
            return f"{{{', '.join(sorted(f'{_literal(key)}:{_literal(item)}' for key, item in value.items()))}}}"
    return _text(value)
