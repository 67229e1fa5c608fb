"""Splits a template into tokens, as Go's text/template does, plus `[` and `]` for bracket access.

One regular expression recognises a token together with the white space before it; what it does not recognise is
looked at once more for a message that says what is wrong. No alternative can backtrack more than a token's length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import TypeAlias

from bobrapet.expressions.errors import ExpressionError

Token: TypeAlias = tuple[str, str, int, bool]
"""Kind, text, position, and whether white space stood before it."""

SPACES = " \t\r\n"
KEYWORDS = frozenset({"block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"})

_AFTER_NAME = r"(?=[ \t\r\n.,|:)(\[]|\}\}|\Z)"
_NUMBER = (
    r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?|0[oO][0-7_]*(?:\.[0-7_]*)?"
    r"|0[bB][01_]*(?:\.[01_]*)?|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?"
)
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]*+)(?:"
    rf"(?P<field>(?:\.[^\W0-9]\w*+)++){_AFTER_NAME}"
    rf"|(?P<name>[^\W0-9]\w*){_AFTER_NAME}"
    r"|(?P<close>\}\})"
    r'|(?P<string>"(?:[^"\\\n]|\\[^\n])*")'
    rf"|(?P<variable>\$\w*){_AFTER_NAME}"
    r"|(?P<pipe>\|)"
    r"|(?P<trim>(?<=[ \t\r\n])-\}\})"
    rf"|(?P<dot>\.){_AFTER_NAME}"
    rf"|(?P<number>(?=[0-9.+-])(?>{_NUMBER})(?>(?=[+-]){_NUMBER})?)(?!\w)"
    r"|(?P<open>\()"
    r"|(?P<shut>\))"
    r"|(?P<declare>:=)"
    r"|(?P<assign>=)"
    r"|(?P<comma>,)"
    r"|(?P<left>\[)"
    r"|(?P<right>\])"
    r"|(?P<char>'(?:[^'\\\n]|\\[^\n])*')"
    r"|(?P<raw>`[^`]*`)"
    r")"
)


def tokenize(text: str, check_time: Callable[[], None]) -> tuple[list[Token], bool]:
    """Returns the tokens of a template, the last of kind `eof`, and whether it holds a comment.

    Kinds: those of `_TOKEN`, `text`, `begin` for the opening delimiter, and `keyword`. Trim markers are applied here;
    both closing delimiters come out as `close`.
    """
    tokens: list[Token] = []
    append = tokens.append
    has_comment = False
    position = 0
    end = len(text)
    trim_next = False
    match = _TOKEN.match
    while True:
        check_time()
        start = text.find("{{", position)
        stop = end if start < 0 else start
        after = start + 2
        trims = text.startswith(("- ", "-\t", "-\r", "-\n"), after) if start >= 0 else False
        literal = text[position:stop]
        if trim_next:
            stripped = literal.lstrip(SPACES)
            position += len(literal) - len(stripped)
            literal = stripped
        if trims:
            literal = literal.rstrip(SPACES)
        if literal:
            append(("text", literal, position, False))
        if start < 0:
            append(("eof", "", end, False))
            return tokens, has_comment
        inside = after + 2 if trims else after
        if text.startswith("/*", inside):
            has_comment = True
            position, trim_next = _skip_comment(text, start, inside)
            continue
        append(("begin", "{{", start, False))
        position = inside
        while True:
            found = match(text, position)
            if found is None:
                raise _refusal(text, start, position)
            kind = found.lastgroup
            begin, position = found.span(kind)  # type: ignore[arg-type]  # a match has a group
            spaced = begin != found.start()
            value = text[begin:position]
            if kind == "close" or kind == "trim":
                append(("close", "}}", begin, spaced))
                trim_next = kind == "trim"
                break
            if kind == "name":
                if not value.isascii():
                    _check_letters(text, value, begin)
                append(("keyword" if value in KEYWORDS else "name", value, begin, spaced))
                continue
            if (kind == "field" or kind == "variable") and not value.isascii():
                _check_letters(text, value, begin)
            append((kind, value, begin, spaced))  # type: ignore[arg-type]  # kind is one of the names


def _skip_comment(text: str, start: int, inside: int) -> tuple[int, bool]:
    """Returns where the text goes on after a comment, and whether white space before it is dropped."""
    end = text.find("*/", inside + 2)
    if end < 0:
        raise ExpressionError("parse", "unclosed comment", template=text, position=start)
    end += 2
    if text.startswith("}}", end):
        return end + 2, False
    if text[end : end + 1] in (" ", "\t", "\r", "\n") and text.startswith("-}}", end + 1):
        return end + 4, True
    raise ExpressionError(
        "parse", "a comment must end right before the closing delimiter: {{/* ... */}}", template=text, position=end
    )


def _check_letters(text: str, value: str, position: int) -> None:
    """Names are made of letters, decimal digits and `_`; the regular expression also lets other numerals pass."""
    for offset, character in enumerate(value):
        if not (character in "_.$" or character.isalpha() or unicodedata.category(character) == "Nd"):
            raise _bad_character(text, position + offset)


def _bad_character(text: str, position: int) -> ExpressionError:
    character = text[position]
    hint = ""
    if character == "-":
        hint = '; a name with "-" needs brackets: steps["my-step"]'
    return ExpressionError(
        "parse", f"bad character {character!r} (U+{ord(character):04X}){hint}", template=text, position=position
    )


def _refusal(text: str, start: int, position: int) -> ExpressionError:
    """Says why no token begins at `position`."""
    while position < len(text) and text[position] in SPACES:
        position += 1
    if position >= len(text):
        return ExpressionError("parse", "unclosed action: no }} after {{", template=text, position=start)
    character = text[position]
    if character in "\"'`":
        what = {'"': "quoted string", "'": "character constant", "`": "raw string"}[character]
        return ExpressionError("parse", f"unterminated {what}", template=text, position=position)
    if character.isalpha() or character in "_.$":
        word = re.compile(r"[.$]?\w*").match(text, position)
        last = word.end() if word else position
        return _bad_character(text, min(last, len(text) - 1))
    if character in "+-" or character.isdigit():
        number = re.compile(r"[+-]?[\w.]*").match(text, position)
        shown = number.group() if number else character
        return ExpressionError("parse", f"bad number syntax: {shown!r}", template=text, position=position)
    if character == ":":
        return ExpressionError("parse", "expected :=", template=text, position=position)
    return _bad_character(text, position)
