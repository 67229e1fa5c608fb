"""Resource quantities, as far as `resourceFieldRef` needs them: a number, and a number divided by another."""

from __future__ import annotations

import math
import re
from fractions import Fraction

SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    **{suffix: Fraction(1000**power) for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{suffix: Fraction(1024**power) for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)")


def parse(text: str) -> Fraction:
    """Reads `500m`, `1.5Gi`, `2e3`, `4`. Raises ValueError."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no resource quantity, for example 500m or 64Mi")
    number, exponent, suffix = match.groups()
    scale = Fraction(10) ** int(exponent) if exponent else SUFFIXES[suffix or ""]
    return Fraction(number) * scale


def in_units(text: str, divisor: str | None) -> str:
    """The quantity counted in units of `divisor` (default 1), rounded up: what a container reads in its environment."""
    unit = parse(divisor) if divisor else Fraction(1)
    return str(math.ceil(parse(text) / (unit or 1)))
