"""What happened, as handlers and predicates are told (controller-runtime pkg/event).

Events that come from a cache decode their object when somebody asks for it; what most handlers and predicates need, key
and metadata, is there without.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.toolscache.record import Record

T = TypeVar("T")

_UNDECODED: Any = object()


class Metadata(Protocol):
    """The metadata that an event offers without decoding its object; for annotations ask the event."""

    @property
    def name(self) -> str | None: ...
    @property
    def namespace(self) -> str | None: ...
    @property
    def uid(self) -> str | None: ...
    @property
    def resource_version(self) -> str | None: ...
    @property
    def generation(self) -> int | None: ...
    @property
    def deletion_timestamp(self) -> Any: ...
    @property
    def labels(self) -> Any: ...
    @property
    def finalizers(self) -> Any: ...
    @property
    def owner_references(self) -> Any: ...


class _Subject(Generic[T]):
    """One object of an event: given as it is, or as a record of the cache and the class to decode it to."""

    __slots__ = ("_cls", "_object", "record")

    def __init__(self, obj: T | Record, cls: type[T] | None) -> None:
        self._cls = cls
        self.record = obj if isinstance(obj, Record) else None
        self._object: Any = _UNDECODED if isinstance(obj, Record) else obj

    @property
    def object(self) -> T:
        if self._object is _UNDECODED:
            assert self.record is not None
            assert self._cls is not None
            self._object = self.record.decode(self._cls)
        obj: T = self._object
        return obj

    @property
    def metadata(self) -> Metadata:
        metadata: Metadata = self.record.metadata if self.record is not None else self._object.metadata
        return metadata

    @property
    def annotations(self) -> dict[str, str]:
        if self.record is not None:
            return self.record.annotations
        return dict(self._object.metadata.annotations or {})


class _SingleObjectEvent(Generic[T]):
    """An event about one state of an object."""

    __slots__ = ("_subject",)

    def __init__(self, object: T | Record, *, cls: type[T] | None = None) -> None:
        self._subject = _Subject(object, cls)

    @property
    def object(self) -> T:
        """The object. For the reader alone to change."""
        return self._subject.object

    @property
    def metadata(self) -> Metadata:
        """Its metadata (without annotations), cheaper than `object.metadata`."""
        return self._subject.metadata

    @property
    def annotations(self) -> dict[str, str]:
        return self._subject.annotations

    @property
    def key(self) -> ObjectKey:
        return _key(self.metadata)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key})"


class CreateEvent(_SingleObjectEvent[T], Generic[T]):
    """An object appeared, or was there when watching began (`is_in_initial_list`)."""

    __slots__ = ("is_in_initial_list",)

    def __init__(self, object: T | Record, is_in_initial_list: bool = False, *, cls: type[T] | None = None) -> None:
        super().__init__(object, cls=cls)
        self.is_in_initial_list = is_in_initial_list


class DeleteEvent(_SingleObjectEvent[T], Generic[T]):
    """An object is gone. With `delete_state_unknown` nobody saw it go, and the state may be an old one."""

    __slots__ = ("delete_state_unknown",)

    def __init__(self, object: T | Record, delete_state_unknown: bool = False, *, cls: type[T] | None = None) -> None:
        super().__init__(object, cls=cls)
        self.delete_state_unknown = delete_state_unknown


class GenericEvent(_SingleObjectEvent[T], Generic[T]):
    """Something about an object happened outside of the API."""

    __slots__ = ()


class UpdateEvent(Generic[T]):
    """An object changed from old to new. Both are the same version for resyncs; either may be missing (None)."""

    __slots__ = ("_new", "_old")

    def __init__(
        self, object_old: T | Record | None, object_new: T | Record | None, *, cls: type[T] | None = None
    ) -> None:
        self._old = None if object_old is None else _Subject(object_old, cls)
        self._new = None if object_new is None else _Subject(object_new, cls)

    @property
    def object_old(self) -> T | None:
        return None if self._old is None else self._old.object

    @property
    def object_new(self) -> T | None:
        return None if self._new is None else self._new.object

    @property
    def metadata_old(self) -> Metadata | None:
        """The metadata (without annotations) before, cheaper than `object_old.metadata`."""
        return None if self._old is None else self._old.metadata

    @property
    def metadata_new(self) -> Metadata | None:
        return None if self._new is None else self._new.metadata

    @property
    def annotations_old(self) -> dict[str, str]:
        return {} if self._old is None else self._old.annotations

    @property
    def annotations_new(self) -> dict[str, str]:
        return {} if self._new is None else self._new.annotations

    @property
    def is_resync(self) -> bool:
        """Whether nothing changed: old and new are the same version."""
        old, new = self.metadata_old, self.metadata_new
        return old is not None and new is not None and old.resource_version == new.resource_version

    def __repr__(self) -> str:
        metadata = self.metadata_new or self.metadata_old
        return f"UpdateEvent({_key(metadata) if metadata is not None else ''})"


def _key(metadata: Metadata) -> ObjectKey:
    return ObjectKey(metadata.namespace or "", metadata.name or "")
