"""How a component ended, as the status patch and the exit code that say so (workloads 24.2 to 24.4)."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

from bobrapet.sdk.durations import format_duration
from bobrapet.sdk.errors import EngramError, Interrupted
from bobrapet.sdk.redaction import redact, shorten

EXIT_SUCCESS = 0
EXIT_FAILURE = 1
EXIT_UNREPORTED = 200
"""A result that is worth another attempt could not be written: codes from 128 are in class retry (workloads 14.2)."""

_RETRYABLE = frozenset({"retry", "rateLimited"})


class Succeeded(msgspec.Struct, frozen=True):
    output: Mapping[str, Any]

    phase: ClassVar[str] = "Succeeded"
    exit_code: ClassVar[int] = EXIT_SUCCESS
    retryable: ClassVar[bool] = True
    """Running again is the only way to a result, when this one cannot be written."""


class Failed(msgspec.Struct, frozen=True):
    error: Mapping[str, Any]
    """A structured error, version v1."""

    @property
    def phase(self) -> str:
        return "Timeout" if self.error["type"] == "timeout" else "Failed"

    @property
    def exit_code(self) -> int:
        return int(self.error["exitCode"])

    @property
    def retryable(self) -> bool:
        return bool(self.error["retryable"])


Outcome = Succeeded | Failed


def failure(error: BaseException, *, secrets: Collection[str] = ()) -> Failed:
    """The structured error v1 of an exception; what the SDK does not know is terminal."""
    kind, exit_class, exit_code, code, details = "execution_error", "terminal", EXIT_FAILURE, None, {}
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, EngramError):
        kind, exit_class, code, details, message = error.type, error.exit_class, error.code, error.details, str(error)
    elif isinstance(error, Interrupted):
        kind, exit_class, exit_code, code, message = (
            error.type, error.exit_class, error.exit_code, error.code, str(error)
        )  # fmt: skip
    structured: dict[str, Any] = {
        "version": "v1",
        "type": kind,
        "message": shorten(redact(message, secrets)) or type(error).__name__,
        "retryable": exit_class in _RETRYABLE,
        "exitCode": exit_code,
        "exitClass": exit_class,
    }
    if code:
        structured["code"] = code
    if details:
        structured["details"] = details
    return Failed(structured)


def timestamp(now: float) -> str:
    """RFC 3339 with milliseconds: steps are often shorter than a second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"


def status_patch(outcome: Outcome, *, started_at: str, now: float | None = None) -> dict[str, Any]:
    """The fields of `status` that this outcome changes."""
    now = time.time() if now is None else now
    status: dict[str, Any] = {
        "phase": outcome.phase,
        "finishedAt": timestamp(now),
    }
    began = _moment(started_at)
    if began is not None:
        status["duration"] = format_duration(now - began)
    match outcome:
        case Succeeded(output):
            status |= {"exitClass": "success", "output": output, "lastOutputAt": status["finishedAt"]}
        case Failed(error):
            status |= {
                "exitCode": outcome.exit_code,
                "exitClass": error["exitClass"],
                "lastFailureMsg": error["message"],
                "error": error,
            }
    return status


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an RFC 3339 time; None when absent or malformed (the duration is then left out)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
