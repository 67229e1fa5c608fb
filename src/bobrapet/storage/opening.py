"""From settings to a store."""

from __future__ import annotations

import importlib.util

from bobrapet.storage.errors import StorageMisconfigured
from bobrapet.storage.files import FileStore
from bobrapet.storage.settings import FileSettings, StoreSettings
from bobrapet.storage.store import Store


def open_store(settings: StoreSettings) -> Store:
    """The store. Raises StorageMisconfigured."""
    if isinstance(settings, FileSettings):
        return FileStore(settings.path)
    if importlib.util.find_spec("obstore") is None:
        raise StorageMisconfigured(
            "payloads are kept in S3, but the library for it is missing; install bobrapet[s3] into the image"
        )
    from bobrapet.storage.s3 import S3Store  # its library is large, and steps with file storage do without

    return S3Store(settings)
