"""How a component's process ends: one report, in time, whoever writes it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from threading import Lock, Timer
from typing import Any

from bobrapet.sdk.environment import Environment
from bobrapet.sdk.errors import ComponentFault, EnvironmentInvalid, Interrupted, OutputInvalid
from bobrapet.sdk.link import Link
from bobrapet.sdk.log import Log
from bobrapet.sdk.outcome import EXIT_UNREPORTED, Failed, Outcome, failure, status_patch
from bobrapet.sdk.report import Fenced, ReportError, ReportTooLarge
from bobrapet.sdk.storage import StepStorage


class Ending:
    """Reports the result, once: the component's own, or the interruption that it did not heed in time."""

    def __init__(self, environment: Environment, log: Log, link: Link, storage: StepStorage, *, grace: float) -> None:
        self._environment = environment
        self._log = log
        self._link = link
        self._storage = storage
        self._grace = grace
        self._lock = Lock()
        self._deadline: Timer | None = None

    def expect(self, error: Interrupted) -> None:
        """Called with an interruption as it is delivered: from here the time to clean up runs."""
        if self._deadline is None:
            self._deadline = Timer(self._grace, self._give_up, [error])
            self._deadline.daemon = True
            self._deadline.start()

    def reported(self, outcome: Outcome) -> int:
        """The exit code of the process after `outcome` has been written, or could not be."""
        self._lock.acquire()  # and never released: who reports first also ends the process
        if self._deadline is not None:
            self._deadline.cancel()
        return self._write(outcome, self._link, self._saved_log())

    def _saved_log(self) -> dict[str, Any]:
        """The part of the status that tells where the log is; empty without a store, or when that fails."""
        lines = self._log.kept_lines
        if not lines:
            return {}
        try:
            return {"logs": self._storage.save_log(lines)}
        except (ComponentFault, OSError) as error:
            self._log.warning("the log could not be stored", error=str(error))
            return {}

    def _give_up(self, error: Interrupted) -> None:
        """In a thread: the function still runs, and the process must end before it is killed without a word."""
        if not self._lock.acquire(blocking=False):
            return
        self._log.error("the component did not end in time", interruption=str(error), graceSeconds=self._grace)
        link = Link(self._link.connect, self._link.step, budget=5.0)
        code = self._write(failure(error, secrets=self._log.hidden), link)
        sys.stderr.flush()
        os._exit(code)

    def _write(self, outcome: Outcome, link: Link, more: Mapping[str, Any] | None = None) -> int:
        try:
            link.report({**status_patch(outcome, started_at=self._environment.started_at), **(more or {})})
        except ReportTooLarge as error:
            smaller = failure(OutputInvalid(f"the API server refuses the output: {error}", code="OUTPUT_TOO_LARGE"))
            return EXIT_UNREPORTED if isinstance(outcome, Failed) else self._write(smaller, link, more)
        except Fenced as error:
            self._log.warning("the result is dropped", reason=str(error))
            return outcome.exit_code
        except (ReportError, EnvironmentInvalid) as error:
            self._log.error("the result could not be written to the StepRun", error=str(error))
            return EXIT_UNREPORTED if outcome.retryable else outcome.exit_code
        return outcome.exit_code
