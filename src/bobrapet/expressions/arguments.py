"""What a parameter accepts (Go: evalArg and validateType)."""

from __future__ import annotations

from typing import Any

from bobrapet.expressions import nodes
from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.values import Absent, Int, Opaque, StringMap, to_float, type_name

_NAMES = {
    "s": "a string",
    "i": "an int",
    "f": "a float",
    "b": "a bool",
    "m": "an object",
    "t": "a time",
}
_HINTS = {
    ("s", "<nil>"): '; is it missing? give it a value with default ""',
    ("s", "float64"): "; convert it with toString",
    ("s", "int"): "; convert it with toString",
    ("s", "int64"): "; convert it with toString",
    ("i", "float64"): "; convert it with int",
    ("i", "int64"): "; convert it with int",
    ("i", "string"): "; convert it with int",
    ("f", "int"): "; convert it with float64",
    ("f", "int64"): "; convert it with float64",
}


def check(kind: str, value: Any, finds_nil: bool) -> Any:
    """Returns `value` if a parameter of this kind takes it, else raises FunctionError.

    `finds_nil`: a nil came straight out of a container; only the nil of a pipeline passes for an empty object.
    """
    match kind:
        case "a":
            return value
        case "s":
            if isinstance(value, str):
                return value
        case "i":
            if type(value) is Int:
                return value
        case "b":
            if type(value) is bool:
                return value
        case "f":
            if isinstance(value, (int, float)) and type_name(value) == "float64":
                return to_float(value)
        case "m":
            if isinstance(value, dict) and not isinstance(value, StringMap):
                return value
            if (value is None or value is Absent) and not finds_nil:
                return {}
        case "t":
            if isinstance(value, Opaque) and value.go_type == "time.Time":
                return value
    name = type_name(value)
    shown = "nil" if name == "<nil>" else name
    raise FunctionError(f"wants {_NAMES[kind]}, got {shown}{_HINTS.get((kind, name), '')}")


def literal(kind: str, node: nodes.Bool | nodes.Nil | nodes.Number | nodes.String) -> Any:
    """Returns the value that a literal has as an argument of this kind, else raises FunctionError."""
    match node, kind:
        case nodes.Nil(), "a":
            return None
        case nodes.Nil(), "m":
            return {}
        case nodes.String(), "s" | "a":
            return node.value
        case nodes.Bool(), "b" | "a":
            return node.value
        case nodes.Number(), "a":
            return ideal(node)
        case nodes.Number(), "i" if node.as_int is not None:
            return Int(node.as_int)
        case nodes.Number(), "f" if node.as_float is not None:
            return node.as_float
    shown = {"Nil": "nil", "String": "a string", "Bool": "a bool"}.get(type(node).__name__, "")
    raise FunctionError(f"wants {_NAMES[kind]}, got {shown or 'the number ' + getattr(node, 'text', '')}")


def ideal(node: nodes.Number) -> Any:
    """Returns the value that a number has where any type will do: its spelling decides."""
    text = node.text
    if node.as_complex is not None:
        return node.as_complex
    is_hexadecimal = len(text) > 2 and text[0] == "0" and text[1] in "xX" and not ("p" in text or "P" in text)
    if node.as_float is not None and not is_hexadecimal and text[0] != "'" and any(mark in text for mark in ".eEpP"):
        return node.as_float
    if node.as_int is None:
        raise FunctionError(f"{text} overflows int")
    return Int(node.as_int)
