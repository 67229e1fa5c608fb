"""Failures of the cache.

ControllerRuntimeError
└── CacheError
    ├── CacheNotStarted       a read before the cache runs: an empty answer would be a lie
    ├── CacheSyncTimeout      an informer did not fill in time
    ├── ResourceNotCached     no informer for this kind, and none may be started by a read
    ├── NamespaceNotCached    the cache does not look at this namespace
    └── UnsupportedByCache    a question that only the API server can answer
"""

from __future__ import annotations

from bobrapet.runtime.errors import ControllerRuntimeError


class CacheError(ControllerRuntimeError):
    """Root of the failures of the cache."""


class CacheNotStarted(CacheError):
    """The cache does not run yet."""


class CacheSyncTimeout(CacheError, TimeoutError):
    """An informer did not fill in time; missing rights are the usual cause."""


class ResourceNotCached(CacheError):
    """Nobody watches this kind, and reads may not start to."""


class NamespaceNotCached(CacheError):
    """This namespace is not among those that the cache watches."""


class UnsupportedByCache(CacheError):
    """The cache cannot answer this; ask the API reader."""
