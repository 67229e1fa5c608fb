"""Replaces parts of a text that may be long, with an eye on the clock."""

from __future__ import annotations

import re
from collections.abc import Callable

from bobrapet.expressions.limits import STRIDE, Run


def rewrite(run: Run, text: str, pattern: re.Pattern[str], convert: Callable[[str], str]) -> str:
    """Returns `text` with every match of `pattern` converted, as re.sub does."""
    if len(text) <= STRIDE:
        return pattern.sub(lambda match: convert(match.group()), text)
    parts: list[str] = []
    size = position = 0
    for match in run.paced(pattern.finditer(text)):
        replacement = convert(match.group())
        parts += (text[position : match.start()], replacement)
        size += len(replacement)
        if size > 4096:
            run.reserve(size)
            size = 0
        position = match.end()
    if not parts:
        return text
    parts.append(text[position:])
    return "".join(parts)
