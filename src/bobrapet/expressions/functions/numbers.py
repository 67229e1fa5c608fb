"""Sprig's numbers: integers are 64 bits wide and wrap around, `...f` functions work in decimal."""

from __future__ import annotations

import math
import re
from typing import Any

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.limits import Run
from bobrapet.expressions.literals import parse_float, parse_integer
from bobrapet.expressions.printing import format_value
from bobrapet.expressions.values import INTEGERS, MAX_INT64, MIN_INT64, Int, Int64, to_float, wrap_int64

NUMBERS = Library()

_DECIMAL_TEXT = re.compile(r"([-+]?\d*)(?:\.\d*)?", re.ASCII)
_MAX_DIGITS = 40
"""Longer numbers are out of range whatever they are; reading them would only cost time."""


def integer_of(value: Any) -> int:
    """Returns the int64 that Sprig takes a value for: floats are cut, texts read, anything else is 0."""
    kind = type(value)
    if kind is Int or kind is Int64:
        return int(value)
    if kind is bool:
        return int(value)
    if isinstance(value, str):
        return _integer_text(value)
    if isinstance(value, INTEGERS):
        return int(wrap_int64(value))
    if isinstance(value, (int, float)):
        return _cut(value)
    return 0


def _cut(value: float) -> int:
    """Converts a float64 as amd64 does: what does not fit is the smallest integer."""
    if isinstance(value, int) and MIN_INT64 <= value <= MAX_INT64:
        # A context integer is a float64 for Go; beyond 2**53 it would lose digits, here it keeps them.
        return value
    value = to_float(value)
    if not -(2.0**63) <= value < 2.0**63:
        return MIN_INT64
    return int(value)


def _integer_text(text: str) -> int:
    if len(text) > _MAX_DIGITS * 4:
        return 0
    match = _DECIMAL_TEXT.fullmatch(text)
    if match is not None:
        text = match.group(1)
        if text in ("", "-", "+"):
            return 0
    value = parse_integer(text)
    return value if value is not None and MIN_INT64 <= value <= MAX_INT64 else 0


def float_of(value: Any) -> float:
    """Returns the float64 that Sprig takes a value for; 0 when it cannot be read."""
    if isinstance(value, str):
        return float_text(value)
    if isinstance(value, (int, float)):
        return to_float(value)
    return 0.0


def float_text(text: str) -> float:
    """Reads a float as strconv.ParseFloat does; 0 for what it refuses."""
    if re.fullmatch(r"nan|[-+]?inf(?:inity)?", text, re.IGNORECASE):
        return float(text)
    value = parse_float(text)
    return 0.0 if value is None else value


@NUMBERS.add("int", "a")
def to_int(value: Any) -> Int:
    return Int(integer_of(value))


@NUMBERS.add("int64", "a")
def to_int64(value: Any) -> Int64:
    return Int64(integer_of(value))


@NUMBERS.add("float64", "a")
def to_float64(value: Any) -> float:
    return float_of(value)


@NUMBERS.add("atoi", "s")
def atoi(text: str) -> Int:
    if len(text) > _MAX_DIGITS * 100 or re.fullmatch(r"[-+]?\d+", text, re.ASCII) is None:
        return Int(0)
    value = int(text)
    return Int(value if MIN_INT64 <= value <= MAX_INT64 else MAX_INT64 if value > 0 else MIN_INT64)


@NUMBERS.add("toDecimal", "a", takes_run=True)
def to_decimal(run: Run, value: Any) -> Int64:
    text = format_value(value, run)
    if len(text) > 4096 or re.fullmatch(r"[-+]?[0-7]+", text) is None:
        return Int64(0)
    number = int(text, 8)
    return Int64(number if MIN_INT64 <= number <= MAX_INT64 else 0)


@NUMBERS.add("add", "a*")
def add(*values: Any) -> Int64:
    return wrap_int64(sum(map(integer_of, values)))


@NUMBERS.add("sub", "aa")
def sub(left: Any, right: Any) -> Int64:
    return wrap_int64(integer_of(left) - integer_of(right))


@NUMBERS.add("mul", "aa*")
def mul(first: Any, *rest: Any) -> Int64:
    product = integer_of(first)
    for value in rest:
        product = wrap_int64(product * integer_of(value))
    return Int64(product)


@NUMBERS.add("div", "aa")
def div(left: Any, right: Any) -> Int64:
    dividend, divisor = integer_of(left), _divisor(right)
    quotient = abs(dividend) // abs(divisor)
    return wrap_int64(quotient if (dividend < 0) == (divisor < 0) else -quotient)


@NUMBERS.add("mod", "aa")
def mod(left: Any, right: Any) -> Int64:
    dividend, divisor = integer_of(left), _divisor(right)
    remainder = abs(dividend) % abs(divisor)
    return Int64(-remainder if dividend < 0 else remainder)


def _divisor(value: Any) -> int:
    divisor = integer_of(value)
    if divisor == 0:
        raise FunctionError("division by zero")
    return divisor


@NUMBERS.add("add1", "a")
def add1(value: Any) -> Int64:
    return wrap_int64(integer_of(value) + 1)


@NUMBERS.add("max biggest", "aa*")
def maximum(*values: Any) -> Int64:
    return Int64(max(map(integer_of, values)))


@NUMBERS.add("min", "aa*")
def minimum(*values: Any) -> Int64:
    return Int64(min(map(integer_of, values)))


def _floats(values: tuple[Any, ...]) -> list[float]:
    return [float_of(value) for value in values]


@NUMBERS.add("addf", "a*")
def addf(*values: Any) -> float:
    from bobrapet.expressions import exact  # decimal is slow to load, and few templates need it

    return exact.total(_floats(values))


@NUMBERS.add("subf", "aa*")
def subf(*values: Any) -> float:
    from bobrapet.expressions import exact

    return exact.difference(_floats(values))


@NUMBERS.add("mulf", "aa*")
def mulf(*values: Any) -> float:
    from bobrapet.expressions import exact

    return exact.product(_floats(values))


@NUMBERS.add("divf", "aa*")
def divf(*values: Any) -> float:
    from bobrapet.expressions import exact

    return exact.quotient(_floats(values))


@NUMBERS.add("add1f", "a")
def add1f(value: Any) -> float:
    return addf(value, 1)


@NUMBERS.add("maxf", "aa*")
def maxf(*values: Any) -> float:
    return _extreme([float_of(value) for value in values], math.inf)


@NUMBERS.add("minf", "aa*")
def minf(*values: Any) -> float:
    return -_extreme([-float_of(value) for value in values], math.inf)


def _extreme(numbers: list[float], winner: float) -> float:
    """The largest number by Go's rules: an infinity wins over NaN, NaN over the rest, and 0 over -0."""
    result = numbers[0]
    for number in numbers[1:]:
        if winner in (result, number):
            result = winner
        elif math.isnan(result) or math.isnan(number):
            result = math.nan
        else:
            result = max(result, number, key=lambda value: (value, math.copysign(1.0, value)))
    return result


@NUMBERS.add("ceil", "a")
def ceil(value: Any) -> float:
    number = float_of(value)
    return math.copysign(float(math.ceil(number)), number) if math.isfinite(number) else number


@NUMBERS.add("floor", "a")
def floor(value: Any) -> float:
    number = float_of(value)
    return math.copysign(float(math.floor(number)), number) if math.isfinite(number) else number


@NUMBERS.add("round", "aif*")
def round_(value: Any, places: int, *round_on: float) -> float:
    number = float_of(value)
    power = _power_of_ten(places)
    digit = power * number
    if not math.isfinite(digit) or power == 0:
        return _divide(digit, power)
    fraction = math.fmod(digit, 1.0)
    rounded = math.ceil(digit) if fraction >= (round_on[0] if round_on else 0.5) else math.floor(digit)
    return _divide(math.copysign(float(rounded), digit), power)


def _power_of_ten(exponent: int) -> float:
    if exponent > 308:
        return math.inf
    return 0.0 if exponent < -323 else float(f"1e{exponent}")


def _divide(dividend: float, divisor: float) -> float:
    """Division by IEEE rules, zero included."""
    if divisor != 0:
        return dividend / divisor
    if dividend == 0 or math.isnan(dividend):
        return math.nan
    return math.copysign(math.inf, dividend)
