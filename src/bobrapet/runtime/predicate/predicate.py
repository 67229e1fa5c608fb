"""Which events are worth a request (controller-runtime pkg/predicate). Predicates never change what is cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bobrapet.runtime.client.options import Labels
from bobrapet.runtime.client.selectors import LabelSelector
from bobrapet.runtime.event import CreateEvent, DeleteEvent, GenericEvent, UpdateEvent


class Predicate(Protocol):
    """Answers True for events that shall go on to the handler."""

    def create(self, event: CreateEvent[Any]) -> bool: ...

    def update(self, event: UpdateEvent[Any]) -> bool: ...

    def delete(self, event: DeleteEvent[Any]) -> bool: ...

    def generic(self, event: GenericEvent[Any]) -> bool: ...


class Funcs:
    """A predicate from single functions; a missing one lets its events pass."""

    def __init__(
        self,
        *,
        create: Callable[[CreateEvent[Any]], bool] | None = None,
        update: Callable[[UpdateEvent[Any]], bool] | None = None,
        delete: Callable[[DeleteEvent[Any]], bool] | None = None,
        generic: Callable[[GenericEvent[Any]], bool] | None = None,
    ) -> None:
        self._create = create
        self._update = update
        self._delete = delete
        self._generic = generic

    def create(self, event: CreateEvent[Any]) -> bool:
        return self._create is None or self._create(event)

    def update(self, event: UpdateEvent[Any]) -> bool:
        return self._update is None or self._update(event)

    def delete(self, event: DeleteEvent[Any]) -> bool:
        return self._delete is None or self._delete(event)

    def generic(self, event: GenericEvent[Any]) -> bool:
        return self._generic is None or self._generic(event)


def new_predicate_funcs(keep: Callable[[Any], bool]) -> Funcs:
    """A predicate that asks about the object, on an update about the new one."""
    return Funcs(
        create=lambda event: keep(event.object),
        update=lambda event: event.object_new is not None and keep(event.object_new),
        delete=lambda event: keep(event.object),
        generic=lambda event: keep(event.object),
    )


def label_selector_predicate(selector: Labels) -> Funcs:
    """Keeps objects with matching labels.

    Beware: an update that takes the label away does not match, so nobody hears that the object left.
    """
    parsed = LabelSelector.parse(selector)
    return Funcs(
        create=lambda event: parsed.matches(event.metadata.labels),
        update=lambda event: event.metadata_new is not None and parsed.matches(event.metadata_new.labels),
        delete=lambda event: parsed.matches(event.metadata.labels),
        generic=lambda event: parsed.matches(event.metadata.labels),
    )


class ResourceVersionChanged(Funcs):
    """Keeps updates that are changes: drops resyncs."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        old, new = event.metadata_old, event.metadata_new
        return old is not None and new is not None and old.resource_version != new.resource_version


class GenerationChanged(Funcs):
    """Keeps updates of the spec.

    Drops writes of the status and also resyncs, so a controller that must repair a wiped status, or relies on resyncs,
    cannot use it alone.
    """

    def update(self, event: UpdateEvent[Any]) -> bool:
        old, new = event.metadata_old, event.metadata_new
        return old is not None and new is not None and old.generation != new.generation


class LabelChanged(Funcs):
    """Keeps updates of labels."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        old, new = event.metadata_old, event.metadata_new
        return old is not None and new is not None and (old.labels or {}) != (new.labels or {})


class AnnotationChanged(Funcs):
    """Keeps updates of annotations."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        if event.metadata_old is None or event.metadata_new is None:
            return False
        return event.annotations_old != event.annotations_new


class _And:
    def __init__(self, predicates: tuple[Predicate, ...]) -> None:
        self._predicates = predicates

    def create(self, event: CreateEvent[Any]) -> bool:
        return all(predicate.create(event) for predicate in self._predicates)

    def update(self, event: UpdateEvent[Any]) -> bool:
        return all(predicate.update(event) for predicate in self._predicates)

    def delete(self, event: DeleteEvent[Any]) -> bool:
        return all(predicate.delete(event) for predicate in self._predicates)

    def generic(self, event: GenericEvent[Any]) -> bool:
        return all(predicate.generic(event) for predicate in self._predicates)


class _Or:
    def __init__(self, predicates: tuple[Predicate, ...]) -> None:
        self._predicates = predicates

    def create(self, event: CreateEvent[Any]) -> bool:
        return any(predicate.create(event) for predicate in self._predicates)

    def update(self, event: UpdateEvent[Any]) -> bool:
        return any(predicate.update(event) for predicate in self._predicates)

    def delete(self, event: DeleteEvent[Any]) -> bool:
        return any(predicate.delete(event) for predicate in self._predicates)

    def generic(self, event: GenericEvent[Any]) -> bool:
        return any(predicate.generic(event) for predicate in self._predicates)


class _Not:
    def __init__(self, predicate: Predicate) -> None:
        self._predicate = predicate

    def create(self, event: CreateEvent[Any]) -> bool:
        return not self._predicate.create(event)

    def update(self, event: UpdateEvent[Any]) -> bool:
        return not self._predicate.update(event)

    def delete(self, event: DeleteEvent[Any]) -> bool:
        return not self._predicate.delete(event)

    def generic(self, event: GenericEvent[Any]) -> bool:
        return not self._predicate.generic(event)


def and_(*predicates: Predicate) -> Predicate:
    """Keeps what all keep; asks from left to right until one refuses."""
    return _And(predicates)


def or_(*predicates: Predicate) -> Predicate:
    """Keeps what any keeps; asks from left to right until one agrees."""
    return _Or(predicates)


def not_(predicate: Predicate) -> Predicate:
    """Keeps what the other drops."""
    return _Not(predicate)
