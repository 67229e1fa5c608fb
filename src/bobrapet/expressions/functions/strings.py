"""Sprig's string functions. Positions and lengths are in bytes unless the spec says otherwise (expressions 6.3, 18)."""

from __future__ import annotations

import re
import zlib
from typing import Any

from bobrapet.expressions import casing
from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.limits import STRIDE, Run
from bobrapet.expressions.printing import format_value
from bobrapet.expressions.quoting import quote as quoted
from bobrapet.expressions.text import decode, encode
from bobrapet.expressions.values import Absent, StringList, StringMap

STRINGS = Library()

_SPACE_CLASS = f"[{casing.SPACES}]"
_NO_SPACES = str.maketrans("", "", casing.SPACES)
_LEADING_SPACES = re.compile(" *")
_FIRST_LETTERS = re.compile(rf"(?:^|(?<={_SPACE_CLASS}))[^{casing.SPACES}]")


@STRINGS.add("trim", "s")
def trim(text: str) -> str:
    return text.strip(casing.SPACES)


@STRINGS.add("trimAll trimall", "ss")
def trim_all(characters: str, text: str) -> str:
    return text.strip(characters) if characters else text


@STRINGS.add("trimSuffix", "ss")
def trim_suffix(suffix: str, text: str) -> str:
    return text.removesuffix(suffix)


@STRINGS.add("trimPrefix", "ss")
def trim_prefix(prefix: str, text: str) -> str:
    return text.removeprefix(prefix)


STRINGS.add("upper", "s", takes_run=True)(casing.upper)
STRINGS.add("lower", "s", takes_run=True)(casing.lower)
STRINGS.add("title", "s", takes_run=True)(casing.title)
STRINGS.add("untitle", "s", takes_run=True)(casing.untitle)
STRINGS.add("snakecase", "s", takes_run=True)(casing.snake)
STRINGS.add("kebabcase", "s", takes_run=True)(casing.kebab)
STRINGS.add("camelcase", "s", takes_run=True)(casing.pascal)


@STRINGS.add("substr", "iis")
def substr(start: int, end: int, text: str) -> str:
    data = encode(text)
    length = len(data)
    if start < 0:
        if not 0 <= end <= length:
            raise FunctionError(f"the end {end} is outside the string of {length} bytes")
        return decode(data[:end])
    if end < 0 or end > length:
        end = length
    if start > end:
        raise FunctionError(f"cannot cut from {start} to {end} in a string of {length} bytes")
    return decode(data[start:end])


@STRINGS.add("trunc", "is")
def trunc(length: int, text: str) -> str:
    if text.isascii():
        return text[:length] if length >= 0 else text[length:]
    data = encode(text)
    return decode(data[:length] if length >= 0 else data[length:])


@STRINGS.add("abbrev", "is")
def abbrev(width: int, text: str) -> str:
    return text if width < 4 else _abbreviate(text, 0, width)


@STRINGS.add("abbrevboth", "iis")
def abbrevboth(left: int, width: int, text: str) -> str:
    if width < 4 or (left > 0 and width < 7):
        return text
    return _abbreviate(text, left, width)


def _abbreviate(text: str, offset: int, width: int) -> str:
    """Shortens text to `width` characters, showing what stands at `offset`."""
    length = len(text)
    if length <= width:
        return text
    kept = width - 3
    offset = min(offset, length)
    if length - offset < kept:
        offset = length - kept
    if offset <= 4:
        return text[:kept] + "..."
    if offset + kept < length:
        return "..." + abbrev(kept, text[offset:])
    return "..." + text[-kept:]


@STRINGS.add("nospace", "s")
def nospace(text: str) -> str:
    return text.translate(_NO_SPACES)


@STRINGS.add("initials", "s", takes_run=True)
def initials(run: Run, text: str) -> str:
    return "".join(match.group() for match in run.paced(_FIRST_LETTERS.finditer(text)))


@STRINGS.add("wrap", "is", takes_run=True)
def wrap(run: Run, width: int, text: str) -> str:
    return _wrap(run, text, width, "\n", breaks_words=False)


@STRINGS.add("wrapWith", "iss", takes_run=True)
def wrap_with(run: Run, width: int, separator: str, text: str) -> str:
    return _wrap(run, text, width, separator or "\n", breaks_words=True)


def _wrap(run: Run, text: str, width: int, separator: str, *, breaks_words: bool) -> str:
    """Breaks text at spaces so that lines are at most `width` characters; spaces at a line's start are dropped."""
    width = max(width, 1)
    parts: list[str] = []
    start, end = 0, len(text)
    while end - start > width:
        if len(parts) % STRIDE == 0:
            run.reserve(STRIDE * (len(separator) + 1))
        if text[start] == " ":
            # Spaces at the start of a line disappear, but the last line keeps them.
            start = min(_end_of_spaces(text, start), end - width)
            continue
        space = text.rfind(" ", start, start + width + 1)
        if space >= 0:
            parts += (text[start:space], separator)
            start = space + 1
        elif breaks_words:
            parts += (text[start : start + width], separator)
            start += width
        else:
            space = text.find(" ", start + width)
            if space < 0:
                break
            parts += (text[start:space], separator)
            start = space + 1
    parts.append(text[start:])
    run.reserve(sum(map(len, parts)))
    return "".join(parts)


