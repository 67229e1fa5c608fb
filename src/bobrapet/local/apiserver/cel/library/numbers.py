"""Quantities (`500m`, `1Gi`) and semantic versions."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

from bobrapet.local.apiserver.cel.errors import EvaluationError
from bobrapet.local.apiserver.cel.functions import Functions, traversal
from bobrapet.local.apiserver.cel.types import BOOL, DOUBLE, INT, QUANTITY, SEMVER, STRING
from bobrapet.local.apiserver.cel.values import INT_MAX, INT_MIN, Quantity, Semver

_SUFFIXES = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,4})|([numkMGTPE]|[KMGTPE]i)?)")
_NUMBER = r"(0|[1-9]\d*)"
_WORDS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_WORDS}))?(?:\+({_WORDS}))?")


def declare(functions: Functions) -> None:
    """Adds this family."""
    add, method = functions.add, functions.method
    add("quantity", "string_to_quantity", (STRING,), QUANTITY, quantity, cost=traversal)
    add("isQuantity", "is_quantity_string", (STRING,), BOOL, _is_quantity, cost=traversal)
    add("sign", "quantity_sign", (QUANTITY,), INT, lambda q: (q.value > 0) - (q.value < 0))
    method("isGreaterThan", "quantity_is_greater_than", (QUANTITY, QUANTITY), BOOL, lambda a, b: a > b)
    method("isLessThan", "quantity_is_less_than", (QUANTITY, QUANTITY), BOOL, lambda a, b: a < b)
    method("compareTo", "quantity_compare_to", (QUANTITY, QUANTITY), INT, lambda a, b: (a > b) - (a < b))
    method("asApproximateFloat", "quantity_get_float", (QUANTITY,), DOUBLE, lambda q: float(q.value))
    method("asInteger", "quantity_get_int", (QUANTITY,), INT, _as_integer)
    method("isInteger", "quantity_is_integer", (QUANTITY,), BOOL, _is_integer)
    for name, call in (("add", Decimal.__add__), ("sub", Decimal.__sub__)):
        method(name, f"quantity_{name}", (QUANTITY, QUANTITY), QUANTITY, _combined(call))
        method(name, f"quantity_{name}_int", (QUANTITY, INT), QUANTITY, _combined(call))
    add("semver", "string_to_semver", (STRING,), SEMVER, _semver, cost=traversal)
    add("semver", "string_bool_to_semver", (STRING, BOOL), SEMVER, _semver, cost=traversal)
    add("isSemver", "is_semver_string", (STRING,), BOOL, _is_semver, cost=traversal)
    add("isSemver", "is_semver_string_bool", (STRING, BOOL), BOOL, _is_semver, cost=traversal)
    method("isGreaterThan", "semver_is_greater_than", (SEMVER, SEMVER), BOOL, lambda a, b: a.order() > b.order())
    method("isLessThan", "semver_is_less_than", (SEMVER, SEMVER), BOOL, lambda a, b: a.order() < b.order())
    method("compareTo", "semver_compare_to", (SEMVER, SEMVER), INT, lambda a, b: (a.order() > b.order())
           - (a.order() < b.order()))  # fmt: skip
    for position, name in enumerate(("major", "minor", "patch")):
        method(name, f"semver_{name}", (SEMVER,), INT, lambda v, position=position: v.numbers[position])


def quantity(text: str) -> Quantity:
    """A Kubernetes quantity. Raises EvaluationError."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        if not text:
            raise EvaluationError("unable to parse quantity's suffix")
        raise EvaluationError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, exponent, suffix = match.groups()
    try:
        with localcontext(prec=200):
            return Quantity(Decimal(number + exponent) if exponent else Decimal(number) * _SUFFIXES[suffix or ""])
    except InvalidOperation:
        raise EvaluationError("unable to parse numeric part of quantity") from None


def _is_quantity(text: str) -> bool:
    return _QUANTITY.fullmatch(text) is not None


def _is_integer(given: Quantity) -> bool:
    return given.value == given.value.to_integral_value() and INT_MIN <= given.value <= INT_MAX


def _as_integer(given: Quantity) -> int:
    if not _is_integer(given):
        raise EvaluationError("cannot convert value to integer")
    return int(given.value)


def _combined(call: Any) -> Any:
    def combine(a: Quantity, b: Quantity | int) -> Quantity:
        with localcontext(prec=200):
            return Quantity(call(a.value, b.value if isinstance(b, Quantity) else Decimal(b)))

    return combine


def _semver(text: str, normalize: bool = False) -> Semver:
    """A version; `normalize` accepts a leading v, missing parts and leading zeros. Raises EvaluationError."""
    match = _SEMVER.fullmatch(_normalized(text) if normalize else text)
    pre = tuple((match[4] or "").split(".")) if match and match[4] else ()
    if match is None or any(part.isdecimal() and len(part) > 1 and part[0] == "0" for part in pre):
        raise EvaluationError(_semver_problem(text))
    build = tuple(match[5].split(".")) if match[5] else ()
    parts = tuple(int(part) if part.isdecimal() else part for part in pre)
    return Semver((int(match[1]), int(match[2]), int(match[3])), parts, build)


def _semver_problem(text: str) -> str:
    if not text:
        return "Version string empty"
    if text.count(".") < 2:
        return "No Major.Minor.Patch elements found"
    return f"Invalid version {text!r}"


def _normalized(text: str) -> str:
    text = text.strip().removeprefix("v")
    core, separator, rest = re.match(r"([^-+]*)([-+]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]  # matches all
    numbers = [part.lstrip("0") or "0" if part.isdecimal() else part for part in core.split(".")]
    if len(numbers) < 3 and not separator:
        numbers += ["0"] * (3 - len(numbers))
    return ".".join(numbers) + separator + rest


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _semver(text, normalize)
    except EvaluationError:
        return False
    return True
