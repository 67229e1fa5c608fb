"""Reads from memory: informers behind the interface of a client's reader."""

from bobrapet.runtime.cache.cache import ALL_NAMESPACES, ByObject, Cache, Config, Options, new
from bobrapet.runtime.cache.errors import CacheNotStarted, CacheSyncTimeout, ResourceNotCached
from bobrapet.runtime.cache.informer_cache import InformerCache
from bobrapet.runtime.toolscache.record import transform_strip_managed_fields

__all__ = [
    "ALL_NAMESPACES",
    "ByObject",
    "Cache",
    "CacheNotStarted",
    "CacheSyncTimeout",
    "Config",
    "InformerCache",
    "Options",
    "ResourceNotCached",
    "new",
    "transform_strip_managed_fields",
]
