"""Go durations, as every `BUBU_*` time limit and `status.duration` are written (`1m30s`, `500ms`).

A component starts too often to import a parser from a heavier room; this one is all that it needs.
"""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_WHOLE = re.compile(rf"[+-]?(?:{_PART})+")
_PARTS = re.compile(_PART)


def parse_duration(text: str) -> float:
    """Seconds of a Go duration. Raises ValueError with what would be right."""
    text = text.strip()
    if text in {"0", "+0", "-0"}:
        return 0.0
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write for example 30s, 1m30s or 500ms")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PARTS.findall(text))
    return -seconds if text.startswith("-") else seconds


def format_duration(seconds: float) -> str:
    """The Go text of a duration, to the microsecond: `6.8132s`, `1m0.5s`, `0s`."""
    micros = max(0, round(seconds * 1_000_000))
    minutes, micros = divmod(micros, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{micros / 1_000_000:.6f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail
