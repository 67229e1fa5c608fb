"""The three faces of an object: a typed model, `Unstructured`, and `PartialObjectMetadata` (spec runtime OBJ-1).

A typed model is anything with `model_validate(dict)`, `model_dump(...)` and the attributes of `Object`; pydantic models
have them. The other two wrap a dict, at `.object`, and offer the same attributes over it. Both are used through classes
that name their kind: `Job = Unstructured.of("batch/v1", "Job")`, then `await client.get(Job, key)`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import msgspec

from bobrapet.runtime.errors import UndecodableObject
from bobrapet.runtime.scheme.schema import GroupVersionKind


class ObjectKey(NamedTuple):
    """Namespace and name of an object; the namespace is empty for cluster-scoped kinds."""

    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Any) -> ObjectKey:
        """The key of any of the three projections."""
        meta = obj.metadata
        return cls(meta.namespace or "", meta.name or "")

    @classmethod
    def parse(cls, text: str) -> ObjectKey:
        """Reads `namespace/name` or `name`."""
        namespace, _, name = text.rpartition("/")
        return cls(namespace, name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Metadata(Protocol):
    """The part of ObjectMeta that the runtime reads."""

    @property
    def name(self) -> str | None: ...
    @property
    def namespace(self) -> str | None: ...
    @property
    def generate_name(self) -> str | None: ...
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
    def annotations(self) -> Any: ...
    @property
    def finalizers(self) -> Any: ...
    @property
    def owner_references(self) -> Any: ...


class Object(Protocol):
    """Any of the three projections."""

    @property
    def api_version(self) -> Any: ...
    @property
    def kind(self) -> Any: ...
    @property
    def metadata(self) -> Any: ...


T = TypeVar("T")


@dataclass(slots=True)
class ObjectList(Generic[T]):
    """One answer to a list: the items, the resourceVersion they were read at, and where to read on."""

    items: list[T] = field(default_factory=list)
    resource_version: str = ""
    continue_: str = ""
    """Token for the next page; empty at the end."""

    remaining_item_count: int | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]


@dataclass(frozen=True, slots=True)
class OwnerReference:
    """One entry of `metadata.ownerReferences`."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> OwnerReference:
        return cls(
            api_version=raw.get("apiVersion") or "",
            kind=raw.get("kind") or "",
            name=raw.get("name") or "",
            uid=raw.get("uid") or "",
            controller=raw.get("controller"),
            block_owner_deletion=raw.get("blockOwnerDeletion"),
        )

    def to_dict(self) -> dict[str, Any]:
        raw: dict[str, Any] = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
        }
        if self.controller is not None:
            raw["controller"] = self.controller
        if self.block_owner_deletion is not None:
            raw["blockOwnerDeletion"] = self.block_owner_deletion
        return raw


class _Field:
    """An attribute of `ObjectMetaView`: reads and writes one key of the dict. Assigning None or "" removes the key."""

    __slots__ = ("absent", "key")

    def __init__(self, key: str, absent: Any) -> None:
        self.key = key
        self.absent = absent

    def __get__(self, view: ObjectMetaView | None, owner: type[ObjectMetaView]) -> Any:
        if view is None:
            return self
        value = view.raw.get(self.key)
        return self.absent if value is None else value

    def __set__(self, view: ObjectMetaView, value: Any) -> None:
        if value is None or value == "":
            view.raw.pop(self.key, None)
        else:
            view.raw[self.key] = value


class _Collection(_Field):
    """Like `_Field` for a map or list. Absent reads as None, so that nobody fills a container that is not stored."""

    __slots__ = ()

    def __set__(self, view: ObjectMetaView, value: Any) -> None:
        if value is None:
            view.raw.pop(self.key, None)
        else:
            view.raw[self.key] = value


