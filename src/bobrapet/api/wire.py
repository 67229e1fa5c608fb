"""How an API object looks on the wire: the base of every model, and the scalar types its fields are made of.

A model is a tolerant reader: it keeps fields it does not know, tells unset from null and zero, and checks types, not
limits. Limits, patterns and defaults are `Schema` marks: data for the generated CRD, which the API server and
`bobrapet.validation` apply. So an object that is stored can always be read, and reading stays cheap.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

if TYPE_CHECKING:
    from collections.abc import Mapping as Map
    from collections.abc import Sequence as Items
else:
    # Lists and maps are read as list and dict, but their types are read-only: unset ones share an empty value, and
    # only assignment (`meta.labels = {**meta.labels, "a": "b"}`) records that a field is set.
    Items, Map = list, dict


class Model(BaseModel):
    """Base of every API type. Dump with `to_wire()`, never without `exclude_unset`: unset is not the same as null."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="allow",
        defer_build=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """The JSON object as it goes to the API server: only what was read or assigned, under its wire names."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


_camel: Final = cache(to_camel)  # a few words, thousands of times


class Schema:
    """What the CRD says about a value beyond its type: OpenAPI keywords, and whether writers must give it.

    `required` is only needed where the model itself has a default; a field without one is required anyway.
    """

    __slots__ = ("keywords", "required")

    def __init__(self, *, required: bool = False, **keywords: Any) -> None:
        self.required: Final = required
        self.keywords: Final = {_KEYWORDS.get(name) or _camel(name): value for name, value in keywords.items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL rule of the CRD (`x-kubernetes-validations`)."""

    id: str
    rule: str
    message: str


_KEYWORDS: Final = {
    "preserve_unknown": "x-kubernetes-preserve-unknown-fields",
    "int_or_string": "x-kubernetes-int-or-string",
    "list_type": "x-kubernetes-list-type",
    "map_keys": "x-kubernetes-list-map-keys",
    "map_type": "x-kubernetes-map-type",
}

__all__ = [
    "LABEL_PATTERN",
    "Bool",
    "Duration",
    "Int",
    "Int32",
    "Int64",
    "IntOrQuantity",
    "IntOrString",
    "Items",
    "JSONObject",
    "Label",
    "Map",
    "MicroTime",
    "Model",
    "Namespace",
    "NonEmpty",
    "ObjectName",
    "Quantity",
    "Rule",
    "Schema",
    "StepName",
    "Time",
    "Version",
    "unset_items",
    "unset_map",
]

LABEL_PATTERN: Final = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

EMPTY_ITEMS: Final[tuple[Any, ...]] = ()


class _EmptyMap(dict[str, Any]):
    """The value of an unset map: empty, shared, and closed to writing, which would otherwise be lost in a dump."""

    def _closed(self, *_: Any, **__: Any) -> Any:
        raise TypeError("this map is unset; assign a new one to the attribute instead of changing it in place")

    __hash__ = object.__hash__  # type: ignore[assignment]  # what has a hash is a default that pydantic does not copy

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    __setitem__ = __delitem__ = update = setdefault = pop = popitem = clear = __ior__ = _closed


EMPTY_MAP: Final[Any] = _EmptyMap()


def unset_items(*, alias: str | None = None) -> Any:
    """Default of a list field: an empty tuple, so that writing in place fails instead of being lost."""
    return Field(default=EMPTY_ITEMS, alias=alias)


def unset_map() -> Any:
    """Default of a map field: see `unset_items`."""
    return Field(default=EMPTY_MAP)


# Numbers and booleans are strict: the API server refuses "1" and true where a number belongs, so do we.
Bool = Annotated[bool, Field(strict=True)]
Int = Annotated[int, Field(strict=True)]
Int32 = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1), Schema(format="int32")]
Int64 = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1), Schema(format="int64")]

_TIME: Final = r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$"

Time = Annotated[str, Field(pattern=_TIME), Schema(format="date-time")]
"""RFC 3339 text, as Kubernetes writes it: UTC, seconds (deadlines: milliseconds)."""
MicroTime = Annotated[str, Field(pattern=_TIME), Schema(format="date-time")]
"""RFC 3339 text with six fractional digits."""

Duration = str
"""A Go duration such as "1h30m" (see `bobrapet.api.duration`)."""
Quantity = str
"""A Kubernetes quantity such as "100m" or "1Gi" (see `bobrapet.api.quantity`)."""

IntOrString = Annotated[Int | str, Schema(int_or_string=True, any_of=({"type": "integer"}, {"type": "string"}))]

QUANTITY_PATTERN: Final = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
IntOrQuantity = Annotated[
    Int | str,
    Schema(int_or_string=True, any_of=({"type": "integer"}, {"type": "string"}), pattern=QUANTITY_PATTERN),
]

JSONObject = Annotated[dict[str, Any], Schema(preserve_unknown=True)]
"""A free JSON object: its content is the user's, every key, null and zero survives."""

Label = Annotated[str, Schema(pattern=LABEL_PATTERN)]
"""A lower-case DNS label without dots."""
ObjectName = Annotated[str, Schema(min_length=1, max_length=253, pattern=LABEL_PATTERN)]
Namespace = Annotated[str, Schema(max_length=63, pattern=LABEL_PATTERN)]
StepName = Annotated[str, Schema(min_length=1, max_length=63, pattern=LABEL_PATTERN)]
NonEmpty = Annotated[str, Schema(min_length=1)]
Version = Annotated[str, Schema(max_length=64)]
