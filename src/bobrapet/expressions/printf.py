"""Go's `fmt.Sprintf` for the values of templates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.limits import VALUE_DEPTH, Run
from bobrapet.expressions.printing import format_float, format_value
from bobrapet.expressions.quoting import quote, quote_rune
from bobrapet.expressions.text import encode
from bobrapet.expressions.values import INTEGERS, Absent, NilList, Opaque, Uint8, Uint64, to_float, type_name

MAX_WIDTH = 1_000_000  # what fmt accepts as width or precision


class _Flags:
    """Flags, width and precision of one verb."""

    __slots__ = ("go_syntax", "minus", "plus", "precision", "sharp", "space", "width", "zero")

    def __init__(self) -> None:
        self.plus = self.minus = self.sharp = self.space = self.zero = False
        self.go_syntax = False
        """`%#v`: the sharp flag of that verb means something else than that of all others."""
        self.width: int | None = None
        self.precision: int | None = None

    def pad(self, text: str) -> str:
        """Brings text to the width, counted in characters."""
        missing = (self.width or 0) - len(text)
        if missing <= 0:
            return text
        if self.minus:
            return text + " " * missing
        return ("0" if self.zero else " ") * missing + text

    def pad_with_spaces(self, text: str) -> str:
        """As `pad`, where zeros would change the number or were put in already."""
        return text.ljust(self.width or 0) if self.minus else text.rjust(self.width or 0)


def sprintf(layout: str, values: Sequence[Any], run: Run) -> str:
    """Formats `values` as the verbs of `layout` say; what does not fit shows up in the text, as in Go."""
    return _Formatter(layout, values, run).format()


class _Formatter:
    """Walks the layout; `argument` is the index of the value that the next verb takes."""

    def __init__(self, layout: str, values: Sequence[Any], run: Run) -> None:
        self.layout = layout
        self.values = values
        self.run = run
        self.argument = 0
        self.position = 0
        self.reordered = False
        self.good_index = True
        self.parts: list[str] = []

    def add(self, text: str) -> None:
        if len(text) > 64:
            self.run.reserve(len(text))
        self.parts.append(text)

    def format(self) -> str:
        layout, end = self.layout, len(self.layout)
        ever_reordered = False
        self.run.reserve(end)
        while self.position < end:
            start = self.position
            percent = layout.find("%", start)
            self.position = percent if percent >= 0 else end
            if self.position > start:
                self.add(layout[start : self.position])
            if self.position >= end:
                break
            self.position += 1
            self.good_index = True
            self.reordered = False
            self.verb()
            ever_reordered = ever_reordered or self.reordered
        if not ever_reordered and self.argument < len(self.values):
            extra = ", ".join(
                "<nil>" if value is None or value is Absent else f"{type_name(value)}={format_value(value, self.run)}"
                for value in self.values[self.argument :]
            )
            self.add(f"%!(EXTRA {extra})")
        return "".join(self.parts)

    def peek(self) -> str:
        return self.layout[self.position : self.position + 1]

    def verb(self) -> None:
        flags = _Flags()
        after_index = False
        while (character := self.peek()) and character in "#0+- ":
            self.position += 1
            match character:
                case "#":
                    flags.sharp = True
                case "0":
                    flags.zero = True
                case "+":
                    flags.plus = True
                case "-":
                    flags.minus = True
                case " ":
                    flags.space = True
        after_index = self.argument_index()
        if self.peek() == "*":
            self.position += 1
            width = self.star()
            if width is None:
                self.add("%!(BADWIDTH)")
            elif width < 0:
                flags.width, flags.minus, flags.zero = -width, True, False
            else:
                flags.width = width
            after_index = False
        else:
            flags.width = self.digits()
            if after_index and flags.width is not None:
                self.good_index = False
        if self.peek() == "." and self.position + 1 < len(self.layout):
            self.position += 1
            if after_index:
                self.good_index = False
            after_index = self.argument_index()
            if self.peek() == "*":
                self.position += 1
                precision = self.star()
                if precision is None or precision < 0:
                    self.add("%!(BADPREC)")
                else:
                    flags.precision = precision
                after_index = False
            else:
                digits = self.digits()
                flags.precision = 0 if digits is None else digits
        if not after_index:
            after_index = self.argument_index()
        letter = self.peek()
        if not letter:
            self.add("%!(NOVERB)")
            return
        self.position += 1
        if letter == "%":
            self.add("%")
        elif not self.good_index:
            self.add(f"%!{letter}(BADINDEX)")
        elif self.argument >= len(self.values):
            self.add(f"%!{letter}(MISSING)")
        else:
            value = self.values[self.argument]
            self.argument += 1
            if letter in "vw":
                flags.go_syntax, flags.sharp, flags.plus = flags.sharp, False, False
            self.add(self.one(letter, flags, value))

    def digits(self) -> int | None:
        """Reads a number; None if there is none, or one that is too large to be meant."""
        start = self.position
        while (character := self.peek()) and character in "0123456789":
            self.position += 1
        if start == self.position:
            return None
        digits = self.layout[start : self.position]
        if len(digits.lstrip("0")) > 7 or int(digits) > MAX_WIDTH:
            self.position = len(self.layout)
            return None
        return int(digits)

    def argument_index(self) -> bool:
        """Reads `[3]`; says whether one was there and good."""
        if self.peek() != "[":
            return False
        self.reordered = True
        close = self.layout.find("]", self.position)
        if close < 0:
            self.good_index = False
            self.position += 1
            return False
        digits = self.layout[self.position + 1 : close]
        self.position = close + 1
        if digits.isascii() and digits.isdigit() and len(digits) < 8 and 1 <= int(digits) <= len(self.values):
            self.argument = int(digits) - 1
            return True
        self.good_index = False
        return True

    def star(self) -> int | None:
        """Takes a width or precision from the arguments: an int within reason."""
        if self.argument >= len(self.values):
            return None
        value = self.values[self.argument]
        self.argument += 1
        if isinstance(value, INTEGERS) and abs(value) <= MAX_WIDTH:
            return int(value)
        return None

    def bad(self, verb: str, flags: _Flags, value: Any) -> str:
        """What stands for a value that the verb cannot format: its type, and the value as `%v` with the same flags."""
        if value is None or value is Absent:
            return f"%!{verb}(<nil>)"
        return f"%!{verb}({type_name(value)}={self.value('v', flags, value, 0)})"

    def one(self, verb: str, flags: _Flags, value: Any) -> str:
        """Formats one argument."""
        if value is None or value is Absent:
            return flags.pad("<nil>") if verb in "Tv" else self.bad(verb, flags, None)
        if verb == "T":
            return self.string("s", flags, type_name(value))
        return self.value(verb, flags, value, 0)

    def value(self, verb: str, flags: _Flags, value: Any, depth: int) -> str:
        if isinstance(value, Opaque) and verb in "vsxXq":
            return self.string("s" if verb == "v" else verb, flags, str(value))
        if isinstance(value, bool):
            return flags.pad("true" if value else "false") if verb in "tv" else self.bad(verb, flags, value)
        if isinstance(value, INTEGERS):
            return self.integer(verb, flags, int(value), value)
        if isinstance(value, (int, float)):
            return self.floating(verb, flags, to_float(value), value)
        if isinstance(value, complex):
            return self.complex(verb, flags, value)
        if isinstance(value, str):
            return self.string(verb, flags, value)
        if isinstance(value, (list, dict)):
            return self.container(verb, flags, value, depth)
        return self.bad(verb, flags, value)

    def container(self, verb: str, flags: _Flags, value: list[Any] | dict[str, Any], depth: int) -> str:
        if depth > VALUE_DEPTH:
            raise FunctionError(f"value is nested deeper than {VALUE_DEPTH} levels", "depth")
        self.run.reserve_elements(len(value))
        go_syntax = flags.go_syntax and verb == "v"
        joint = ", " if go_syntax else " "
        name = type_name(value)
        if go_syntax and isinstance(value, NilList):
            return f"{name}(nil)"
        if isinstance(value, dict):
            elements = [
                f"{self.inner(verb, flags, key, depth)}:{self.inner(verb, flags, value[key], depth)}"
                for key in self.run.paced(self.run.sorted(value))
            ]
            body = joint.join(elements)
            text = f"{name}{{{body}}}" if go_syntax else f"map[{body}]"
        else:
            body = joint.join(self.inner(verb, flags, element, depth) for element in self.run.paced(value))
            text = f"{name}{{{body}}}" if go_syntax else f"[{body}]"
        self.run.reserve(len(text))
        return text

    def inner(self, verb: str, flags: _Flags, value: Any, depth: int) -> str:
        if value is None or value is Absent:
            return "interface {}(nil)" if flags.go_syntax else "<nil>"
        return self.value(verb, flags, value, depth + 1)

    def string(self, verb: str, flags: _Flags, value: str) -> str:
        match verb:
            case "v":
                if flags.go_syntax:
                    return flags.pad(quote(self.run, _truncate(value, flags), raw=flags.sharp))
                return flags.pad(_truncate(value, flags))
            case "s":
                return flags.pad(_truncate(value, flags))
            case "q":
                return flags.pad(quote(self.run, _truncate(value, flags), ascii_only=flags.plus, raw=flags.sharp))
            case "x" | "X":
                return self.hexadecimal(verb, flags, encode(value))
            case _:
                return self.bad(verb, flags, value)

    def hexadecimal(self, verb: str, flags: _Flags, data: bytes) -> str:
        if flags.precision is not None:
            data = data[: flags.precision]
        self.run.reserve(5 * len(data))
        prefix = ("0x" if verb == "x" else "0X") if flags.sharp else ""
        if flags.space:
            text = " ".join(f"{prefix}{byte:02x}" for byte in data)
        else:
            text = prefix + data.hex() if data else ""
        if verb == "X":
            text = text.upper()
        return flags.pad(text)

    def integer(self, verb: str, flags: _Flags, value: int, original: Any) -> str:
        prefix = ""
        match verb:
            case "v" if flags.go_syntax and isinstance(original, (Uint8, Uint64)):
                digits, prefix = f"{value:x}", "0x"
            case "v" | "d":
                digits = str(abs(value))
            case "b":
                digits, prefix = f"{abs(value):b}", "0b" if flags.sharp else ""
            case "o" | "O":
                digits = f"{abs(value):o}"
            case "x":
                digits, prefix = f"{abs(value):x}", "0x" if flags.sharp else ""
            case "X":
                digits, prefix = f"{abs(value):X}", "0X" if flags.sharp else ""
            case "c":
                return flags.pad(chr(value) if _is_character(value) else "\ufffd")
            case "q":
                return flags.pad(quote_rune(value if _is_character(value) else 0xFFFD, ascii_only=flags.plus))
            case "U":
                return self.unicode(flags, value)
            case _:
                return self.bad(verb, flags, original)
        sign = "-" if value < 0 else "+" if flags.plus else " " if flags.space else ""
        if flags.precision is not None:
            if flags.precision == 0 and value == 0:
                return " " * (flags.width or 0)
            digits = digits.rjust(flags.precision, "0")
        elif flags.zero and not flags.minus and flags.width:
            digits = digits.rjust(flags.width - len(sign), "0")
        if verb in "oO":
            if flags.sharp and digits[0] != "0":
                prefix = "0"
            if verb == "O":
                prefix = "0o" + prefix
        return flags.pad_with_spaces(sign + prefix + digits)

    def unicode(self, flags: _Flags, value: int) -> str:
        code = value if value >= 0 else value + 2**64
        text = f"U+{code:0{max(4, flags.precision or 4)}X}"
        if flags.sharp and _is_character(value) and chr(value).isprintable():
            text += f" '{chr(value)}'"
        return flags.pad_with_spaces(text)

    def floating(self, verb: str, flags: _Flags, value: float, original: Any) -> str:
        match verb:
            case "v":
                text = _float("g", value, flags.precision if flags.precision is not None else -1, flags)
            case "e" | "E" | "f" | "F":
                precision = 6 if flags.precision is None else flags.precision
                text = _float("f" if verb == "F" else verb, value, precision, flags)
            case "g" | "G" | "b" | "x" | "X":
                text = _float(verb, value, -1 if flags.precision is None else flags.precision, flags)
            case _:
                return self.bad(verb, flags, original)
        return _pad_number(text, flags)

    def complex(self, verb: str, flags: _Flags, value: complex) -> str:
        if verb not in "vbgGxXfFeE":
            return self.bad(verb, flags, value)
        plus = flags.plus
        real = self.floating(verb, flags, value.real, value.real)
        flags.plus = True
        imaginary = self.floating(verb, flags, value.imag, value.imag)
        flags.plus = plus
        return f"({real}{imaginary}i)"


def _truncate(value: str, flags: _Flags) -> str:
    return value if flags.precision is None else value[: flags.precision]


def _is_character(code: int) -> bool:
    return 0 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF


def _pad_number(text: str, flags: _Flags) -> str:
    """Pads a number whose sign is shown or not; zeros go between sign and digits, never before an infinity."""
    sign, digits = text[0], text[1:]
    if flags.space and sign == "+" and not flags.plus:
        sign = " "
    shows_sign = flags.plus or sign != "+"
    if digits[0] in "IN":
        if digits[0] == "N" and not flags.space and not flags.plus:
            shows_sign = False
        return flags.pad_with_spaces((sign if shows_sign else "") + digits)
    if not shows_sign:
        return flags.pad(digits)
    if flags.zero and not flags.minus and flags.width and flags.width > len(digits):
        return sign + digits.rjust(flags.width - 1, "0")
    return flags.pad(sign + digits)


def _float(verb: str, value: float, precision: int, flags: _Flags) -> str:
    """Formats a float with a sign always shown (Go: strconv.AppendFloat, then the sharp flag)."""
    if value != value:
        return "+NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign = "-" if math.copysign(1.0, value) < 0 else "+"
    magnitude = abs(value)
    lower = verb.lower()
    if verb == "b":
        return sign + _binary_exponent(magnitude)
    if lower == "x":
        text = _hex_float(magnitude, precision)
        text = text.upper() if verb == "X" else text
    elif lower == "f":
        text = f"{magnitude:.{precision}f}"
    elif lower == "e":
        text = _scientific(f"{magnitude:.{precision}e}")
    elif precision < 0:
        text = format_float(magnitude)
    else:
        text = _general(magnitude, precision)
    if flags.sharp:
        text = _keep_point(text, verb, precision)
    return sign + (text.upper() if verb in "EG" else text)


def _scientific(text: str) -> str:
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent):+03d}"


def _general(magnitude: float, precision: int) -> str:
    """`%g` with a precision: that many significant digits, without trailing zeros."""
    precision = precision or 1
    if magnitude == 0:
        return "0"
    mantissa, _, exponent_text = f"{magnitude:.{min(precision, 1100) - 1}e}".partition("e")
    exponent = int(exponent_text)
    digits = mantissa.replace(".", "").rstrip("0")
    threshold = precision
    if threshold > len(digits) and len(digits) >= exponent + 1:
        threshold = len(digits)
    if exponent < -4 or exponent >= threshold:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{digits[0]}{tail}e{exponent:+03d}"
    if exponent < 0:
        return f"0.{'0' * (-exponent - 1)}{digits}"
    if len(digits) <= exponent + 1:
        return digits + "0" * (exponent + 1 - len(digits))
    return f"{digits[: exponent + 1]}.{digits[exponent + 1 :]}"


def _keep_point(text: str, verb: str, precision: int) -> str:
    """The sharp flag: always a decimal point, and for `%g` and `%x` all digits of the precision."""
    mantissa, exponent = text, ""
    for mark in "pP" if verb in "xX" else "eEpP":
        head, separator, tail = text.partition(mark)
        if separator:
            mantissa, exponent = head, separator + tail
    missing = 0
    if verb in "gGx":
        significant = mantissa.replace(".", "").lstrip("0")
        missing = (6 if precision < 0 else precision) - len(significant)
    if "." not in mantissa:
        missing -= mantissa == "0"
        mantissa += "."
    return mantissa + "0" * missing + exponent


def _binary_exponent(magnitude: float) -> str:
    """`%b`: an integer mantissa and a power of two, as the float is stored."""
    mantissa, exponent = math.frexp(magnitude)
    if magnitude == 0:
        return "0p-1074"
    power = max(exponent - 53, -1074)
    return f"{int(math.ldexp(mantissa, exponent - power))}p{power:+d}"


def _hex_float(magnitude: float, precision: int) -> str:
    """`%x`: a hexadecimal mantissa with one digit before the point."""
    if magnitude == 0:
        return "0x0" + ("." + "0" * precision if precision > 0 else "") + "p+00"
    mantissa, exponent = math.frexp(magnitude)
    bits = int(math.ldexp(mantissa, 53))
    exponent -= 1
    digits = 13
    if 0 <= precision < 13:
        shift = 4 * (13 - precision)
        rest = bits & ((1 << shift) - 1)
        bits >>= shift
        half = 1 << (shift - 1)
        if rest > half or (rest == half and bits & 1):
            bits += 1
        digits = precision
        if bits >> (4 * digits + 1):
            bits >>= 1
            exponent += 1
    fraction = f"{bits & ((1 << (4 * digits)) - 1):0{digits}x}" if digits else ""
    fraction = fraction.rstrip("0") if precision < 0 else fraction.ljust(precision, "0")
    return f"0x1{'.' + fraction if fraction else ''}p{exponent:+03d}"
