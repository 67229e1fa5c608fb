"""Log lines of a component: one JSON object a line on stderr, with the run and step that they belong to."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

import msgspec

from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.outcome import timestamp
from bobrapet.sdk.redaction import redact


class Log:
    """`ctx.log.info("fetched", url=url, bytes=n)`: a message that does not vary, and fields that do.

    Debug lines appear when the step runs with `debug: true`. Values of the step's secrets are blanked out.
    """

    def __init__(
        self,
        step: StepIdentity | None = None,
        *,
        debug: bool = False,
        secrets: tuple[str, ...] = (),
        stream: TextIO | None = None,
    ) -> None:
        self._debug = debug
        self._secrets = secrets
        self._stream = stream
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
        text = redact(msgspec.json.encode(line, enc_hook=str).decode(), self._secrets)
        print(text, file=self._stream or sys.stderr, flush=True)


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
