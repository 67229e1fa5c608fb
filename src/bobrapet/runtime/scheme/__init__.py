"""Kinds, their names, and the classes that stand for them."""

from bobrapet.runtime.scheme.schema import GroupKind, GroupVersion, GroupVersionKind, GroupVersionResource
from bobrapet.runtime.scheme.scheme import AmbiguousKind, Scheme

__all__ = ["AmbiguousKind", "GroupKind", "GroupVersion", "GroupVersionKind", "GroupVersionResource", "Scheme"]
