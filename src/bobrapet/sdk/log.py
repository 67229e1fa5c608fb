"""Log lines of a component: one JSON object a line on stderr, with the run and step that they belong to."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

import msgspec

from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.outcome import timestamp
from bobrapet.sdk.redaction import redact

KEPT_BYTES = 1 << 20


class Log:
    """`ctx.log.info("fetched", url=url, bytes=n)`: a message that does not vary, and fields that do.

    Debug lines appear when the step runs with `debug: true`. Values of the step's secrets are blanked out.
    """

    def __init__(
        self,
        step: StepIdentity | None = None,
        *,
        debug: bool = False,
        secrets: Iterable[str] = (),
        stream: TextIO | None = None,
    ) -> None:
        self._debug = debug
        self.hidden: set[str] = set()
        """Values that are blanked out: those of the step's secrets, as they are and as JSON writes them."""
        self._stream = stream
        self._kept: list[bytes] | None = None
        self._kept_bytes = 0
        self._about: dict[str, Any] = (
            {
                "storyrun": step.story_run,
                "step": step.step,
                "steprun": step.step_run,
                "attempt": (step.attempt or 0) + 1,
            }
            if step
            else {}
        )
        for secret in secrets:
            self.hide(secret)

    def hide(self, secret: str) -> None:
        """Blanks a value out of everything that is written from now on."""
        self.hidden |= {secret, msgspec.json.encode(secret).decode()[1:-1]}

    def debug(self, message: str, **fields: Any) -> None:
        if self._debug:
            self._write("debug", message, fields)

    def info(self, message: str, **fields: Any) -> None:
        self._write("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._write("warning", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        self._write("error", message, fields)

    def _write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        now = time.time()
        line = {"time": timestamp(now), "level": level, "msg": message, **self._about, **fields}
        text = redact(_encoded(line), self.hidden)
        with suppress(OSError, ValueError):  # nobody listens any more; the work goes on
            print(text, file=self._stream or sys.stderr, flush=True)
        if self._kept is not None:
            self._keep(self._kept, text.encode(errors="replace") + b"\n")

    def keep_lines(self) -> None:
        """From now on lines are kept too, the last mebibyte of them (workloads 19.3)."""
        self._kept = self._kept if self._kept is not None else []

    @property
    def kept_lines(self) -> bytes:
        """What was kept, oldest first."""
        return b"".join(self._kept or ())

    def _keep(self, kept: list[bytes], line: bytes) -> None:
        kept.append(line)
        self._kept_bytes += len(line)
        while self._kept_bytes > KEPT_BYTES and len(kept) > 1:
            self._kept_bytes -= len(kept.pop(0))


def _encoded(line: dict[str, Any]) -> str:
    """Whatever a component logs becomes a line: a log never fails the work."""
    try:
        return msgspec.json.encode(line, enc_hook=str).decode()
    except (UnicodeError, TypeError, ValueError, RecursionError):  # file names that are no Unicode, keys of any type
        import json

        return json.dumps({str(key): repr(value) for key, value in line.items()})


def adopt_standard_logging(log: Log, *, debug: bool) -> None:
    """Lets lines of `logging` join ours. A component that does not use that module does not pay for its import."""
    if "logging" not in sys.modules:
        return
    import logging

    if logging.getLogger().handlers:
        return
    levels = {"DEBUG": log.debug, "INFO": log.info, "WARNING": log.warning}

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields = {"logger": record.name}
            if record.exc_info:
                fields["traceback"] = logging.Formatter().formatException(record.exc_info)
            levels.get(record.levelname, log.error)(record.getMessage(), **fields)

    root = logging.getLogger()
    root.addHandler(Forward())
    root.setLevel(logging.DEBUG if debug else logging.INFO)
