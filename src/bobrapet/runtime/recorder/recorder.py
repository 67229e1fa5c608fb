"""Telling users what happened, in Events (controller-runtime pkg/recorder)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

NORMAL = "Normal"
WARNING = "Warning"


class EventRecorder(Protocol):
    """Records Events about objects. Never blocks, never raises: an Event is not worth a failed reconcile."""

    def event(
        self,
        regarding: Any,
        related: Any,
        type: str,
        reason: str,
        action: str,
        note: str,
        *,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Reports that `action` was taken on (or happened to) an object.

        `type` is Normal or Warning; `reason` and `action` are CamelCase words for programs; `note` is for people.
        Equal events (the note does not count) are merged into a series. `labels` are those of the Event itself, to
        find it by; controller-runtime has no counterpart.
        """
        ...
