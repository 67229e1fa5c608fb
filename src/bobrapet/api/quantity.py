"""Kubernetes quantities: `100m`, `1.5Gi`, `1e3` (spec api 1.1 "qty"). Exact: decimal arithmetic, no floats."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Context, Decimal
from typing import Final

_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SUFFIX_OF: Final = {power: suffix for suffix, power in _DECIMAL.items()}

_FORM: Final = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?")
_EXACT: Final = Context(prec=400)
_MAX: Final = Decimal(2**63 - 1)
_NANO: Final = Decimal("1e-9")


class QuantityError(ValueError):
    """The text is no quantity; the message shows a right one."""


def parse_quantity(text: str | int) -> Decimal:
    """Reads a quantity; parts finer than a billionth are rounded up, as Kubernetes does.

    Raises:
        QuantityError: not a number with an optional suffix, or larger than 2^63-1.
    """
    match = _FORM.fullmatch(str(text))
    if match is None or len(str(text)) > 128:
        shown = str(text)[:64]
        raise QuantityError(
            f'"{shown}" is not a quantity; write a number with an optional suffix, such as 500m, 2 or 128Mi'
        )
    sign, digits, suffix = match.group(1), match.group(2), match.group(3) or ""
    number = Decimal(digits)
    if suffix in _BINARY:
        value = _EXACT.multiply(number, Decimal(_BINARY[suffix]))
    elif suffix[:1] in ("e", "E") and suffix != "E":
        value = _EXACT.scaleb(number, int(suffix[1:]))
    else:
        value = _EXACT.scaleb(number, _DECIMAL[suffix])
    if value > _MAX:
        raise QuantityError(f'"{text}" is larger than a quantity can be (2^63-1)')
    if value % _NANO:
        value = value.quantize(_NANO, rounding=ROUND_CEILING, context=_EXACT)
    return -value if sign == "-" else value


def format_quantity(value: Decimal | int, *, binary: bool = False) -> str:
    """Writes the canonical form: the largest suffix that leaves a whole number.

    `binary` uses Ki, Mi, Gi... where the value is a whole number of at least 1,024.
    """
    number = Decimal(value)
    sign, number = ("-", -number) if number < 0 else ("", number)
    if not number:
        return "0"
    if binary and number == number.to_integral_value() and number >= 1024:
        whole, suffix = int(number), ""
        for name, factor in _BINARY.items():
            if whole % factor:
                break
            suffix = name
        return f"{sign}{whole // _BINARY.get(suffix, 1)}{suffix}"
    for power in range(18, -10, -3):
        scaled = _EXACT.scaleb(number, -power)
        if scaled == scaled.to_integral_value() or power == -9:
            return f"{sign}{int(scaled.to_integral_value(rounding=ROUND_CEILING))}{_SUFFIX_OF[power]}"
    raise AssertionError("unreachable: the loop ends at nano")
