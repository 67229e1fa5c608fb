"""How an exit is read, whether it is tried again, and when (spec workloads 14)."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bobrapet.api.enums import BackoffStrategy, ExitClass

if TYPE_CHECKING:
    from bobrapet.config.policy import Retry

UNKNOWN_EXIT: Final = -1
TIMEOUT_EXIT: Final = 124

MINIMUM: Final = timedelta(milliseconds=10)
MAXIMUM: Final = timedelta(hours=1)
"""Cap of the delay when the policy sets none: doubling 30 times would be 34 years."""

_RETRYABLE: Final = frozenset({ExitClass.RETRY, ExitClass.RATE_LIMITED, ExitClass.UNKNOWN})


def exit_class(code: int) -> ExitClass:
    """The class of a process exit code; UNKNOWN_EXIT when nobody knows it."""
    if code == UNKNOWN_EXIT:
        return ExitClass.UNKNOWN
    if code == 0:
        return ExitClass.SUCCESS
    if code == TIMEOUT_EXIT or 128 <= code <= 255:
        return ExitClass.RETRY
    if code == 429:
        return ExitClass.RATE_LIMITED
    return ExitClass.TERMINAL


def is_retryable(exit_class: ExitClass) -> bool:
    return exit_class in _RETRYABLE


def retry_delay(policy: Retry, attempt: int, *, seed: str, at_least: timedelta = timedelta(0)) -> timedelta:
    """The pause before the attempt after `attempt` failures (1 for the first retry).

    Jitter is drawn from `seed`, so that planning twice gives the same moment.

    Args:
        at_least: what a rate-limited component asked for; no cap shortens it.
    """
    base = policy.delay.value
    match policy.backoff.value:
        case BackoffStrategy.CONSTANT:
            factor = 1
        case BackoffStrategy.LINEAR:
            factor = attempt
        case _:
            factor = 2 ** min(attempt - 1, 30)
    cap = policy.max_delay.value or MAXIMUM
    # Compare before multiplying: timedelta overflows where the cap makes the product irrelevant anyway.
    delay = cap if base and factor > cap / base else base * factor
    delay = min(delay, cap)
    jitter = min(max(policy.jitter.value, 0), 100)
    if jitter:
        delay = min(delay + delay * (jitter / 100) * _fraction(f"{seed}/{attempt}"), cap)
    return max(delay, at_least, MINIMUM)


def _fraction(seed: str) -> float:
    """A number in [0, 1) that is the same for the same seed."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") / 2**64
