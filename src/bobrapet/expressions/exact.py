"""Decimal arithmetic on float64 values, as shopspring/decimal does it: 0.1 + 0.2 is 0.3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal, InvalidOperation, localcontext

from bobrapet.expressions.errors import FunctionError

_EXACT = Context(prec=5000, Emin=MIN_EMIN, Emax=MAX_EMAX)
"""Precision for sums and products of a few float64 values, whose digits span some 700 places."""

_LAST_PLACE = Decimal("1e-16")
"""Quotients keep 16 digits after the point."""


def _decimals(numbers: Sequence[float]) -> list[Decimal]:
    for number in numbers:
        if not math.isfinite(number):
            raise FunctionError(f"cannot calculate with {number} in decimal")
    return [Decimal(repr(number)) for number in numbers]


def _float(number: Decimal) -> float:
    # Decimals have no negative zero; adding 0.0 takes its sign away.
    return float(number) + 0.0


def total(numbers: Sequence[float]) -> float:
    with localcontext(_EXACT):
        return _float(sum(_decimals(numbers), Decimal(0)))


def difference(numbers: Sequence[float]) -> float:
    """The first number less all others."""
    with localcontext(_EXACT):
        first, *others = _decimals(numbers)
        return _float(first - sum(others, Decimal(0)))


def product(numbers: Sequence[float]) -> float:
    with localcontext(_EXACT):
        result = Decimal(1)
        for factor in _decimals(numbers):
            result *= factor
        return _float(result)


def quotient(numbers: Sequence[float]) -> float:
    """The first number divided by all others, one after the other."""
    with localcontext(_EXACT):
        result, *divisors = _decimals(numbers)
        for divisor in divisors:
            if divisor == 0:
                raise FunctionError("division by zero")
            try:
                result = (result / divisor).quantize(_LAST_PLACE, rounding=ROUND_HALF_UP)
            except InvalidOperation:
                raise FunctionError("the quotient is out of range") from None
        return _float(result)
