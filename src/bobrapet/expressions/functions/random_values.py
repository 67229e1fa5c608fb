"""Functions whose result nobody can foresee; a deterministic evaluator does not have them (spec expressions 6.2)."""

from __future__ import annotations

import os
import string
from functools import lru_cache
from typing import TYPE_CHECKING

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.limits import Run
from bobrapet.expressions.values import Int

if TYPE_CHECKING:
    from random import SystemRandom

RANDOM = Library()

_LETTERS = string.ascii_letters
_PRINTABLE = "".join(map(chr, range(32, 127)))


@lru_cache(1)
def _source() -> SystemRandom:
    """The operating system's random numbers."""
    from random import SystemRandom

    return SystemRandom()


def _pick(run: Run, count: int, alphabet: str) -> str:
    if count <= 0:
        return ""
    run.reserve(count)
    choose = _source().choice
    return "".join([choose(alphabet) for _ in run.paced(range(count))])


@RANDOM.add("randAlpha", "i", takes_run=True)
def rand_alpha(run: Run, count: int) -> str:
    return _pick(run, count, _LETTERS)


@RANDOM.add("randAlphaNum", "i", takes_run=True)
def rand_alpha_num(run: Run, count: int) -> str:
    return _pick(run, count, _LETTERS + string.digits)


@RANDOM.add("randAscii", "i", takes_run=True)
def rand_ascii(run: Run, count: int) -> str:
    return _pick(run, count, _PRINTABLE)


@RANDOM.add("randNumeric", "i", takes_run=True)
def rand_numeric(run: Run, count: int) -> str:
    return _pick(run, count, string.digits)


@RANDOM.add("randInt", "ii")
def rand_int(low: int, high: int) -> Int:
    if high <= low:
        raise FunctionError(f"there is no number from {low} up to, but not including, {high}")
    return Int(_source().randrange(low, high))


@RANDOM.add("uuidv4", "")
def uuidv4() -> str:
    digits = bytearray(os.urandom(16))
    digits[6] = digits[6] & 0x0F | 0x40  # version 4
    digits[8] = digits[8] & 0x3F | 0x80  # the variant of RFC 9562
    text = digits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
