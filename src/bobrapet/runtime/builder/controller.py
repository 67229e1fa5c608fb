"""The fluent way to a controller (controller-runtime pkg/builder, spec runtime 6.8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from bobrapet.runtime.builder.options import WatchOptions
from bobrapet.runtime.client.apiutil import gvk_for_class
from bobrapet.runtime.client.object import PartialObjectMetadata
from bobrapet.runtime.controller.controller import LogFields, Options, new
from bobrapet.runtime.errors import ControllerRuntimeError
from bobrapet.runtime.handler import EnqueueRequestForObject, EventHandler, enqueue_request_for_owner
from bobrapet.runtime.internal.controller.controller import Controller
from bobrapet.runtime.internal.source.kind import Kind
from bobrapet.runtime.predicate import Predicate
from bobrapet.runtime.reconcile import Reconciler
from bobrapet.runtime.scheme import GroupVersionKind
from bobrapet.runtime.source import Source

if TYPE_CHECKING:
    from bobrapet.runtime.manager.internal import ControllerManager


class BuilderError(ControllerRuntimeError):
    """The parts given to a builder do not make a controller."""


@dataclass(frozen=True)
class _Watch:
    cls: type[Any]
    handler: EventHandler
    options: WatchOptions


class ControllerBuilder:
    """Collects what a controller consists of. Ends with `complete` or `build`."""

    def __init__(self, manager: ControllerManager) -> None:
        self._manager = manager
        self._for: tuple[type[Any], WatchOptions] | None = None
        self._owns: list[tuple[type[Any], WatchOptions]] = []
        self._watches: list[_Watch] = []
        self._raw_sources: list[Source] = []
        self._global_predicates: list[Predicate] = []
        self._options: Options[Any] = Options()
        self._log_fields: LogFields | None = None
        self._name = ""

    def for_(self, cls: type[Any], *predicates: Predicate, only_metadata: bool = False) -> Self:
        """The kind that is reconciled. At most once."""
        if self._for is not None:
            raise BuilderError("for_() may be called once only; use owns() or watches() for other kinds")
        self._for = cls, WatchOptions(predicates, only_metadata=only_metadata)
        return self

    def owns(
        self, cls: type[Any], *predicates: Predicate, only_metadata: bool = False, match_every_owner: bool = False
    ) -> Self:
        """A kind whose objects belong to reconciled ones: their changes wake the owner."""
        options = WatchOptions(predicates, only_metadata=only_metadata, match_every_owner=match_every_owner)
        self._owns.append((cls, options))
        return self

    def watches(
        self, cls: type[Any], handler: EventHandler, *predicates: Predicate, only_metadata: bool = False
    ) -> Self:
        """Any other kind, with a handler that says whom its changes concern."""
        self._watches.append(_Watch(cls, handler, WatchOptions(predicates, only_metadata=only_metadata)))
        return self

    def watches_metadata(self, cls: type[Any], handler: EventHandler, *predicates: Predicate) -> Self:
        """`watches` with only the metadata in memory."""
        return self.watches(cls, handler, *predicates, only_metadata=True)

    def watches_raw_source(self, source: Source) -> Self:
        """A source of one's own. `with_event_filter` does not apply to it."""
        self._raw_sources.append(source)
        return self

    def with_event_filter(self, predicate: Predicate) -> Self:
        """A predicate for all kinds, asked before their own."""
        self._global_predicates.append(predicate)
        return self

    def with_options(self, options: Options[Any]) -> Self:
        self._options = options
        return self

    def with_log_constructor(self, log_fields: LogFields) -> Self:
        """Makes the fields that log lines of a reconcile carry."""
        self._log_fields = log_fields
        return self

    def named(self, name: str) -> Self:
        """The name in metrics and logs. Default: the kind of `for_` in lower case."""
        self._name = name
        return self

    async def complete(self, reconciler: Reconciler[Any]) -> None:
        """Builds the controller and gives it to the manager. Raises `BuilderError`."""
        await self.build(reconciler)

    async def build(self, reconciler: Reconciler[Any]) -> Controller[Any]:
        """Like `complete`, and returns the controller."""
        self._validate(reconciler)
        gvk = None if self._for is None else gvk_for_class(self._for[0], self._manager.scheme)
        options = replace(
            self._options,
            reconciler=reconciler,
            max_concurrent_reconciles=self._workers(gvk),
            log_fields=self._log_fields or self._options.log_fields or _log_fields(gvk),
        )
        if gvk is not None:
            logger = options.logger or self._manager.logger.bind(controllerGroup=gvk.group, controllerKind=gvk.kind)
            options = replace(options, logger=logger)
        controller = new(self._name or (gvk.kind.lower() if gvk else ""), self._manager, options)
        for source in self._sources():
            await controller.watch(source)
        return controller

    def _validate(self, reconciler: Reconciler[Any] | None) -> None:
        if reconciler is None:
            raise BuilderError("complete() needs a reconciler")
        if self._options.reconciler is not None:
            raise BuilderError("the reconciler is given to complete(); with_options() must not carry one too")
        if self._owns and self._for is None:
            raise BuilderError("owns() needs for_(): the owner's kind is not known")
        if self._for is None and not self._watches and not self._raw_sources:
            raise BuilderError("nothing is watched: call for_(), watches() or watches_raw_source()")
        if self._for is None and not self._name:
            raise BuilderError("without for_() the controller has no name: call named()")

    def _workers(self, gvk: GroupVersionKind | None) -> int | None:
        if self._options.max_concurrent_reconciles is not None or gvk is None:
            return self._options.max_concurrent_reconciles
        return self._manager.get_controller_options().group_kind_concurrency.get(str(gvk.group_kind))

    def _sources(self) -> list[Source]:
        sources: list[Source] = []
        if self._for is not None:
            cls, options = self._for
            sources.append(self._kind(cls, EnqueueRequestForObject(), options))
            for owned, options in self._owns:
                handler = enqueue_request_for_owner(
                    self._manager.scheme,
                    self._manager.rest_mapper,
                    cls,
                    only_controller_owner=not options.match_every_owner,
                )
                sources.append(self._kind(owned, handler, options))
        sources += [self._kind(watch.cls, watch.handler, watch.options) for watch in self._watches]
        return sources + self._raw_sources

    def _kind(self, cls: type[Any], handler: EventHandler, options: WatchOptions) -> Kind:
        if options.only_metadata:
            cls = PartialObjectMetadata.of(gvk_for_class(cls, self._manager.scheme))
        predicates = (*self._global_predicates, *options.predicates)
        return Kind(self._manager.get_cache(), cls, handler, predicates, clock=self._manager.clock)


def controller_managed_by(manager: ControllerManager) -> ControllerBuilder:
    """Begins to build a controller that `manager` will run."""
    return ControllerBuilder(manager)


def _log_fields(gvk: GroupVersionKind | None) -> Callable[[Any], dict[str, Any]] | None:
    if gvk is None:
        return None
    kind = gvk.kind

    def fields(request: Any) -> dict[str, Any]:
        namespace, name = getattr(request, "namespace", ""), getattr(request, "name", str(request))
        return {kind: {"name": name, "namespace": namespace}, "namespace": namespace, "name": name}

    return fields
