"""Versions that this operator wrote itself, so that seeing them come back wakes nobody.

A plan counts with what it writes: while a run or step goes on, the pass that follows from its own status alone has
nothing to do that the plan did not say (`wake_at`). A pass that failed or lost to another writer is repeated anyway.
"""

from __future__ import annotations

from typing import Any, Final

from bobrapet.runtime.event import UpdateEvent

MOST: Final = 10_000  # versions whose events never came; forgetting them costs a pass each


class Echoes:
    """The last version of each object that was written here."""

    def __init__(self) -> None:
        self._written: dict[str, str] = {}

    def note(self, obj: Any) -> None:
        """`obj` is what the API server answered to our write."""
        if len(self._written) >= MOST:
            self._written.clear()
        self._written[obj.metadata.uid or ""] = obj.metadata.resource_version or ""

    def looked_at(self, obj: Any) -> None:
        """A pass begins with this version. If it is older than the one written here, its verdict is about the past:
        then the echo must wake somebody."""
        if self._written.get(obj.metadata.uid or "", obj.metadata.resource_version) != obj.metadata.resource_version:
            del self._written[obj.metadata.uid or ""]

    def is_echo(self, event: UpdateEvent[Any]) -> bool:
        """Whether the new version is exactly the one that was written here."""
        new = event.metadata_new
        if new is None or event.is_resync or self._written.get(new.uid or "") != new.resource_version:
            return False
        del self._written[new.uid or ""]
        return True
