"""Logging (spec runtime section 17)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from bobrapet.runtime.log import log as logs
from tests.unit.logs import restored


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where lines go; afterwards everything is as it was."""
    with restored() as lines:
        yield lines


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(text) for text in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object(stream: io.StringIO) -> None:
    logs.setup(stream=stream, time_encoding="epoch")
    logs.get_logger("controller").bind(controller="widget").info("Starting workers", **{"worker count": 3})
    (entry,) = lines(stream)
    assert isinstance(entry.pop("ts"), float)
    assert entry == {
        "level": "info",
        "logger": "controller",
        "msg": "Starting workers",
        "controller": "widget",
        "worker count": 3,
    }


def test_an_error_tells_what_and_where(stream: io.StringIO) -> None:
    logs.setup(stream=stream)
    try:
        raise ValueError("no good")
    except ValueError as error:
        logs.get_logger("x").error("Reconciler error", error=error)
    (entry,) = lines(stream)
    assert entry["error"] == "no good"
    assert "test_an_error_tells_what_and_where" in str(entry["stacktrace"])


async def test_fields_of_a_task_are_on_its_lines_and_no_others(stream: io.StringIO) -> None:
    logs.setup(stream=stream)
    log = logs.get_logger("x")

    async def work(name: str) -> None:
        with logs.with_fields(name=name):
            await asyncio.sleep(0)
            log.info("working")

    await asyncio.gather(work("a"), work("b"))
    log.info("done")
    assert [entry.get("name") for entry in lines(stream)] == ["a", "b", None]


def test_the_level_may_change_while_the_program_runs(stream: io.StringIO) -> None:
    logs.setup(stream=stream, level=logs.ERROR)
    log = logs.get_logger("x")
    log.info("one")
    logs.set_level(logs.DEBUG)
    log.debug("two")
    logging.getLogger("bobrapet.runtime.anything").info("three")
    logging.getLogger("somebody.else").info("four")
    assert [entry["msg"] for entry in lines(stream)] == ["two", "three"]


def test_console_lines_are_for_people(stream: io.StringIO) -> None:
    logs.setup(stream=stream, encoder="console", time_encoding="iso8601")
    logs.get_logger("x").info("hello", count=1)
    assert "hello" in stream.getvalue()
    assert "count=1" in stream.getvalue()


def test_without_setup_lines_go_to_the_standard_library(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_state", logs._State())  # whatever was set up in this process before
    with caplog.at_level(logging.INFO, "bobrapet.runtime"):
        logs.get_logger("x").info("hello", count=1)
    assert "hello count=1" in caplog.text


@pytest.mark.parametrize(("text", "level"), [("debug", logs.DEBUG), ("info", logs.INFO), ("3", logs.DEBUG)])
def test_levels_are_read_as_flags_give_them(text: str, level: int) -> None:
    assert logs.parse_level(text) == level


@pytest.mark.parametrize("text", ["loud", "-1", "0"])
def test_levels_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="log level"):
        logs.parse_level(text)
