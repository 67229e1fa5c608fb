"""The block of a `with` statement is left out, whatever stands in it, and nothing else changes."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from types import TracebackType
from typing import Any

import pytest

from bobrapet.sdk.skipping import Skipped, skip_block


class Once:
    """Skips its block when asked to."""

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.left = 0

    def __enter__(self) -> Once:
        if self.skip:
            skip_block(self)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, where: TracebackType | None) -> bool:
        self.left += 1
        if isinstance(error, Skipped):
            error.over()
            return True
        return False

    async def __aenter__(self) -> Once:
        await asyncio.sleep(0)
        if self.skip:
            skip_block(self, asynchronous=True)
        return self

    __aexit__: Any = None


async def _aexit(self: Once, kind: Any, error: BaseException | None, where: TracebackType | None) -> bool:
    return self.__exit__(kind, error, where)


Once.__aexit__ = _aexit


def named(once: Once, ran: list[str]) -> Any:
    with once as it:
        ran.append("block")
    return it


def unnamed_on_one_line(once: Once, ran: list[str]) -> Any:
    with once: ran.append("block")  # fmt: skip  # noqa: E701
    return once


def bound_to_an_attribute(once: Once, ran: list[str]) -> Any:
    class Holder:
        it: Once

    with once as Holder.it, contextlib.nullcontext():
        ran.append("block")
    return Holder.it


def returning(once: Once, ran: list[str]) -> Any:
    with once:
        return ran.append("block") or once
    return once


def beginning_with_try(once: Once, ran: list[str]) -> Any:
    with once as it:
        try:
            ran.append("block")
        except BaseException:
            ran.append("except")
            raise
        finally:
            ran.append("finally")
    return it


def beginning_with_another_with(once: Once, ran: list[str]) -> Any:
    with once as it:  # noqa: SIM117
        with contextlib.nullcontext():
            ran.append("block")
    return it


def beginning_with_a_loop(once: Once, ran: list[str]) -> Any:
    with once as it:
        while True:
            ran.append("block")
            break
    return it


def inside_try_and_loop(once: Once, ran: list[str]) -> Any:
    for _ in range(1):
        try:
            with once as it:
                ran.append("block")
        except BaseException:
            ran.append("caught outside")
    return it


def in_a_closure(once: Once, ran: list[str]) -> Any:
    it: Once

    def inner() -> None:
        nonlocal it
        with once as it:
            ran.append("block")

    inner()
    return it


def in_a_coroutine(once: Once, ran: list[str]) -> Any:
    async def run() -> Once:
        async with once as it:
            ran.append("block")
        return it

    return asyncio.run(run())


def in_a_coroutine_unnamed(once: Once, ran: list[str]) -> Any:
    async def run() -> Once:
        async with once:
            await asyncio.sleep(0)
            ran.append("block")
        return once

    return asyncio.run(run())


SHAPES = [
    named,
    unnamed_on_one_line,
    bound_to_an_attribute,
    returning,
    beginning_with_try,
    beginning_with_another_with,
    beginning_with_a_loop,
    inside_try_and_loop,
    in_a_closure,
    in_a_coroutine,
    in_a_coroutine_unnamed,
]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_block_is_skipped_whatever_its_shape(shape: Any) -> None:
    before = sys.gettrace()
    for skip in (False, True, True, False):  # also again in the same code
        once, ran = Once(skip), []
        assert shape(once, ran) is once
        assert ("block" in ran) is not skip
        assert skip is (not ran), ran
        assert once.left == 1
    assert sys.gettrace() is before


@pytest.mark.parametrize("skip", [True, False])
def test_an_empty_block_is_left_as_it_is(skip: bool) -> None:
    with Once(skip):
        pass
    with Once(skip) as it:
        ...
    assert it.left == 1


def test_a_debugger_sees_on_what_it_saw_before() -> None:
    lines: list[int] = []

    def tracer(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code is named.__code__ and event == "line":
            lines.append(frame.f_lineno - named.__code__.co_firstlineno)
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        named(Once(True), [])
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert 2 not in lines, "the line of the block"
    assert 3 in lines


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_place_where_no_block_can_be_skipped_is_refused() -> None:
    before = sys.gettrace()
    ran = []
    with contextlib.ExitStack() as stack, pytest.raises(TypeError, match="with statement of its own"):
        ran.append(stack.enter_context(Once(True)))
    with pytest.raises(TypeError, match="with statement of its own"):
        _ = Once(True).__enter__()
    assert ran == []
    assert sys.gettrace() is before