class ObjectMetaView:
    """`metadata` of a dict, with the attribute names of the typed models. Changes go to the dict, at `.raw`.

    Absent strings read as "", absent numbers as 0, everything else that is absent as None.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw

    name = _Field("name", "")
    namespace = _Field("namespace", "")
    generate_name = _Field("generateName", "")
    uid = _Field("uid", "")
    resource_version = _Field("resourceVersion", "")
    generation = _Field("generation", 0)
    creation_timestamp = _Field("creationTimestamp", None)
    deletion_timestamp = _Field("deletionTimestamp", None)
    deletion_grace_period_seconds = _Field("deletionGracePeriodSeconds", None)
    labels = _Collection("labels", None)
    annotations = _Collection("annotations", None)
    finalizers = _Collection("finalizers", None)
    managed_fields = _Collection("managedFields", None)

    @property
    def owner_references(self) -> list[OwnerReference] | None:
        raw = self.raw.get("ownerReferences")
        return None if raw is None else [OwnerReference.from_dict(entry) for entry in raw]

    @owner_references.setter
    def owner_references(self, value: Iterable[OwnerReference] | None) -> None:
        if value is None:
            self.raw.pop("ownerReferences", None)
        else:
            self.raw["ownerReferences"] = [reference.to_dict() for reference in value]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectMetaView) and self.raw == other.raw

    __hash__ = None  # type: ignore[assignment]  # objects change

    def __repr__(self) -> str:
        return f"ObjectMetaView({self.raw!r})"


class _DictObject:
    """What `Unstructured` and `PartialObjectMetadata` share: a dict with accessors."""

    API_VERSION: ClassVar[str] = ""
    KIND: ClassVar[str] = ""
    _named: ClassVar[dict[tuple[str, str], type[Any]]]

    __slots__ = ("object",)

    def __init__(self, object: dict[str, Any] | None = None) -> None:
        self.object: dict[str, Any] = {} if object is None else object
        cls = type(self)
        if cls.KIND:
            self.object.setdefault("apiVersion", cls.API_VERSION)
            self.object.setdefault("kind", cls.KIND)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "KIND" not in cls.__dict__:
            cls._named = {}

    @classmethod
    def of(cls, api_version: str | GroupVersionKind, kind: str = "") -> type[Self]:
        """The class for one kind, always the same one: `Unstructured.of("batch/v1", "Job")`."""
        if isinstance(api_version, GroupVersionKind):
            return cls.of(api_version.api_version, api_version.kind)
        known = cls._named.get((api_version, kind))
        if known is None:
            body = {"API_VERSION": api_version, "KIND": kind, "__slots__": (), "__module__": cls.__module__}
            known = cls._named[api_version, kind] = type(f"{cls.__name__}[{api_version} {kind}]", (cls,), body)
        return known

    @classmethod
    def model_validate(cls, raw: dict[str, Any]) -> Self:
        """Wraps `raw` (without copying)."""
        return cls(raw)

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """A deep copy of the dict. The options of pydantic's method have no meaning here."""
        return copy.deepcopy(self.object)

    @property
    def api_version(self) -> str:
        return self.object.get("apiVersion") or ""

    @api_version.setter
    def api_version(self, value: str) -> None:
        self.object["apiVersion"] = value

    @property
    def kind(self) -> str:
        return self.object.get("kind") or ""

    @kind.setter
    def kind(self, value: str) -> None:
        self.object["kind"] = value

    @property
    def metadata(self) -> ObjectMetaView:
        """A view of the metadata; made when absent."""
        raw = self.object.get("metadata")
        if raw is None:
            raw = self.object["metadata"] = {}
        return ObjectMetaView(raw)

    @property
    def gvk(self) -> GroupVersionKind:
        return GroupVersionKind.parse(self.api_version, self.kind)

    def deep_copy(self) -> Self:
        return type(self)(copy.deepcopy(self.object))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _DictObject) and self.object == other.object

    __hash__ = None  # type: ignore[assignment]  # objects change

    def __repr__(self) -> str:
        meta = self.object.get("metadata") or {}
        key = ObjectKey(meta.get("namespace") or "", meta.get("name") or "")
        return f"<{_projection(type(self)).__name__} {self.api_version} {self.kind} {key}>"


