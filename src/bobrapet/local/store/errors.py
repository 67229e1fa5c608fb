"""What can go wrong in the store.

StoreError
├── RevisionConflict    the object changed since it was read
├── ObjectTooLarge      more bytes than one object may have
├── HistoryExpired      a watch wants to resume from before the kept history
├── StoreInUse          another process holds the data directory
├── StoreDamaged        what is kept there cannot be read
└── StoreUnavailable    the log did not take the write; nothing was changed
    └── StoreFull       because the disk is full
"""

from __future__ import annotations


class StoreError(Exception):
    """Root of the store's errors."""


class RevisionConflict(StoreError):
    """The object is not at the revision the writer saw."""


class HistoryExpired(StoreError):
    """The asked revision is older than the kept history; `oldest` is the first one that still works."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")
        self.asked = asked
        self.oldest = oldest


class ObjectTooLarge(StoreError):
    """The encoded object has `size` bytes, `limit` are allowed."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"an object of {size} bytes, the limit is {limit}")
        self.size = size
        self.limit = limit


class StoreInUse(StoreError):
    """Another process holds the data directory."""


class StoreDamaged(StoreError):
    """What is kept on the disk is no store, or one that something else has written into."""


class StoreUnavailable(StoreError):
    """The log refused a write. The write did not happen, and nobody saw it."""


class StoreFull(StoreUnavailable):
    """No space left under the data directory."""
