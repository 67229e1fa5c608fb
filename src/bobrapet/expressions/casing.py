"""Upper and lower case as Go maps it: character by character, by the simple mapping; and the case of words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from bobrapet.expressions.limits import STRIDE, Run
from bobrapet.expressions.rewriting import rewrite

SPACES = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""Go's unicode.IsSpace."""


class _SimpleUpper(dict[int, str]):
    """A table for str.translate that fills itself."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        mapped = character.upper()
        if len(mapped) > 1:
            # The full mapping has more than one character; the simple one is then the title case, if that has one.
            titled = character.title()
            mapped = titled if len(titled) == 1 else character
        self[code] = mapped
        return mapped


class _SimpleLower(dict[int, str]):
    """A table for str.translate that fills itself."""

    def __missing__(self, code: int) -> str:
        self[code] = chr(code).lower()[0]
        return self[code]


_PORTION = 64 * STRIDE
"""Characters handled between two looks at the clock."""

_UPPER = _SimpleUpper()
_LOWER = _SimpleLower()
_EXPANDING = re.compile(
    "[\u00df\u0149\u01f0\u0390\u03b0\u0587\u1e96-\u1e9a\u1f50-\u1f57\u1f80-\u1fff\ufb00-\ufb17]"
)  # among these are all that str.upper turns into several characters


def upper(run: Run, text: str) -> str:
    if text.isascii() or not _EXPANDING.search(text):
        return text.upper()
    return _translated(run, text, _UPPER)


def lower(run: Run, text: str) -> str:
    if text.isascii() or not ("\u0130" in text or "\u03a3" in text):
        return text.lower()
    return _translated(run, text, _LOWER)


def _translated(run: Run, text: str, table: dict[int, str]) -> str:
    parts: list[str] = []
    for start in range(0, len(text), _PORTION):
        run.check_time()
        parts.append(text[start : start + _PORTION].translate(table))
    return "".join(parts)


_SEPARATORS = "".join(chr(code) for code in range(128) if not chr(code).isalnum() and chr(code) != "_") + SPACES[6:]
_TITLE_STARTS = re.compile(f"(?:^|(?<=[{re.escape(_SEPARATORS)}]))[^{re.escape(_SEPARATORS)}]")
_WORD_STARTS = re.compile(f"(?:^|(?<=[{SPACES}]))[^{SPACES}]")


def title(run: Run, text: str) -> str:
    """Raises the first letter of each word to title case; the rest stays."""
    return rewrite(run, text, _TITLE_STARTS, _title)


def untitle(run: Run, text: str) -> str:
    """Lowers the first letter of each word; words are what stands between white space."""
    return rewrite(run, text, _WORD_STARTS, _lower)


def _upper(character: str) -> str:
    return _UPPER[ord(character)]


def _lower(character: str) -> str:
    return _LOWER[ord(character)]


def _title(character: str) -> str:
    mapped = character.title()
    return mapped if len(mapped) == 1 else character


def pascal(run: Run, text: str) -> str:
    """`http_server` as `HttpServer`.

    Spaces, hyphens and underscores join words and disappear, except at the start, at the end and when doubled. A run
    of capitals at the start of a word keeps only its first.
    """
    body = text.lstrip(SPACES + "-_")
    lead = text[: len(text) - len(body)]
    if not body:
        # As published: the last connector of a text without words comes out twice.
        return text + text[-1:]
    parts: list[str] = []
    in_capitals = _is_upper(body[0])
    before = _upper(body[0])
    for character in run.paced(body[1:]):
        if _connects(before):
            if _connects(character):
                parts.append(before)
                before = character
                continue
            in_capitals = _is_upper(character)
            before = _upper(character)
            continue
        if in_capitals:
            if _is_upper(character):
                character = _lower(character)
            else:
                in_capitals = False
        parts.append(before)
        before = character
    return lead + "".join(parts) + before


def _is_upper(character: str) -> bool:
    return unicodedata.category(character) == "Lu"


def snake(run: Run, text: str) -> str:
    """`HTTPServer2x` as `http_server_2x`."""
    return _joined(run, text, "_")


def kebab(run: Run, text: str) -> str:
    """`FirstName` as `first-name`."""
    return _joined(run, text, "-")


def _connects(character: str) -> bool:
    return character in SPACES or character in "-_"


def _joined(run: Run, text: str, connector: str) -> str:
    """Puts `connector` between the words of `text` and lowers them.

    Words are runs of one class of characters, with two rules for digits: those that follow a word belong to it, unless
    lower-case letters follow them; and letters that follow such a number belong to the number.
    """
    words = [*_words(run, text), ("end", "")]
    parts: list[str] = []

    def put(kind: str, word: str) -> None:
        if kind == "connector":
            parts.append(connector * len(word))
        else:
            parts.append("".join(_lower(letter) if _is_upper(letter) else letter for letter in word))

    position = 0
    while words[position + 1][0] != "end" if position + 1 < len(words) else False:
        kind, word = words[position]
        put(kind, word)
        position += 1
        following = words[position][0]
        if kind == "number":
            while words[position][0] in ("letters", "number"):
                put(*words[position])
                position += 1
            if words[position][0] not in ("end", "punctuation", "connector"):
                parts.append(connector)
        elif kind in ("connector", "punctuation"):
            continue
        elif following != "number":
            if following not in ("connector", "punctuation"):
                parts.append(connector)
        elif words[position + 1][0] != "end":
            number = words[position]
            position += 1
            if words[position][0] == "letters":
                parts.append(connector)
                put(*number)
                while words[position][0] in ("letters", "number"):
                    put(*words[position])
                    position += 1
                if words[position][0] not in ("end", "connector", "punctuation"):
                    parts.append(connector)
            else:
                put(*number)
                if words[position][0] not in ("connector", "punctuation"):
                    parts.append(connector)
    if position < len(words):
        put(*words[position])
    return "".join(parts)


_IDEOGRAPHS = re.compile("[\u3400-\u4d85\u4e00-\u9fcc\U00020000-\U0002b81d]")
"""Letters without case and without words."""


@lru_cache(1024)
def _class_of(character: str) -> str:
    if _connects(character):
        return "connector"
    category = unicodedata.category(character)
    if category[0] == "P":
        return "punctuation"
    if category == "Lu":
        return "upper"
    if category[0] == "L" and not _IDEOGRAPHS.match(character):
        return "letters"
    return "number" if category[0] == "N" else "other"


def _words(run: Run, text: str) -> Iterator[tuple[str, str]]:
    """Splits text into runs of one class; `HTTPStatus` is `HTTP` and `Status`."""
    start, end = 0, len(text)
    while start < end:
        run.check_time()
        kind = _class_of(text[start])
        stop = start + 1
        if kind == "upper":
            stop = _run_end(run, text, stop, ("upper",))
            if stop < end and _class_of(text[stop]) == "letters":
                if stop - start > 1:
                    stop -= 1
                else:
                    stop = _run_end(run, text, stop, ("letters",))
        else:
            # Hyphens and underscores inside punctuation belong to it.
            stop = _run_end(run, text, stop, (kind,), "-_" if kind == "punctuation" else "")
        yield kind, text[start:stop]
        start = stop


def _run_end(run: Run, text: str, position: int, kinds: tuple[str, ...], also: str = "") -> int:
    """Returns where a run of characters of these classes ends."""
    while position < len(text) and (_class_of(text[position]) in kinds or text[position] in also):
        position += 1
        if position % STRIDE == 0:
            run.check_time()
    return position