class Unstructured(_DictObject):
    """A whole object as a dict: for kinds without a model, and where nothing may be lost."""

    __slots__ = ()

    def get(self, *path: str, default: Any = None) -> Any:
        """The value at a path of keys, or `default` where any step is absent: `job.get("status", "active")`."""
        value: Any = self.object
        for key in path:
            if not isinstance(value, dict) or key not in value:
                return default
            value = value[key]
        return value

    def set(self, *path: str, value: Any) -> None:
        """Writes the value at a path of keys; maps on the way are made."""
        *parents, last = path
        target = self.object
        for key in parents:
            target = target.setdefault(key, {})
        target[last] = value


class PartialObjectMetadata(_DictObject):
    """apiVersion, kind and metadata of an object whose body nobody needs. It carries its real kind."""

    __slots__ = ()


def _projection(cls: type[Any]) -> type[_DictObject]:
    return PartialObjectMetadata if issubclass(cls, PartialObjectMetadata) else Unstructured


def is_unstructured(cls: type[Any]) -> bool:
    return isinstance(cls, type) and issubclass(cls, Unstructured)


def is_metadata_only(cls: type[Any]) -> bool:
    return isinstance(cls, type) and issubclass(cls, PartialObjectMetadata)


def to_dict(obj: Any) -> dict[str, Any]:
    """The JSON form of any projection. For the dict projections this is their own dict, not a copy."""
    if isinstance(obj, _DictObject):
        return obj.object
    raw: dict[str, Any] = obj.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return raw


def from_dict(cls: type[T], raw: dict[str, Any]) -> T:
    """The opposite of `to_dict`. Raises `UndecodableObject`, naming the object, when it does not fit the class."""
    try:
        made: T = cls.model_validate(raw)  # type: ignore[attr-defined]  # a model or of our own
    except ValueError as error:  # what pydantic raises is one
        metadata = raw.get("metadata") or {}
        key = ObjectKey(metadata.get("namespace") or "", metadata.get("name") or "")
        raise UndecodableObject(f"{raw.get('kind') or cls.__name__} {key} does not fit its model: {error}") from error
    return made


def from_bytes(cls: type[T], data: bytes) -> T:
    """Decodes one JSON object. Integers of any size stay exact."""
    return from_dict(cls, msgspec.json.decode(data))


def deep_copy(obj: T) -> T:
    """An independent copy of any projection."""
    return from_dict(type(obj), copy.deepcopy(to_dict(obj)))


def metadata_dict(obj: Any) -> dict[str, Any]:
    """The JSON form of `metadata`. Changes reach the object of dict projections only; see `replace_metadata`."""
    if isinstance(obj, _DictObject):
        return obj.metadata.raw
    meta = obj.metadata
    if meta is None:
        return {}
    raw: dict[str, Any] = meta.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return raw


def replace_metadata(obj: Any, raw: dict[str, Any]) -> None:
    """Gives an object of any projection, in place, the metadata whose JSON form is `raw`."""
    if isinstance(obj, _DictObject):
        obj.object["metadata"] = raw
        return
    obj.metadata = from_dict(type(obj.metadata), raw)


def compare_resource_version(a: str | None, b: str | None) -> int | None:
    """-1, 0 or 1 as `a` is older than, the same as, or newer than `b`; None when they cannot be ordered.

    The only place where resourceVersions are more than opaque words: the API orders those of one resource as integers
    (spec runtime OBJ-9).
    """
    if not a or not b:
        return None
    if a == b:
        return 0
    if not (a.isascii() and a.isdigit() and b.isascii() and b.isdigit()):
        return None
    left, right = int(a), int(b)
    return (left > right) - (left < right)