def _end_of_spaces(text: str, start: int) -> int:
    match = _LEADING_SPACES.match(text, start)
    return match.end() if match else start


@STRINGS.add("contains", "ss")
def contains(part: str, text: str) -> bool:
    return part in text


@STRINGS.add("hasPrefix", "ss")
def has_prefix(prefix: str, text: str) -> bool:
    return text.startswith(prefix)


@STRINGS.add("hasSuffix", "ss")
def has_suffix(suffix: str, text: str) -> bool:
    return text.endswith(suffix)


@STRINGS.add("quote", "a*", takes_run=True)
def quote(run: Run, *values: Any) -> str:
    texts = [to_string(run, value) for value in values if not _is_nil(value)]
    run.reserve(sum(map(len, texts)))
    return " ".join(quoted(run, text) for text in texts)


@STRINGS.add("squote", "a*", takes_run=True)
def squote(run: Run, *values: Any) -> str:
    return " ".join(f"'{to_string(run, value)}'" for value in values if not _is_nil(value))


@STRINGS.add("cat", "a*", takes_run=True)
def cat(run: Run, *values: Any) -> str:
    texts = [to_string(run, value) for value in values if not _is_nil(value)]
    run.reserve(sum(map(len, texts)) + len(texts))
    return " ".join(texts)


@STRINGS.add("indent", "is", takes_run=True)
def indent(run: Run, width: int, text: str) -> str:
    if width < 0:
        raise FunctionError(f"cannot indent by {width}")
    run.reserve(len(text) + width * (text.count("\n") + 1))
    pad = " " * width
    return pad + text.replace("\n", "\n" + pad)


@STRINGS.add("nindent", "is", takes_run=True)
def nindent(run: Run, width: int, text: str) -> str:
    return "\n" + indent(run, width, text)


@STRINGS.add("replace", "sss", takes_run=True)
def replace(run: Run, old: str, new: str, text: str) -> str:
    occurrences = text.count(old) if old else len(text) + 1
    run.reserve(len(text) + occurrences * len(new))
    return text.replace(old, new)


@STRINGS.add("plural", "ssi")
def plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


@STRINGS.add("toString", "a", takes_run=True)
def to_string(run: Run, value: Any) -> str:
    return value if type(value) is str else format_value(value, run)


@STRINGS.add("sha1sum", "s")
def sha1sum(text: str) -> str:
    import hashlib  # OpenSSL takes a while to load, and few templates hash

    return hashlib.sha1(encode(text), usedforsecurity=False).hexdigest()


@STRINGS.add("sha256sum", "s")
def sha256sum(text: str) -> str:
    import hashlib

    return hashlib.sha256(encode(text)).hexdigest()


@STRINGS.add("adler32sum", "s")
def adler32sum(text: str) -> str:
    return str(zlib.adler32(encode(text)))


@STRINGS.add("join", "sa", takes_run=True)
def join(run: Run, separator: str, values: Any) -> str:
    texts = to_strings(run, values)
    run.reserve(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


@STRINGS.add("toStrings", "a", takes_run=True)
def to_strings(run: Run, values: Any) -> StringList:
    if isinstance(values, StringList):
        return values
    if isinstance(values, list):
        run.reserve_elements(len(values))
        return StringList([to_string(run, value) for value in run.paced(values) if not _is_nil(value)])
    return StringList([] if _is_nil(values) else [to_string(run, values)])


@STRINGS.add("sortAlpha", "a", takes_run=True)
def sort_alpha(run: Run, values: Any) -> StringList:
    if not isinstance(values, list):
        return StringList([to_string(run, values)])
    return StringList(run.sorted(to_strings(run, values)))


@STRINGS.add("splitList", "ss", takes_run=True)
def split_list(run: Run, separator: str, text: str) -> StringList:
    return StringList(_split(run, separator, text, -1))


@STRINGS.add("split", "ss", takes_run=True)
def split(run: Run, separator: str, text: str) -> StringMap:
    return _numbered(run, _split(run, separator, text, -1))


@STRINGS.add("splitn", "sis", takes_run=True)
def splitn(run: Run, separator: str, limit: int, text: str) -> StringMap:
    return _numbered(run, _split(run, separator, text, limit))


def _numbered(run: Run, parts: list[str]) -> StringMap:
    run.reserve_elements(8 * len(parts))
    return StringMap((f"_{number}", part) for number, part in run.paced(enumerate(parts)))


def _split(run: Run, separator: str, text: str, limit: int) -> list[str]:
    """Splits into at most `limit` parts, all for a negative limit; an empty separator splits into characters."""
    if limit == 0:
        return []
    if separator:
        run.reserve_elements(text.count(separator) + 1)
        return text.split(separator, limit - 1 if limit > 0 else -1)
    run.reserve_elements(len(text))
    if limit < 0 or limit >= len(text):
        return list(text)
    return [*text[: limit - 1], text[limit - 1 :]]


def _is_nil(value: Any) -> bool:
    return value is None or value is Absent
