"""ReferenceGrant (policy.bubustack.io): which objects of other namespaces may refer into this one (spec api 5.12)."""

from typing import Annotated, ClassVar

from pydantic import Field

from bobrapet.api.meta import Conditions, KubernetesObject, Spec, Status
from bobrapet.api.wire import LABEL_PATTERN, Items, Model, Schema, unset_items

_Group = Annotated[str, Schema(min_length=1, max_length=253)]
_Kind = Annotated[str, Schema(min_length=1, max_length=63)]


class ReferenceGrantFrom(Model):
    """Objects that may refer."""

    group: _Group
    """API group of the referring objects."""
    kind: _Kind
    """Kind of the referring objects."""
    namespace: Annotated[str, Schema(min_length=1, max_length=63, pattern=LABEL_PATTERN)]
    """Namespace of the referring objects."""


class ReferenceGrantTo(Model):
    """Objects that may be referred to, in the grant's namespace."""

    group: _Group
    """API group of the objects."""
    kind: _Kind
    """Kind of the objects."""
    name: Annotated[str, Schema(max_length=253, pattern=LABEL_PATTERN)] | None = None
    """Name of the object. Default: every object of the kind."""


class ReferenceGrantSpec(Spec):
    """Who may refer to what. Every entry of from may refer to every entry of to."""

    from_: Annotated[Items[ReferenceGrantFrom], Schema(min_items=1)] = Field(alias="from")
    """Objects that may refer."""
    to: Annotated[Items[ReferenceGrantTo], Schema(min_items=1)]
    """Objects that may be referred to."""


class ReferenceGrantStatus(Status):
    """Reserved; no controller writes it."""

    conditions: Conditions = unset_items()
    """Reserved; no controller writes it."""


class ReferenceGrant(KubernetesObject):
    """ReferenceGrant lets objects of other namespaces refer to objects of its own namespace."""

    API_VERSION: ClassVar = "policy.bubustack.io/v1alpha1"
    KIND: ClassVar = "ReferenceGrant"
    PLURAL: ClassVar = "referencegrants"
    SHORT_NAMES: ClassVar = ("refgrant",)
    CATEGORIES: ClassVar = ("bubu", "ai")

    spec: ReferenceGrantSpec
    """Who may refer to what. Written by the owner of the namespace."""
    status: ReferenceGrantStatus = Field(default_factory=ReferenceGrantStatus)
    """Reserved; no controller writes it."""
