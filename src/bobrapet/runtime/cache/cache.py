"""What a cache is, and how one is put together from options (spec runtime 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from bobrapet.runtime.cache.delegating_by_gvk_cache import DelegatingByGVKCache
from bobrapet.runtime.cache.errors import CacheError
from bobrapet.runtime.cache.informer_cache import InformerCache
from bobrapet.runtime.cache.internal.decoded import Decoded
from bobrapet.runtime.cache.internal.informers import Settings
from bobrapet.runtime.cache.internal.selector import NAMESPACE_FIELD, Selector
from bobrapet.runtime.cache.multi_namespace_cache import MultiNamespaceCache, MultiNamespaceInformer
from bobrapet.runtime.client.apiutil import RESTMapper, gvk_for_class
from bobrapet.runtime.client.interfaces import FieldIndexer, Reader
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.client.options import Fields, Labels
from bobrapet.runtime.client.selectors import FieldRequirement, FieldSelector, LabelSelector
from bobrapet.runtime.clock import REAL_CLOCK, Clock
from bobrapet.runtime.rest.interface import Rest
from bobrapet.runtime.scheme import GroupVersionKind, Scheme
from bobrapet.runtime.toolscache.record import Transform
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer

T = TypeVar("T")

ALL_NAMESPACES = ""
"""As a key of `namespaces`: every namespace that is not named beside it."""

SYNC_PERIOD = 10 * 3600.0
"""Seconds between resyncs: a safety net against faults of controllers, not against missed events."""

Informer = SharedIndexInformer | MultiNamespaceInformer


class Cache(Reader, FieldIndexer, Protocol):
    """A reader over informers."""

    async def get_informer(self, cls: type[Any], *, block_until_synced: bool = True) -> Informer: ...

    async def get_informer_for_kind(self, gvk: GroupVersionKind, *, block_until_synced: bool = True) -> Informer: ...

    async def remove_informer(self, cls: type[Any]) -> None: ...

    async def start(self) -> None:
        """Runs until cancelled; returns after all its tasks have ended."""
        ...

    async def wait_for_cache_sync(self) -> bool: ...

    def written(self, gvk: GroupVersionKind, key: ObjectKey, resource_version: str) -> None:
        """Makes later reads wait for this write."""
        ...

    def deleted(self, gvk: GroupVersionKind, key: ObjectKey, uid: str) -> None:
        """Makes later reads wait for this deletion."""
        ...


@dataclass(frozen=True, kw_only=True)
class Config:
    """How one namespace is cached. None inherits."""

    label: Labels = None
    field: Fields = None
    transform: Transform | None = None
    unsafe_disable_copy: bool | None = None
    enable_watch_bookmarks: bool | None = None
    sync_period: float | None = None


@dataclass(frozen=True, kw_only=True)
class ByObject(Config):
    """How one kind is cached. None inherits."""

    namespaces: Mapping[str, Config] | None = None
    """Only these namespaces; `{}` means all of them, whatever the defaults say. Not for cluster-scoped kinds."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a cache is made. A setting is looked up in by_object[kind].namespaces[ns], by_object[kind],
    default_namespaces[ns] and the defaults below, in this order."""

    sync_period: float = SYNC_PERIOD
    """Seconds between resyncs; each informer takes it times 0.9 to 1.1."""

    reader_fail_on_missing_informer: bool = False
    """A read of a kind that nobody watches raises `ResourceNotCached` instead of starting to watch it."""

    default_namespaces: Mapping[str, Config] | None = None
    """Only these namespaces of namespaced kinds. None: all."""

    default_label_selector: Labels = None
    default_field_selector: Fields = None
    default_transform: Transform | None = None
    default_watch_error_handler: Callable[[Exception], None] | None = None
    default_unsafe_disable_copy: bool = False
    """Readers share decoded objects and must not change them."""

    default_enable_watch_bookmarks: bool = True
    by_object: Mapping[type[Any], ByObject] = field(default_factory=dict)
    new_informer: Callable[..., SharedIndexInformer] = SharedIndexInformer
    streaming_lists: bool = True
    """Read initial lists as streams where the server can."""


async def new(
    rest: Rest, scheme: Scheme, mapper: RESTMapper, options: Options | None = None, *, clock: Clock = REAL_CLOCK
) -> Cache:
    """Puts a cache together; nothing runs before `start()`. Raises `CacheError` for options that make no sense."""
    options = options or Options()
    factory = _Factory(rest, scheme, mapper, options, clock)
    default = factory.for_defaults()
    if not options.by_object:
        return default
    by_gvk: dict[GroupVersionKind, Cache] = {}
    for cls, by_object in options.by_object.items():
        gvk = gvk_for_class(cls, scheme)
        if by_object.namespaces and not (await mapper.rest_mapping(gvk)).namespaced:
            raise CacheError(f"by_object[{cls.__name__}].namespaces is set, but {gvk.kind} does not live in namespaces")
        by_gvk[gvk] = factory.for_object(by_object)
    return DelegatingByGVKCache(scheme, by_gvk, default)


@dataclass(frozen=True)
class _Factory:
    rest: Rest
    scheme: Scheme
    mapper: RESTMapper
    options: Options
    clock: Clock
    decoded: Decoded = field(default_factory=Decoded)
    """Shared by all that is built here: what is in use of one kind may take the room of the others."""

    @property
    def defaults(self) -> Config:
        options = self.options
        return Config(
            label=options.default_label_selector,
            field=options.default_field_selector,
            transform=options.default_transform,
            unsafe_disable_copy=options.default_unsafe_disable_copy,
            enable_watch_bookmarks=options.default_enable_watch_bookmarks,
            sync_period=options.sync_period,
        )

    def for_defaults(self) -> Cache:
        namespaces = self.options.default_namespaces
        resolved = {ns: inherit(config, self.defaults) for ns, config in (namespaces or {}).items()}
        return self._build(resolved or {ALL_NAMESPACES: self.defaults})

    def for_object(self, by_object: ByObject) -> Cache:
        own = Config(**{name: getattr(by_object, name) for name in Config.__dataclass_fields__})
        return self._build(resolve(self.options, by_object, own, self.defaults))

    def _build(self, namespaces: Mapping[str, Config]) -> Cache:
        if [*namespaces] == [ALL_NAMESPACES]:
            return self._single(ALL_NAMESPACES, namespaces[ALL_NAMESPACES])
        named = [namespace for namespace in namespaces if namespace != ALL_NAMESPACES]
        caches = {
            namespace: self._single(namespace, excluding(config, named) if namespace == ALL_NAMESPACES else config)
            for namespace, config in namespaces.items()
        }
        return MultiNamespaceCache(self.scheme, self.mapper, caches, self._single(ALL_NAMESPACES, self.defaults))

    def _single(self, namespace: str, config: Config) -> InformerCache:
        settings = Settings(
            namespace=namespace,
            selector=Selector(LabelSelector.parse(config.label), FieldSelector.parse(config.field)),
            transform=config.transform,
            sync_period=config.sync_period or 0.0,
            watch_error_handler=self.options.default_watch_error_handler,
            enable_watch_bookmarks=config.enable_watch_bookmarks is not False,
            streaming_lists=self.options.streaming_lists,
            new_informer=self.options.new_informer,
        )
        return InformerCache(
            self.rest,
            self.scheme,
            self.mapper,
            settings,
            fail_on_missing_informer=self.options.reader_fail_on_missing_informer,
            unsafe_disable_copy=bool(config.unsafe_disable_copy),
            decoded=self.decoded,
            clock=self.clock,
        )


def resolve(options: Options, by_object: ByObject, own: Config, defaults: Config) -> dict[str, Config]:
    """The namespaces of one kind with all settings filled in (CACHE-1, CACHE-2)."""
    if by_object.namespaces:
        default_namespaces = options.default_namespaces or {}
        return {
            namespace: inherit(inherit(inherit(config, own), default_namespaces.get(namespace, Config())), defaults)
            for namespace, config in by_object.namespaces.items()
        }
    if by_object.namespaces is None and options.default_namespaces:
        return {
            namespace: inherit(inherit(own, config), defaults)
            for namespace, config in options.default_namespaces.items()
        }
    return {ALL_NAMESPACES: inherit(own, defaults)}


def inherit(config: Config, parent: Config) -> Config:
    """`config`, with what it leaves open taken from `parent`."""
    missing = {name: getattr(parent, name) for name in Config.__dataclass_fields__ if getattr(config, name) is None}
    return replace(config, **missing)


def excluding(config: Config, namespaces: Iterable[str]) -> Config:
    """`config` for every namespace but these (CACHE-4)."""
    present = FieldSelector.parse(config.field)
    others = tuple(FieldRequirement(NAMESPACE_FIELD, namespace, equal=False) for namespace in namespaces)
    return replace(config, field=str(FieldSelector((*present.requirements, *others))))
