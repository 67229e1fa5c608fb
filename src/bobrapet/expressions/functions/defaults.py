"""Sprig's defaults, types and flow."""

from __future__ import annotations

from typing import Any

from bobrapet.expressions.compare import deep_equal
from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.limits import Run
from bobrapet.expressions.values import Opaque, kind_name, type_name

DEFAULTS = Library()


@DEFAULTS.add("empty", "a")
def empty(value: Any) -> bool:
    if isinstance(value, Opaque):
        return not value.truth()
    return not value


@DEFAULTS.add("default", "aa*")
def default(fallback: Any, *given: Any) -> Any:
    return fallback if not given or empty(given[0]) else given[0]


@DEFAULTS.add("coalesce", "a*")
def coalesce(*values: Any) -> Any:
    return next((value for value in values if not empty(value)), None)


@DEFAULTS.add("all", "a*")
def all_(*values: Any) -> bool:
    return not any(map(empty, values))


@DEFAULTS.add("any", "a*")
def any_(*values: Any) -> bool:
    return not all(map(empty, values))


@DEFAULTS.add("ternary", "aab")
def ternary(yes: Any, no: Any, condition: bool) -> Any:
    return yes if condition else no


@DEFAULTS.add("typeOf", "a")
def type_of(value: Any) -> str:
    return type_name(value)


@DEFAULTS.add("typeIs", "sa")
def type_is(name: str, value: Any) -> bool:
    return type_name(value) == name


@DEFAULTS.add("typeIsLike", "sa")
def type_is_like(name: str, value: Any) -> bool:
    return type_name(value) in (name, "*" + name)


@DEFAULTS.add("kindOf", "a")
def kind_of(value: Any) -> str:
    return kind_name(value)


@DEFAULTS.add("kindIs", "sa")
def kind_is(name: str, value: Any) -> bool:
    return kind_name(value) == name


@DEFAULTS.add("deepEqual", "aa", takes_run=True)
def deep_equal_(run: Run, left: Any, right: Any) -> bool:
    return deep_equal(left, right, run)


@DEFAULTS.add("fail", "s")
def fail(message: str) -> str:
    raise FunctionError(message)
