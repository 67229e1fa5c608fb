"""Keeps credentials out of messages that are stored in a StepRun (workloads 24.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

REDACTED = "[REDACTED]"
MESSAGE_LIMIT = 8192  # bytes of status.error.message and lastFailureMsg (workloads 8)

_NAMES = (
    "x-api-key|api-key|api_key|access_token|refresh_token|client_secret|"
    "proxy-authorization|authorization|token|password|secret"
)
_AUTHORIZATION = re.compile(r"(?i)\b((?:proxy-)?authorization)([\"']?\s*[:=]\s*[\"']?)(bearer|basic)\s+[^\s\"',;]+")
_ASSIGNMENT = re.compile(
    rf"(?i)(?<![a-z0-9])({_NAMES})([\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|(?!(?:bearer|basic)\s)[^\s,;&}}\"']+)"
)
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@]+):[^\s/@]+@")
_SHORTEST_SECRET = 6  # a shorter value would blank out ordinary words


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without credentials: the values in `secrets`, and whatever stands behind a name such as `password=`."""
    for value in sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True):
        text = text.replace(value, REDACTED)
    text = _AUTHORIZATION.sub(rf"\1\2\3 {REDACTED}", text)
    text = _ASSIGNMENT.sub(rf"\1\2{REDACTED}", text)
    return _USERINFO.sub(rf"\1:{REDACTED}@", text)


def shorten(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """At most `limit` bytes of UTF-8, cut between characters."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode("utf-8", "ignore") + "…"
