"""Leaves out the block of a `with` statement.

Python has no word for it: a context manager that wants its block skipped can only raise inside the block. That is done
here. The frame of the statement is traced for the instruction or two that follow `__enter__`, which bind or drop its
result and are guarded by the statement's `__exit__` already; then the trace function raises `Skipped`, and `__exit__`
swallows it. Tracing ends there, and a debugger's or coverage's own tracing comes back.

A block that ran although it was to be skipped would repeat a side effect. So this refuses to guess: where the statement
cannot be recognised (an ExitStack, compiled code, another Python), it raises TypeError instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from opcode import HAVE_ARGUMENT, opname
from types import CodeType, FrameType
from typing import Any, NoReturn

_CODE_UNIT = 2
_ENTERS = frozenset({"BEFORE_WITH", "LOAD_SPECIAL"})  # the second as of 3.14, before a CALL
_BY_NAME = {"STORE_FAST": "co_varnames", "STORE_NAME": "co_names", "STORE_GLOBAL": "co_names"}
_EMPTY = "LOAD_CONST"  # what follows an empty block: the arguments of __exit__

Trace = Callable[[FrameType, str, Any], Any]


class Skipped(BaseException):
    """Raised in place of a block. `__exit__` calls `over()` and returns True."""

    def __init__(self, frame: FrameType) -> None:
        super().__init__("this block is skipped")
        self._frame = frame
        self._before = sys.gettrace(), frame.f_trace, frame.f_trace_lines, frame.f_trace_opcodes

    def over(self) -> None:
        """Gives tracing back."""
        tracer, local, lines, opcodes = self._before
        sys.settrace(tracer)
        self._frame.f_trace_lines, self._frame.f_trace_opcodes = lines, opcodes
        if local is None:
            del self._frame.f_trace
        else:
            self._frame.f_trace = local


def skip_block(entered: object, *, asynchronous: bool = False) -> None:
    """Called by `__enter__` or `__aenter__` as the last thing before it returns `entered`.

    Raises TypeError, then or right afterwards, where the caller is no `with` statement whose block can be skipped.
    """
    frame = sys._getframe(2)
    code = _Code(frame.f_code)
    if sys.implementation.name != "cpython" or not (asynchronous or code.enters_with(frame.f_lasti)):
        _refuse()
    skipped = Skipped(frame)
    frame.f_trace = _until_bound(code, skipped, entered)
    frame.f_trace_lines = False
    frame.f_trace_opcodes = True
    sys.settrace(lambda *_: None)


def _until_bound(code: _Code, skipped: Skipped, entered: object) -> Trace:
    """Waits for the instruction that binds or drops the result, and raises at the first guarded one from there."""
    raise_at: int | None = None

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal raise_at
        here = frame.f_lasti
        if event != "opcode" or (raise_at is not None and here != raise_at):
            return trace
        name = code.name(here)
        if raise_at is not None or (name == "POP_TOP" and code.guarded_by_with(here)):
            raise skipped
        if name != "POP_TOP" and not name.startswith("STORE_"):
            return trace
        if not code.guarded_by_with(here):
            skipped.over()
            _refuse()
        following = code.after(here)
        if code.guard(following) == code.guard(here):
            raise_at = following
            return trace
        skipped_nothing = code.name(following) == _EMPTY
        if skipped_nothing:
            skipped.over()
            return None
        # The block begins with a guard of its own (try), so the result is bound here instead of by the instruction.
        _bind(code, frame, here, entered, skipped)
        raise skipped

    return trace


def _bind(code: _Code, frame: FrameType, at: int, value: object, skipped: Skipped) -> None:
    name = code.variable(at)
    if name is None:
        skipped.over()
        _refuse()
    # A trace function's writes to f_locals reach the frame (what a debugger's assignments do).
    (frame.f_globals if code.name(at) == "STORE_GLOBAL" else frame.f_locals)[name] = value


def _refuse() -> NoReturn:
    raise TypeError("an effect that happened already can only be skipped by a with statement of its own")


class _Code:
    """The instructions of a function, and which handler guards each."""

    def __init__(self, code: CodeType) -> None:
        self._code = code
        self._bytes = code.co_code
        self._guards = _guards(code.co_exceptiontable)

    def name(self, at: int) -> str:
        return opname[self._bytes[at]]

    def after(self, at: int) -> int:
        """The next instruction that does something."""
        at += _CODE_UNIT
        while at < len(self._bytes) - _CODE_UNIT and self.name(at) in ("NOP", "CACHE"):
            at += _CODE_UNIT
        return at

    def variable(self, at: int) -> str | None:
        """What an instruction binds, when that is a variable."""
        name, argument = self.name(at), self._bytes[at + 1]
        if self._bytes[at] < HAVE_ARGUMENT or self.name(max(0, at - _CODE_UNIT)) == "EXTENDED_ARG":
            return None
        if name == "STORE_DEREF":
            code = self._code
            cells = [*code.co_varnames, *(cell for cell in code.co_cellvars if cell not in code.co_varnames)]
            return [*cells, *code.co_freevars][argument]
        names = _BY_NAME.get(name)
        return getattr(self._code, names)[argument] if names else None

    def enters_with(self, at: int) -> bool:
        """Whether the instruction calls the __enter__ of a with statement."""
        return self.name(at) in _ENTERS or (at > 0 and self.name(at - _CODE_UNIT) in _ENTERS)

    def guarded_by_with(self, at: int) -> bool:
        handler = self.guard(at)
        if handler is None:
            return False
        end = min(handler + 3 * _CODE_UNIT, len(self._bytes))
        return any(self.name(place) == "WITH_EXCEPT_START" for place in range(handler, end, _CODE_UNIT))

    def guard(self, at: int) -> int | None:
        """Where an exception raised by the instruction goes."""
        return next((handler for start, end, handler in self._guards if start <= at < end), None)


def _guards(table: bytes) -> list[tuple[int, int, int]]:
    """The code object's exception table as (start, end, handler), in bytes of code; they do not overlap.

    Numbers are written in groups of six bits, most significant first; 0x40 says that another group follows.
    """
    numbers: list[int] = []
    value = 0
    for byte in table:
        value = value << 6 | byte & 0x3F
        if not byte & 0x40:
            numbers.append(value * _CODE_UNIT)
            value = 0
    entries = zip(numbers[0::4], numbers[1::4], numbers[2::4], strict=True)
    return [(start, start + length, handler) for start, length, handler in entries]
