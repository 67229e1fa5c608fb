"""The kind of an object or class (spec runtime OBJ-4)."""

from __future__ import annotations

from typing import Any

from bobrapet.runtime.client.object import PartialObjectMetadata, Unstructured
from bobrapet.runtime.errors import NotRegistered
from bobrapet.runtime.scheme import GroupVersionKind, Scheme


def gvk_for_object(obj: Any, scheme: Scheme) -> GroupVersionKind:
    """The kind of an object: dict projections say it themselves, models are looked up by class."""
    if isinstance(obj, Unstructured | PartialObjectMetadata):
        if not obj.kind or not obj.api_version:
            raise NotRegistered(f"{obj!r} has no apiVersion and kind; they name the resource of a dict object")
        return obj.gvk
    return scheme.gvk_for(type(obj))


def gvk_for_class(cls: type[Any], scheme: Scheme) -> GroupVersionKind:
    """The kind of a class: those of `Unstructured.of(...)` carry it, models are looked up."""
    if issubclass(cls, Unstructured | PartialObjectMetadata):
        if not cls.KIND:
            base = cls.__name__
            raise NotRegistered(f'{base} alone names no kind; use a class like {base}.of("batch/v1", "Job")')
        return GroupVersionKind.parse(cls.API_VERSION, cls.KIND)
    return scheme.gvk_for(cls)
