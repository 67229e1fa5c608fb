"""Structured logging (spec runtime section 17).

`get_logger("controller")` gives a logger with the methods of structlog. As long as `setup()` was not called its lines
go to the standard library's `logging`, as befits a library; afterwards they are JSON (or console text, by structlog) on
one stream, with the fields that `with_fields` put around the task, and lines of `logging` go the same way.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, TextIO

import msgspec

ROOT = "bobrapet.runtime"

DEBUG, INFO, WARNING, ERROR, PANIC = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL
_LEVELS = {"debug": DEBUG, "info": INFO, "error": ERROR, "panic": PANIC}
_NAMES = {DEBUG: "debug", INFO: "info", WARNING: "warn", ERROR: "error", PANIC: "panic"}

Encoder = Literal["json", "console"]
TimeEncoding = Literal["epoch", "millis", "nano", "iso8601", "rfc3339", "rfc3339nano"]


def parse_level(text: str) -> int:
    """Reads `--zap-log-level`: debug, info, error, panic, or a verbosity (any positive number is debug)."""
    if text in _LEVELS:
        return _LEVELS[text]
    if text.isdigit() and int(text) > 0:
        return DEBUG
    raise ValueError(f"log level {text!r} is none of {', '.join(_LEVELS)}, nor a positive integer")


class Logger:
    """Logs an event with fields. The methods are those of structlog; fields are keyword arguments."""

    __slots__ = ("_fields", "name")

    def __init__(self, name: str, fields: dict[str, Any] | None = None) -> None:
        self.name = name
        self._fields = fields or {}

    def bind(self, **fields: Any) -> Logger:
        """The same logger with more fields."""
        return Logger(self.name, {**self._fields, **fields})

    def is_enabled_for(self, level: int) -> bool:
        return level >= _state.level

    def debug(self, event: str, /, **fields: Any) -> None:
        self.log(DEBUG, event, **fields)

    def info(self, event: str, /, **fields: Any) -> None:
        self.log(INFO, event, **fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self.log(WARNING, event, **fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """A field `error` is logged with its text and, from the stack trace level on, with where it came from."""
        self.log(ERROR, event, **fields)

    def log(self, level: int, event: str, /, **fields: Any) -> None:
        if level >= _state.level:
            _state.emit(level, self.name, event, {**_context.get(), **self._fields, **fields})


def get_logger(name: str) -> Logger:
    """A logger. Cheap, so it may be asked for at import."""
    return Logger(name)


_context: ContextVar[dict[str, Any]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed in place


@contextmanager
def with_fields(**fields: Any) -> Iterator[None]:
    """Adds fields to every line that is logged inside, in this task and those it starts."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def setup(
    *,
    level: int = INFO,
    encoder: Encoder = "json",
    time_encoding: TimeEncoding = "epoch",
    stacktrace_level: int = ERROR,
    stream: TextIO | None = None,
) -> None:
    """Sends the lines of the runtime, and those of `logging` from the same level on, to a stream (default: stderr)."""
    output = stream or sys.stderr
    render: Callable[[dict[str, Any]], str]
    if encoder == "json":
        render = _render_json
    else:
        render = _Console(output.isatty())

    def emit(severity: int, name: str, event: str, fields: dict[str, Any]) -> None:
        line: dict[str, Any] = {
            "ts": _timestamp(time_encoding),
            "level": _NAMES.get(severity, "info"),
            "logger": name,
            "msg": event,
        }
        error = fields.pop("error", None)
        line.update(fields)
        if error is not None:
            line["error"] = str(error) or type(error).__name__
            if severity >= stacktrace_level and isinstance(error, BaseException):
                line["stacktrace"] = "".join(traceback.format_exception(error))
        output.write(render(line) + "\n")
        output.flush()

    _state.level = level
    _state.emit = emit
    root = logging.getLogger()
    for handler in [*root.handlers]:
        if isinstance(handler, _FromStandardLibrary):
            root.removeHandler(handler)
    root.addHandler(_FromStandardLibrary())
    root.setLevel(max(level, WARNING))
    logging.getLogger(ROOT.partition(".")[0]).setLevel(level)


def current_level() -> int:
    """The level from which lines come out."""
    return _state.level


def set_level(level: int) -> None:
    """Changes the level while the program runs."""
    _state.level = level
    logging.getLogger(ROOT.partition(".")[0]).setLevel(level)


class _FromStandardLibrary(logging.Handler):
    """Lets lines of `logging` come out like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = dict(_context.get())
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = record.exc_info[1]
        _state.emit(record.levelno, record.name, record.getMessage(), fields)


def _to_standard_library(level: int, name: str, event: str, fields: dict[str, Any]) -> None:
    logger = logging.getLogger(f"{ROOT}.{name}")
    if logger.isEnabledFor(level):
        error = fields.pop("error", None)
        text = " ".join((event, *(f"{key}={value}" for key, value in fields.items())))
        if error is not None:
            text = f"{text}: {error}"
        logger.log(level, "%s", text, exc_info=error if isinstance(error, BaseException) else None)


class _State:
    """Where lines go now."""

    def __init__(self) -> None:
        self.level = DEBUG
        self.emit: Callable[[int, str, str, dict[str, Any]], None] = _to_standard_library


_state = _State()


class _Console:
    """Lines for people, by structlog; loaded with the first line, because that takes a while and may never come."""

    def __init__(self, colors: bool) -> None:
        self._colors = colors
        self._renderer: Callable[[Any, str, dict[str, Any]], Any] | None = None

    def __call__(self, line: dict[str, Any]) -> str:
        if self._renderer is None:
            import structlog.dev

            self._renderer = structlog.dev.ConsoleRenderer(
                colors=self._colors, timestamp_key="ts", event_key="msg", sort_keys=False
            )
        trace = line.pop("stacktrace", None)
        text = self._renderer(None, "", line)
        return f"{text}\n{trace}" if trace else str(text)


def _render_json(line: dict[str, Any]) -> str:
    return msgspec.json.encode(line, enc_hook=str).decode()


def _timestamp(encoding: TimeEncoding) -> float | int | str:
    now = datetime.now().astimezone()
    match encoding:
        case "epoch":
            return now.timestamp()
        case "millis":
            return now.timestamp() * 1e3
        case "nano":
            return int(now.timestamp() * 1e9)
        case "rfc3339":
            return now.isoformat(timespec="seconds")
        case "rfc3339nano":
            return now.isoformat(timespec="microseconds")
        case "iso8601":
            return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}" + now.strftime("%z")
