"""Signals: what a running component tells the Story, and progress, which is one of them (workloads 19.1).

A signal is written into the StepRun's status at once: the latest value of its key, and an event with a sequence number
that grows over all attempts. A StepRun is read by many, so a value is written only when it is meant to be seen; else
its type, size and digest.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bobrapet.sdk.codec import json_value
from bobrapet.sdk.errors import EngramError, RetryError
from bobrapet.sdk.ledger import appended, replacing, sequence, summary
from bobrapet.sdk.link import Link
from bobrapet.sdk.log import Log
from bobrapet.sdk.outcome import timestamp
from bobrapet.sdk.report import ReportError
from bobrapet.sdk.step_run_api import ApiError

MAX_PAYLOAD = 8192
_BUDGET = 3.0  # seconds that telling may take away from doing
_PROGRESS_INTERVAL = 1.0


class SignalFailed(RetryError):
    """A signal could not be written."""


class SignalEvent(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of `status.signalEvents`. `payload` is the summary of the value, not the value."""

    seq: int
    key: str
    emitted_at: str = ""
    payload: Mapping[str, Any] = {}


class Signals:
    """`ctx.signals`."""

    def __init__(self, link: Link, *, log: Log, max_payload: int = MAX_PAYLOAD) -> None:
        self._link = link
        self._log = log
        self._max_payload = max_payload

    def emit(self, key: str, value: Any, *, visible: bool = False, seq: int | None = None) -> int:
        """Writes one signal and returns its sequence number.

        Expressions read it as `steps.<step>.signals.<key>`; dots in the key nest. With `visible` the value stands in
        `.sample` of that (at most 8 KiB of JSON), without it only its type, size and digest can be read. `seq` makes an
        emission repeatable: a number that is recorded already is not written again.

        Raises SignalFailed when it cannot be written within 3 s.
        """
        if not key:
            raise EngramError("a signal needs a key", code="BAD_SIGNAL")
        value = json_value(value, what=f"signal {key}")
        payload = summary(value)
        latest = self._visible(key, value) if visible else None
        written = [seq or 0]

        def change(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
            events = status.get("signalEvents") or []
            if seq is not None and any(event.get("seq") == seq for event in events):
                return None
            written[0] = seq if seq is not None else sequence(events)
            event = {"seq": written[0], "key": key, "emittedAt": timestamp(time.time()), "payload": payload}
            value = replacing((status.get("signals") or {}).get(key), latest or payload | {"redacted": True})
            return {"signals": {key: value}, "signalEvents": appended(events, event)}

        self._write(key, change)
        return written[0]

    def delete(self, key: str) -> None:
        """Removes the latest value; its events stay. Raises SignalFailed."""
        self._write(key, lambda status: {"signals": {key: None}} if key in (status.get("signals") or {}) else None)

    def replay(self, after: int = 0) -> list[SignalEvent]:
        """Recorded events with a larger number, oldest first: at most the newest 256. Raises SignalFailed."""
        try:
            with self._link.api() as api:
                events = (api.get().get("status") or {}).get("signalEvents") or []
        except ApiError as error:
            raise SignalFailed(f"the signals of {self._link.step} cannot be read: {error}") from error
        found = [msgspec.convert(event, SignalEvent) for event in events if int(event.get("seq") or 0) > after]
        return sorted(found, key=lambda event: event.seq)

    def _visible(self, key: str, value: Any) -> dict[str, Any] | None:
        """The envelope that carries a value, or None when the value is too large for it."""
        raw = msgspec.json.encode(value)
        if len(raw) > self._max_payload:
            self._log.warning("signal too large to be visible", key=key, bytes=len(raw), limit=self._max_payload)
            return None
        meta = {
            "format": "json",
            "contentType": "application/json",
            "sizeBytes": len(raw),
            "hashSha256": hashlib.sha256(raw).hexdigest(),
        }
        return {"meta": meta, "sample": value}

    def _write(self, key: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]) -> None:
        try:
            self._link.amend(change, budget=_BUDGET)
        except (ReportError, ApiError) as error:
            raise SignalFailed(f"signal {key} could not be written: {error}") from error


class Progress:
    """`ctx.progress(...)`: the signal `progress`, at most once a second, and never a reason to fail."""

    def __init__(self, signals: Signals, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._signals = signals
        self._log = log
        self._clock = clock
        self._told_at = float("-inf")
        self._untold: dict[str, Any] | None = None

    def __call__(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tells that `done` of `total` is behind us (of 1, when no total is given)."""
        whole = 1.0 if total is None else float(total)
        fraction = min(1.0, max(0.0, done / whole)) if whole else 1.0
        progress: dict[str, Any] = {"done": done, "fraction": round(fraction, 4)}
        if total is not None:
            progress["total"] = total
        if message:
            progress["message"] = message
        self._untold = progress
        if self._clock() - self._told_at >= _PROGRESS_INTERVAL or done >= whole:
            self.flush()

    def flush(self) -> None:
        """Tells what was held back."""
        progress, self._untold = self._untold, None
        if progress is None:
            return
        self._told_at = self._clock()
        try:
            self._signals.emit("progress", progress, visible=True)
        except EngramError as error:
            self._log.warning("progress could not be told", error=str(error))
