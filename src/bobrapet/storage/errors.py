"""What can go wrong with payloads, and whether trying again helps.

StorageError
├── StorageMisconfigured   the settings contradict each other, or the extra `s3` is not installed
├── StorageMissing         there are references, but no store to read them from
├── ReferenceRefused       a path that leaves the store or the namespace, or a malformed reference
├── SelectionFailed        the object is there, the `$bubuStoragePath` leads nowhere in it
├── PayloadTooLarge        more than the limit allows: inline without a store, or to read at once
├── PayloadNotFound        nothing is stored at the path
└── Retriable              the same call may succeed later
    ├── PayloadCorrupt     truncated, or not what was written: digest expected and found
    ├── AccessDenied       the store refuses the credentials; they may be corrected
    ├── StorageFull        no space left
    └── BackendUnavailable the store does not answer, or answers with a fault
"""

from __future__ import annotations


class StorageError(Exception):
    """Root of what this floor raises."""


class StorageMisconfigured(StorageError):
    pass


class StorageMissing(StorageError):
    pass


class ReferenceRefused(StorageError):
    pass


class SelectionFailed(StorageError):
    pass


class PayloadTooLarge(StorageError):
    pass


class PayloadNotFound(StorageError):
    pass


class Retriable(StorageError):
    """The same call may succeed later."""


class PayloadCorrupt(Retriable):
    pass


class AccessDenied(Retriable):
    pass


class StorageFull(Retriable):
    pass


class BackendUnavailable(Retriable):
    pass
