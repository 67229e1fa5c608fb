"""Go strings in Python strings.

A Go string is a sequence of bytes. Here it is a `str`; bytes that are not UTF-8 (they come from cutting a character in
half, or from escapes such as `\\xff`) are kept as the surrogates U+DC80..U+DCFF, as Python's `surrogateescape` does.
They never leave: a finished result shows them as U+FFFD, which is what Go's JSON encoder makes of them.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_FOREIGN = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def encode(value: str) -> bytes:
    """Returns the bytes of a Go string; a lone surrogate of a JSON document counts as U+FFFD, as in Go."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _FOREIGN.sub("\ufffd", value).encode("utf-8", "surrogateescape")


def decode(value: bytes) -> str:
    """Returns the Go string with these bytes."""
    return value.decode("utf-8", "surrogateescape")


def byte_length(value: str) -> int:
    """Returns Go's `len` of a string."""
    return len(value) if value.isascii() else len(encode(value))


def finished(value: str) -> str:
    """Returns the text as it may leave the evaluator: every byte that is not UTF-8 has become U+FFFD."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        # Two halves that were cut apart and joined again are one character once more.
        return _SURROGATE.sub("\ufffd", decode(encode(value)))
    return value
