"""Payloads: values too large for an API object, kept in a store and referred to (spec workloads 10).

    store = open_store(from_environ(os.environ))
    output = dehydrate(result, store, output_prefix("team-a", "run1-fetch"))
    inputs = hydrate(inputs, store)

Stores: a folder (`FileStore`), an S3 bucket (`S3Store`, extra `s3`), memory (`MemoryStore`, for tests). All calls
block; a caller with an event loop makes them in a thread.
"""

from bobrapet.storage.body import Body
from bobrapet.storage.dehydrate import Dehydrated, Limits, SchemaIdentity, Write, dehydrate, plan_dehydration
from bobrapet.storage.errors import (
    AccessDenied,
    BackendUnavailable,
    PayloadCorrupt,
    PayloadNotFound,
    PayloadTooLarge,
    ReferenceRefused,
    Retriable,
    SelectionFailed,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageMissing,
)
from bobrapet.storage.files import FileStore
from bobrapet.storage.hydrate import Budget, hydrate, references
from bobrapet.storage.layout import cache_path, check_namespace, check_path, input_prefix, log_path, output_prefix
from bobrapet.storage.memory import MemoryStore
from bobrapet.storage.opening import open_store
from bobrapet.storage.retries import Retries
from bobrapet.storage.settings import FileSettings, S3Settings, StoreSettings, from_environ, operation_timeout
from bobrapet.storage.store import ObjectInfo, Reading, Store

__all__ = [
    "AccessDenied",
    "BackendUnavailable",
    "Body",
    "Budget",
    "Dehydrated",
    "FileSettings",
    "FileStore",
    "Limits",
    "MemoryStore",
    "ObjectInfo",
    "PayloadCorrupt",
    "PayloadNotFound",
    "PayloadTooLarge",
    "Reading",
    "ReferenceRefused",
    "Retriable",
    "Retries",
    "S3Settings",
    "SchemaIdentity",
    "SelectionFailed",
    "StorageError",
    "StorageFull",
    "StorageMisconfigured",
    "StorageMissing",
    "Store",
    "StoreSettings",
    "Write",
    "cache_path",
    "check_namespace",
    "check_path",
    "dehydrate",
    "from_environ",
    "hydrate",
    "input_prefix",
    "log_path",
    "open_store",
    "operation_timeout",
    "output_prefix",
    "plan_dehydration",
    "references",
]
