"""Reaching into values: fields, indexes, loops (Go: evalField, index, range)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Any

from bobrapet.expressions.errors import FunctionError, nearest
from bobrapet.expressions.function import Function
from bobrapet.expressions.limits import Run
from bobrapet.expressions.text import encode
from bobrapet.expressions.values import INTEGERS, Absent, Int, Opaque, StringMap, Uint8, type_name


def walk(value: Any, path: tuple[str, ...], refuses_nil: bool) -> Any:
    """Follows `path` from `value` through fields.

    An absent key is nil, and nil has no fields. But nil as the very start has nil fields, unless `refuses_nil`.
    """
    before: dict[str, Any] = {}
    for position, name in enumerate(path):
        if value is Absent:
            return Absent
        if value is None:
            if position == 0 and not refuses_nil:
                return None
            if not position:
                raise FunctionError(f"cannot read “{name}”: the current element is nil", segment=0)
            missing = path[position - 1]
            why = "is nil" if missing in before else f"does not exist{nearest(missing, map(str, before))}"
            raise FunctionError(f"cannot read “{name}”: “{missing}” {why}", segment=position - 1)
        if isinstance(value, dict):
            before = value
            value = value.get(name, "" if isinstance(value, StringMap) else None)
            continue
        function = member(value, name)
        if function is None:
            known = nearest(name, value.members) if isinstance(value, Opaque) else ""
            raise FunctionError(f"cannot read “{name}” of {_article(type_name(value))}{known}", segment=position)
        if function.minimum:
            raise FunctionError(f"{name} takes {function.minimum} argument(s), not 0", segment=position)
        before = {name: None}
        value = function.call(value)
    return value


def member(value: Any, name: str) -> Function | None:
    """Returns the method of an opaque value; nothing else has any, and no Python attribute is ever looked up."""
    return value.members.get(name) if isinstance(value, Opaque) else None


def index_value(value: Any, key: Any) -> Any:
    """Returns `value[key]` by the rules of the builtin `index`."""
    if isinstance(value, dict):
        if not isinstance(key, str):
            raise FunctionError(f"cannot index an object with {_article(type_name(key))}; keys are strings")
        return value.get(key, "" if isinstance(value, StringMap) else None)
    if isinstance(value, list):
        return value[position_in(key, len(value))]
    if value is Absent:
        return Absent
    if value is None:
        raise FunctionError("cannot index nil")
    if isinstance(value, str):
        data = encode(value)
        return Uint8(data[position_in(key, len(data))])
    raise FunctionError(f"cannot index {_article(type_name(value))}")


def position_in(key: Any, length: int) -> int:
    """Returns a list index as an int, which must be of an integer type and in range."""
    if not isinstance(key, INTEGERS):
        hint = "; convert it with int" if type_name(key) == "float64" else ""
        raise FunctionError(f"cannot index a list with {_article(type_name(key))}{hint}")
    if key < 0 or key >= length:
        raise FunctionError(f"index {key} is out of range: the length is {length}")
    return int(key)


def iterate(value: Any, wants_key: bool, run: Run) -> Iterable[tuple[Any, Any]]:
    """Returns the pairs that `range` goes through; nothing for nil."""
    if isinstance(value, list):
        return zip(map(Int, range(len(value))), value, strict=True) if wants_key else zip(repeat(None), value)
    if isinstance(value, dict):
        return ((key, value[key]) for key in run.sorted(value))
    if value is None or value is Absent:
        return ()
    if isinstance(value, INTEGERS):
        if wants_key:
            raise FunctionError("range over an int gives one variable, not two")
        return zip(repeat(None), map(type(value), range(value)))
    hint = "; convert it with int" if type_name(value) == "float64" else ""
    raise FunctionError(f"range cannot go through {_article(type_name(value))}{hint}")


def _article(name: str) -> str:
    return "nil" if name == "<nil>" else f"{'an' if name[0] in 'aeio' else 'a'} {name}"
