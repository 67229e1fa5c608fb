"""The status of a StepRun as the engine wants it (spec workloads 2.3, 14.5, 16.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bobrapet.api.enums import ExitClass, Phase
from bobrapet.api.timestamps import format_deadline, format_time
from bobrapet.engine.outcome import FINALIZED
from bobrapet.engine.retry import UNKNOWN_EXIT
from bobrapet.engine.status import StatusWriter

if TYPE_CHECKING:
    from bobrapet.api import StepRun

MAX_FAILURE_BYTES = 8192

_OF_AN_ATTEMPT = (
    "exitClass",
    "exitCode",
    "error",
    "output",
    "lastOutputAt",
    "logs",
    "podName",
    *("finishedAt", "duration"),
)


class StepStatus(StatusWriter):
    """The status of a StepRun. Every phase write carries `retries`, which the CRD requires."""

    def __init__(self, step: StepRun, now: datetime) -> None:
        super().__init__(step, now)
        self._attempt = step.status.retries or 0

    def phase(self, phase: Phase, reason: str, message: str) -> None:
        """Sets a phase that is not the end."""
        self.keep("retries", max(self._attempt, 0))
        if phase in (Phase.PENDING, Phase.RUNNING, Phase.BLOCKED) and not self.get("startedAt"):
            self.keep("startedAt", format_deadline(self._now))
        if phase is Phase.BLOCKED:
            self.set("lastFailureMsg", message)
        self._lifecycle(phase, reason, message)

    def retry(self, at: datetime, message: str, failure: str) -> None:
        """Goes back to Pending for another attempt, with nothing left of the last one (14.5)."""
        self._attempt += 1
        self._forget_attempt()
        self.set("lastFailureMsg", shorten_bytes(failure))
        self.keep("nextRetryAt", format_deadline(at))
        self.phase(Phase.PENDING, "RetryScheduled", message)

    def ignore_report(self, message: str) -> None:
        """Takes back what a process wrote that has no say any more; the retry stands."""
        self._forget_attempt()
        self.phase(Phase.PENDING, "RetryScheduled", message)

    def _forget_attempt(self) -> None:
        for name in _OF_AN_ATTEMPT:
            self.set(name, None)

    def reuse(self, output: Mapping[str, Any]) -> None:
        """Takes over the output of an earlier run."""
        self.keep("output", dict(output))
        self.keep("lastOutputAt", format_time(self._now))

    def finish(
        self,
        phase: Phase,
        reason: str,
        message: str,
        *,
        exit_class: ExitClass | None = None,
        exit_code: int | None = None,
        pod: str = "",
        failure: str = "",
    ) -> None:
        """Writes the definitive end, and the mark that it is the controller's."""
        self.set("nextRetryAt", None)
        if exit_class is not None:
            self.keep("exitClass", exit_class.value)
        if exit_code is not None and exit_code != UNKNOWN_EXIT:
            self.set("exitCode", exit_code or None)
        if pod:
            self.keep("podName", pod)
        self.set("lastFailureMsg", shorten_bytes(failure))
        if phase is Phase.SUCCEEDED:
            self.set("error", None)
            if self.get("output") and not self.get("lastOutputAt"):
                self.keep("lastOutputAt", format_time(self._now))
        if not self.get("startedAt"):
            self.keep("startedAt", format_deadline(self._now))
        self.phase(phase, reason, message)
        self.condition(FINALIZED, True, phase.value, f"attempt {self._attempt + 1}")


def shorten_bytes(text: str, limit: int = MAX_FAILURE_BYTES) -> str:
    """`text` in at most `limit` bytes of UTF-8."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "..."
