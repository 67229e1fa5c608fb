"""The functions of Go's text/template, as far as Sprig and this project leave them (spec expressions 5.1, 5.2)."""

from __future__ import annotations

import re
from typing import Any

from bobrapet.expressions.access import index_value
from bobrapet.expressions.compare import equal_to_any, less
from bobrapet.expressions.errors import FunctionError
from bobrapet.expressions.function import Library
from bobrapet.expressions.limits import Run
from bobrapet.expressions.printf import sprintf
from bobrapet.expressions.printing import print_line, print_values
from bobrapet.expressions.rewriting import rewrite
from bobrapet.expressions.text import encode
from bobrapet.expressions.values import Absent, truth

BUILTINS = Library()


def _decided_by_the_compiler(*values: Any) -> Any:
    raise FunctionError("and and or are compiled, not called")


BUILTINS.add("and or", "aa*")(_decided_by_the_compiler)
BUILTINS.add("eq", "aa*")(equal_to_any)


@BUILTINS.add("not", "a")
def negate(value: Any) -> bool:
    return not truth(value)


@BUILTINS.add("ne", "aa")
def not_equal(left: Any, right: Any) -> bool:
    return not equal_to_any(left, right)


@BUILTINS.add("lt", "aa")
def less_than(left: Any, right: Any) -> bool:
    return less(left, right)


@BUILTINS.add("le", "aa")
def less_or_equal(left: Any, right: Any) -> bool:
    return less(left, right) or equal_to_any(left, right)


@BUILTINS.add("gt", "aa")
def greater_than(left: Any, right: Any) -> bool:
    return not less_or_equal(left, right)


@BUILTINS.add("ge", "aa")
def greater_or_equal(left: Any, right: Any) -> bool:
    return not less(left, right)


@BUILTINS.add("index", "aa*")
def index(value: Any, *keys: Any) -> Any:
    if value is None:
        raise FunctionError("cannot index nil")
    for key in keys:
        value = index_value(value, key)
    return value


@BUILTINS.add("call", "aa*")
def call(value: Any, *arguments: Any) -> Any:
    raise FunctionError("there are no values that can be called")


@BUILTINS.add("print", "a*", takes_run=True)
def print_(run: Run, *values: Any) -> str:
    return print_values(values, run)


@BUILTINS.add("println", "a*", takes_run=True)
def println(run: Run, *values: Any) -> str:
    return print_line(values, run)


@BUILTINS.add("printf", "sa*", takes_run=True)
def printf(run: Run, layout: str, *values: Any) -> str:
    return sprintf(layout, values, run)


_HTML = {"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"}
_JS = {
    "\\": "\\\\",
    "'": "\\'",
    '"': '\\"',
    "<": "\\u003C",
    ">": "\\u003E",
    "&": "\\u0026",
    "=": "\\u003D",
}
_HTML_SPECIAL = re.compile("[\0\"'&<>]")
_URL_SPECIAL = re.compile("[^A-Za-z0-9_.~-]")
_JS_SPECIAL = re.compile("[\\\\'\"<>&=\\x00-\\x1f]|[^\\x00-\\x7f]")


@BUILTINS.add("html", "a*", takes_run=True)
def html(run: Run, *values: Any) -> str:
    text = _printed(run, values)
    return rewrite(run, text, _HTML_SPECIAL, _HTML.__getitem__)


@BUILTINS.add("js", "a*", takes_run=True)
def js(run: Run, *values: Any) -> str:
    text = _printed(run, values)
    return rewrite(run, text, _JS_SPECIAL, _escape_js)


def _escape_js(character: str) -> str:
    if character in _JS:
        return _JS[character]
    code = ord(character)
    if code > 0x7F and character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:
        # A byte that is no character stays one.
        return character
    return f"\\u{code:04X}"


@BUILTINS.add("urlquery", "a*", takes_run=True)
def urlquery(run: Run, *values: Any) -> str:
    text = _printed(run, values)
    run.reserve(3 * len(text))
    return rewrite(run, encode(text).decode("latin-1"), _URL_SPECIAL, _escape_url)


def _escape_url(byte: str) -> str:
    return "+" if byte == " " else f"%{ord(byte):02X}"


def _printed(run: Run, values: tuple[Any, ...]) -> str:
    """The text that the escapers work on (Go: evalArgs): a single nil is `<no value>`."""
    if len(values) == 1:
        value = values[0]
        if isinstance(value, str):
            return value
        if value is None or value is Absent:
            return "<no value>"
    return print_values(["<no value>" if value is None or value is Absent else value for value in values], run)
