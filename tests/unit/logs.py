"""The log of this process, for a test: afterwards everything is as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

from bobrapet.runtime.log import log


@contextmanager
def restored() -> Iterator[StringIO]:
    """Gives a stream for `log.setup`, and takes back in the end what that did."""
    loggers = logging.getLogger(), logging.getLogger("bobrapet")
    handlers, levels, state = [*loggers[0].handlers], [each.level for each in loggers], dict(vars(log._state))
    try:
        yield StringIO()
    finally:
        loggers[0].handlers[:] = handlers
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)  # which also clears what loggers remember of it
        vars(log._state).update(state)
