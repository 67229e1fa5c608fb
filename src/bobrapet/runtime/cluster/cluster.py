"""Everything that belongs to one API server: connection, mapper, cache, client, event recorders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from bobrapet.runtime import cache as caches
from bobrapet.runtime.cache import Cache
from bobrapet.runtime.client.apiutil import DynamicRESTMapper, RESTMapper, gvk_for_class
from bobrapet.runtime.client.client import ApiClient, CacheOptions
from bobrapet.runtime.client.interfaces import Client, Reader
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.internal.recorder.recorder import Provider
from bobrapet.runtime.recorder import EventRecorder
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.rest.interface import Rest
from bobrapet.runtime.scheme import GroupVersionKind, Scheme


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the parts are made. The makers are there for tests and for unusual set-ups."""

    scheme: Scheme = field(default_factory=Scheme)
    rest: Rest | None = None
    """A connection to use instead of opening one; it is then not closed."""

    mapper_provider: Callable[[Rest], RESTMapper] = DynamicRESTMapper
    cache: caches.Options = field(
        default_factory=lambda: caches.Options(default_transform=caches.transform_strip_managed_fields)
    )
    new_cache: Callable[..., Awaitable[Cache]] = caches.new
    client_disable_cache_for: tuple[type[Any], ...] = ()
    """Classes that the client always reads live."""

    client_cache_unstructured: bool = False
    """Let the client read `Unstructured` from the cache as well."""

    read_your_writes: bool | Collection[type[Any]] = False
    """Reads wait (2 s at most) until the cache has seen what this process wrote: of all kinds, or of these classes."""


class Cluster:
    """Made by `new`. A runnable: `start()` runs the cache until cancelled."""

    def __init__(
        self,
        rest: Rest,
        owns_rest: bool,
        scheme: Scheme,
        mapper: RESTMapper,
        cache: Cache,
        options: Options,
        clock: Clock,
        fence: Callable[[], None] | None = None,
    ) -> None:
        self.rest = rest
        self.scheme = scheme
        self.rest_mapper = mapper
        self.cache = cache
        listener = _listener(cache, scheme, options.read_your_writes)
        self.client: Client = ApiClient(
            rest,
            scheme,
            mapper,
            cache=CacheOptions(
                reader=cache,
                disable_for=options.client_disable_cache_for,
                unstructured=options.client_cache_unstructured,
            ),
            fence=fence,
            listener=listener,
        )
        self.api_reader: Reader = ApiClient(rest, scheme, mapper)
        self.recorders = Provider(ApiClient(rest, scheme, mapper), clock=clock)
        self._owns_rest = owns_rest

    def get_event_recorder(self, name: str) -> EventRecorder:
        """A recorder that reports as `name`."""
        return self.recorders.recorder(name)

    async def start(self) -> None:
        await self.cache.start()

    async def close(self) -> None:
        """Closes the connection, if it was opened here."""
        if self._owns_rest:
            await self.rest.close()


async def new(
    config: RestConfig | None,
    options: Options | None = None,
    *,
    clock: Clock = REAL_CLOCK,
    fence: Callable[[], None] | None = None,
) -> Cluster:
    """Puts a cluster together; nothing runs, and nothing is asked of the server that the options do not need.

    `fence` is asked before each write of the client.
    """
    options = options or Options()
    if options.rest is None and config is None:
        raise ValueError("a cluster needs a RestConfig, or Options(rest=...)")
    rest = options.rest or RestClient(config)  # type: ignore[arg-type]  # not None here
    mapper = options.mapper_provider(rest)
    try:
        cache = await options.new_cache(rest, options.scheme, mapper, options.cache, clock=clock)
    except BaseException:
        if options.rest is None:
            await rest.close()
        raise
    return Cluster(rest, options.rest is None, options.scheme, mapper, cache, options, clock, fence)


class _SomeKinds:
    """Tells the cache of the writes of some kinds only."""

    def __init__(self, cache: Cache, kinds: frozenset[GroupVersionKind]) -> None:
        self._cache = cache
        self._kinds = kinds

    def written(self, gvk: GroupVersionKind, key: ObjectKey, resource_version: str) -> None:
        if gvk in self._kinds:
            self._cache.written(gvk, key, resource_version)

    def deleted(self, gvk: GroupVersionKind, key: ObjectKey, uid: str) -> None:
        if gvk in self._kinds:
            self._cache.deleted(gvk, key, uid)


def _listener(cache: Cache, scheme: Scheme, wanted: bool | Collection[type[Any]]) -> Cache | _SomeKinds | None:
    if isinstance(wanted, bool):
        return cache if wanted else None
    return _SomeKinds(cache, frozenset(gvk_for_class(cls, scheme) for cls in wanted))
