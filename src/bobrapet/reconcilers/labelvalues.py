"""Keeps the number of values of a metric's label bounded: a series costs memory here and in Prometheus for ever."""

from __future__ import annotations

from typing import Final

OTHER: Final = "(other)"
"""What the label reads for all that came after the limit was reached."""


class LabelValues:
    """The first `limit` names that come keep a series of their own, until they are forgotten."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: set[tuple[str, str]] = set()

    def of(self, namespace: str, name: str) -> str:
        """The name, or `OTHER`."""
        if (namespace, name) in self._kept:
            return name
        if len(self._kept) >= self._limit:
            return OTHER
        self._kept.add((namespace, name))
        return name

    def forget(self, namespace: str, name: str) -> None:
        """The name is gone, its series are removed; another may come in its place."""
        self._kept.discard((namespace, name))
