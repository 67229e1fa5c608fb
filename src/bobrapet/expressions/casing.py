"""Upper and lower case as Go maps it: character by character, by the simple mapping; and the case of words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

SPACES = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""Go's unicode.IsSpace."""


def upper(text: str) -> str:
    if text.isascii():
        return text.upper()
    mapped = text.upper()
    return mapped if len(mapped) == len(text) and not _has_special(text) else "".join(map(_upper, text))


def lower(text: str) -> str:
    if text.isascii() or not ("\u0130" in text or "\u03a3" in text):
        return text.lower()
    return "".join(character.lower()[0] for character in text)


def _upper(character: str) -> str:
    mapped = character.upper()
    if len(mapped) == 1:
        return mapped
    # The full mapping has more than one character; the simple one is then the title case, if that is one character.
    titled = character.title()
    return titled if len(titled) == 1 else character


def _has_special(text: str) -> bool:
    return _EXPANDING.search(text) is not None


def _title(character: str) -> str:
    mapped = character.title()
    return mapped if len(mapped) == 1 else character


_EXPANDING = re.compile(
    "[\u00df\u0149\u01f0\u0390\u03b0\u0587\u1e96-\u1e9a\u1f50-\u1f57\u1f80-\u1fff\ufb00-\ufb17]"
)  # what str.upper turns into several characters
_ASCII_WORD_START = re.compile(r"(?<![0-9A-Za-z_])[a-z]")


def title(text: str) -> str:
    """Raises the first letter of each word to title case; the rest stays."""
    if text.isascii():
        return _ASCII_WORD_START.sub(lambda match: match.group().upper(), text)
    parts: list[str] = []
    before = " "
    for character in text:
        parts.append(_title(character) if _separates(before) else character)
        before = character
    return "".join(parts)


def _separates(character: str) -> bool:
    """Whether a letter after this one starts a word (Go: strings.isSeparator)."""
    if character.isascii():
        return not (character.isalnum() or character == "_")
    if character.isalpha() or unicodedata.category(character) == "Nd":
        return False
    return character in SPACES


def untitle(text: str) -> str:
    """Lowers the first letter of each word; words are what stands between white space."""
    return re.sub(rf"(?:^|(?<=[{SPACES}]))[^{SPACES}]", lambda match: match.group().lower()[0], text, flags=re.DOTALL)


def pascal(text: str) -> str:
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
    before = upper(body[0])
    for character in body[1:]:
        if _connects(before):
            if _connects(character):
                parts.append(before)
                before = character
                continue
            in_capitals = _is_upper(character)
            before = upper(character)
            continue
        if in_capitals:
            if _is_upper(character):
                character = lower(character)
            else:
                in_capitals = False
        parts.append(before)
        before = character
    return lead + "".join(parts) + before


def _is_upper(character: str) -> bool:
    return unicodedata.category(character) == "Lu"


def snake(text: str) -> str:
    """`HTTPServer2x` as `http_server_2x`."""
    return _joined(text, "_")


def kebab(text: str) -> str:
    """`FirstName` as `first-name`."""
    return _joined(text, "-")


def _connects(character: str) -> bool:
    return character in SPACES or character in "-_"


def _joined(text: str, connector: str) -> str:
    """Puts `connector` between the words of `text` and lowers them.

    Words are runs of one class of characters, with two rules for digits: those that follow a word belong to it, unless
    lower-case letters follow them; and letters that follow such a number belong to the number.
    """
    words = [*_words(text), ("end", "")]
    parts: list[str] = []

    def put(kind: str, word: str) -> None:
        if kind == "connector":
            parts.append(connector * len(word))
        else:
            parts.append(lower(word) if kind == "upper" else word)

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


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Splits text into runs of one class; `HTTPStatus` is `HTTP` and `Status`."""
    start, end = 0, len(text)
    while start < end:
        kind = _class_of(text[start])
        stop = start + 1
        if kind == "upper":
            while stop < end and _class_of(text[stop]) == "upper":
                stop += 1
            if stop < end and _class_of(text[stop]) == "letters":
                if stop - start > 1:
                    stop -= 1
                else:
                    while stop < end and _class_of(text[stop]) == "letters":
                        stop += 1
        else:
            while stop < end and (_class_of(text[stop]) == kind or (kind == "punctuation" and text[stop] in "-_")):
                stop += 1
        yield kind, text[start:stop]
        start = stop
