"""Facts about the built-in Kubernetes types, written by hack/apiserver-tables: see there."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec


@cache
def load(name: str) -> dict[str, Any]:
    """One table."""
    table: dict[str, Any] = msgspec.json.decode((files(__name__) / name).read_bytes())
    return table
