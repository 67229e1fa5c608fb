"""Values as text: Go's `%v`, and what `print`, `println` and actions make of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.limits import VALUE_DEPTH, Run
from bobrapet.expressions.text import byte_length
from bobrapet.expressions.values import Int, Int64, Opaque, Uint8, Uint64, to_float


def to_text(value: Any, run: Run) -> str:
    """What an action prints: as `%v`, but nil is `<no value>`."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]  # it is a str
    if kind is int:
        return str(value) if -1_000_000 < value < 1_000_000 else format_float(to_float(value))
    if value is None or not (value or isinstance(value, (int, float, complex, list, dict, str, Opaque))):
        return "<no value>"
    return format_value(value, run)


def format_value(value: Any, run: Run) -> str:
    """`%v`."""
    scalar = _scalar(value)
    if scalar is not None:
        return scalar
    parts: list[str] = []
    _container(value, parts, run, 0)
    return "".join(parts)


def format_float(value: float) -> str:
    """`%v` of a float64: shortest digits, scientific below 1e-4 and from 1e6."""
    shown = repr(value)
    if shown.endswith(".0"):
        shown = shown[:-2]
    magnitude = abs(value)
    if 1e-4 <= magnitude < 1e6 or value == 0:
        return shown
    if value != value:
        return "NaN"
    if magnitude == float("inf"):
        return "+Inf" if value > 0 else "-Inf"
    digits, exponent = shortest_digits(shown)
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{'-' if value < 0 else ''}{mantissa}e{exponent:+03d}"


def shortest_digits(shown: str) -> tuple[str, int]:
    """Splits the repr of a finite float other than 0 into its digits and the exponent of the first."""
    mantissa, _, exponent_text = shown.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    exponent = int(exponent_text or 0) + len(whole) - 1
    digits = whole + fraction
    stripped = digits.lstrip("0")
    exponent -= len(digits) - len(stripped)
    return stripped.rstrip("0"), exponent


def print_values(values: Sequence[Any], run: Run) -> str:
    """`fmt.Sprint`: a space between two neighbours of which neither is a string."""
    parts: list[str] = []
    size = 0
    for position, value in enumerate(values):
        is_string = isinstance(value, str)
        if position and not is_string and not isinstance(values[position - 1], str):
            parts.append(" ")
        text = value if is_string else format_value(value, run)
        size += len(text)
        parts.append(text)
    run.reserve(size + len(values))
    return "".join(parts)


def print_line(values: Sequence[Any], run: Run) -> str:
    """`fmt.Sprintln`: a space between all neighbours, a newline at the end."""
    parts = [format_value(value, run) for value in values]
    run.reserve(sum(map(len, parts)) + len(parts))
    return " ".join(parts) + "\n"


def _scalar(value: Any) -> str | None:
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]  # it is a str
    if kind is int:
        return str(value) if -1_000_000 < value < 1_000_000 else format_float(to_float(value))
    if kind is float:
        return format_float(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is Int or kind is Int64 or kind is Uint8 or kind is Uint64:
        return str(int(value))
    if value is None:
        return "<nil>"
    if isinstance(value, (list, dict)):
        return None
    if isinstance(value, Opaque):
        return str(value)
    if kind is complex:
        return format_complex(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (int, float)):
        return format_float(to_float(value))
    return "<nil>"


def format_complex(value: complex) -> str:
    """`%v` of a complex128."""
    imaginary = format_float(value.imag)
    sign = "" if imaginary[0] in "+-" else "+"
    return f"({format_float(value.real)}{sign}{imaginary}i)"


def _container(value: Any, parts: list[str], run: Run, depth: int) -> None:
    if depth > VALUE_DEPTH:
        raise FunctionError(f"value is nested deeper than {VALUE_DEPTH} levels", "depth")
    run.reserve_elements(len(value))
    if isinstance(value, list):
        before = "["
        for element in run.paced(value):
            parts.append(before)
            before = " "
            _element(element, parts, run, depth)
        parts.append("]" if value else "[]")
        return
    before = "map["
    for key in run.paced(run.sorted(value)):
        parts.append(f"{before}{key}:")
        before = " "
        _element(value[key], parts, run, depth)
    parts.append("]" if value else "map[]")


def _element(element: Any, parts: list[str], run: Run, depth: int) -> None:
    text = _scalar(element)
    if text is None:
        _container(element, parts, run, depth + 1)
        return
    if len(text) > 64:
        run.reserve(byte_length(text))
    parts.append(text)
