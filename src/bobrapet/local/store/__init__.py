"""The object store of the embedded API server.

What is read is a dict in memory; what survives is a log in SQLite. One global counter gives every write its
resourceVersion, and a bounded history per resource lets watches resume. Without a path nothing touches the disk.
"""

from bobrapet.local.store.errors import (
    HistoryExpired,
    ObjectTooLarge,
    RevisionConflict,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreInUse,
    StoreUnavailable,
)
from bobrapet.local.store.feed import Change, ChangeType, Feed
from bobrapet.local.store.reading import exists, holder, read
from bobrapet.local.store.store import Key, Record, Store

__all__ = [
    "Change",
    "ChangeType",
    "Feed",
    "HistoryExpired",
    "Key",
    "ObjectTooLarge",
    "Record",
    "RevisionConflict",
    "Store",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreInUse",
    "StoreUnavailable",
    "exists",
    "holder",
    "read",
]
