"""Functions whose result nobody can foresee; a deterministic evaluator does not have them (spec expressions 6.2)."""

from __future__ import annotations

import secrets
import string
import uuid

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.limits import Run
from bobrapet.expressions.values import Int

RANDOM = Library()

_LETTERS = string.ascii_letters
_PRINTABLE = "".join(map(chr, range(32, 127)))


def _pick(run: Run, count: int, alphabet: str) -> str:
    if count < 0:
        return ""
    run.reserve(8 * count)
    return "".join(secrets.choice(alphabet) for _ in range(count)) if count < 4096 else _pick_many(run, count, alphabet)


def _pick_many(run: Run, count: int, alphabet: str) -> str:
    parts: list[str] = []
    for start in range(0, count, 4096):
        run.check_time()
        parts.append("".join(secrets.choice(alphabet) for _ in range(min(4096, count - start))))
    return "".join(parts)


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
    return Int(low + secrets.randbelow(high - low))


@RANDOM.add("uuidv4", "")
def uuidv4() -> str:
    return str(uuid.uuid4())
