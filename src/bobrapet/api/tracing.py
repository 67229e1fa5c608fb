"""Which trace a run is, without storing it anywhere (W3C Trace Context).

A StoryRun's trace is its uid, a StepRun's span a hash of its uid. So every process that knows the objects knows the
ids: a manager that is started anew goes on with the same trace, and a component's spans hang below those of its step.
"""

from __future__ import annotations

from hashlib import sha256

TRACEPARENT = "TRACEPARENT"
"""The variable in which a component finds its place in the trace."""


def trace_id(run_uid: str) -> int:
    """128 bits, never 0."""
    digits = run_uid.replace("-", "")
    try:
        found = int(digits, 16) if len(digits) == 32 else 0
    except ValueError:
        found = 0
    return found or int.from_bytes(sha256(run_uid.encode()).digest()[:16], "big") or 1


def span_id(uid: str) -> int:
    """64 bits, never 0."""
    return int.from_bytes(sha256(uid.encode()).digest()[:8], "big") or 1


def traceparent(run_uid: str, step_uid: str) -> str:
    """The context of whatever a step starts; sampled."""
    return f"00-{trace_id(run_uid):032x}-{span_id(step_uid):016x}-01"
