"""When two objects mean the same to an API server (spec runtime CU-8)."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal("1e3"), "M": Decimal("1e6"), "G": Decimal("1e9"), "T": Decimal("1e12"), "P": Decimal("1e15"),
    "E": Decimal("1e18"), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")

_QUANTITY_PARENTS = frozenset({"requests", "limits", "capacity", "allocatable", "hard", "used", "overhead", "default",
                               "defaultRequest", "max", "min", "maxLimitRequestRatio"})  # fmt: skip
"""Fields whose values are maps of quantities."""

_QUANTITY_FIELDS = frozenset({"sizeLimit", "divisor"})
"""Fields that are a quantity themselves."""


def semantic_equal(a: Any, b: Any) -> bool:
    """Equality of JSON values in which absent, null, empty list and empty map are equal, quantities compare by value
    ("1" is "1000m") where the API has quantities, and times by instant.
    """
    return _equal(a, b, "", "")


def _equal(a: Any, b: Any, parent: str, field: str) -> bool:
    if _empty(a) and _empty(b):
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        return all(_equal(a.get(key), b.get(key), field, key) for key in a.keys() | b.keys())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(left, right, parent, field) for left, right in zip(a, b, strict=True))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if a == b:
        return True
    if parent in _QUANTITY_PARENTS or field in _QUANTITY_FIELDS:
        left, right = _quantity(a), _quantity(b)
        return left is not None and left == right
    if isinstance(a, str) and isinstance(b, str):
        return _same_instant(a, b)
    return False


def _empty(value: Any) -> bool:
    return value is None or value == [] or value == {}


def _quantity(value: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    number, exponent, suffix = match.groups()
    return Decimal(number + exponent) if exponent else Decimal(number) * _SUFFIXES[suffix or ""]


def _same_instant(a: str, b: str) -> bool:
    if not _TIME.fullmatch(a) or not _TIME.fullmatch(b):
        return False
    try:
        return datetime.fromisoformat(a.upper()) == datetime.fromisoformat(b.upper())
    except ValueError:
        return False
