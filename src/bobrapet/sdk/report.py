"""Writes what a component has to say into its StepRun's status, once, and only while it is still wanted.

Reading first costs one round trip and tells whether this process still speaks for the step: a pod of an earlier
attempt, or one that comes after a final phase, keeps quiet (fencing, workloads 16.4). The patch carries the
resourceVersion that was read, so nothing can slip in between; on a conflict both steps are repeated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from bobrapet.sdk.environment import StepIdentity
from bobrapet.sdk.step_run_api import ApiError, Refused, StepRunApi, Unreachable

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_TOO_LARGE = "request is too large"  # how etcd's refusal reads in the API server's answer

# Phases from which a component may not go on (workloads 2.4). Ours is more patient with a controller that is late to
# write Running: Pending, Blocked and Scheduling lead to every result.
_FINAL = frozenset({"Succeeded", "Canceled", "Timeout", "Aborted", "Finished", "Skipped", "Compensated"})
_AFTER_FAILED = frozenset({"Failed", "Succeeded"})


class ReportError(Exception):
    """The result is not in the StepRun.

    ReportError
    ├── Fenced          nobody wants it any more; nothing to do
    ├── ReportTooLarge  the API server refuses its size
    └── ReportRefused   the API server refuses, or could not be reached in time
    """


class Fenced(ReportError):
    pass


class ReportTooLarge(ReportError):
    pass


class ReportRefused(ReportError):
    pass


Change = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Decides, on the status just read, what of it changes; None: nothing."""


class Reporter:
    """Repeats reading and patching until one patch is in, within `budget` seconds."""

    def __init__(
        self,
        api: StepRunApi,
        step: StepIdentity,
        *,
        retries: int = 5,
        budget: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._api = api
        self._step = step
        self._retries = retries
        self._budget = budget
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter or _random

    def report(self, status: Mapping[str, Any]) -> None:
        """Merges the final `status` into the StepRun's. Raises ReportError."""
        self._repeat(lambda: self._attempt(lambda _: status, str(status.get("phase", ""))), self._budget)

    def amend(self, change: Change, *, budget: float | None = None) -> None:
        """Writes what `change` decides while the step goes on. Raises ReportError.

        `change` is asked again when somebody else wrote in between, so entries appended to a list are never lost.
        """
        self._repeat(lambda: self._attempt(change, ""), self._budget if budget is None else min(budget, self._budget))

    def _repeat(self, attempt: Callable[[], None], budget: float) -> None:
        deadline = self._clock() + budget
        refusals = 0
        delay = _FIRST_DELAY
        while True:
            try:
                return attempt()
            except Unreachable as error:
                # A server that restarts answers within seconds: only time ends this, not the number of tries.
                failure: ApiError = error
            except Refused as error:
                failure = error
                refusals += 1
                if error.code not in _TRANSIENT or refusals > self._retries:
                    raise self._refusal(error) from error
                delay = max(delay, error.retry_after or 0.0)
            pause = min(delay, _LONGEST_DELAY) * (0.75 + self._jitter() / 2)
            if self._clock() + pause >= deadline:
                raise ReportRefused(f"no success within {budget:g}s, last: {failure}") from failure
            self._sleep(pause)
            delay *= 2

    def _attempt(self, change: Change, phase: str) -> None:
        current = self._api.get()
        seen = current.get("status") or {}
        self._check(seen, phase)
        status = change(seen)
        if status is None:
            return
        version = (current.get("metadata") or {}).get("resourceVersion")
        patch: dict[str, Any] = {"status": status}
        if version:
            patch["metadata"] = {"resourceVersion": version}
        self._api.patch_status(patch)

    def _check(self, current: Mapping[str, Any], phase: str) -> None:
        """Raises Fenced when the step went on without this process."""
        pod, attempt = current.get("podName"), int(current.get("retries") or 0)
        if self._step.attempt is not None and attempt != self._step.attempt:
            raise Fenced(f"the step is in attempt {attempt}, this process belongs to attempt {self._step.attempt}")
        if pod and self._step.pod and pod != self._step.pod:
            raise Fenced(f"the step now runs in pod {pod}")
        now = str(current.get("phase") or "")
        if now in _FINAL or (now == "Failed" and phase not in _AFTER_FAILED):
            raise Fenced(f"the step is {now} already")

    def _refusal(self, error: Refused) -> ReportError:
        if error.code == 404:
            return Fenced("the StepRun is gone")
        if error.code == 413 or _TOO_LARGE in error.message:
            return ReportTooLarge(error.message)
        return ReportRefused(str(error))


def _random() -> float:
    """Between 0 and 1. The module for it would cost more of a component's start than all waiting does."""
    return int.from_bytes(os.urandom(4)) / (1 << 32)
