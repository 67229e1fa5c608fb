"""The types of expressions, how they are written, and which fits where.

Type parameters stand in declarations of functions (`list(A) + list(A) -> list(A)`); `Unifier` finds what they are in
one call. `dyn` fits everywhere and is decided by the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Type:
    """A type. `fields` belong to objects of a schema, by their escaped names."""

    name: str
    parameters: tuple[Type, ...] = ()
    fields: Mapping[str, Type] | None = field(default=None, compare=False, hash=False, repr=False)

    def __str__(self) -> str:
        if self.name in _SHORT:
            return _SHORT[self.name]
        return f"{self.name}({', '.join(map(str, self.parameters))})" if self.parameters else self.name

    @property
    def is_parameter(self) -> bool:
        """Whether it stands for any one type."""
        return self.name in ("A", "B") or self.name.startswith("_var")


_SHORT = {
    "google.protobuf.Timestamp": "timestamp",
    "google.protobuf.Duration": "duration",
    "null_type": "null",
    "error": "!error!",
}

BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
NULL = Type("null_type")
DYN = Type("dyn")
ERROR = Type("error")
TIMESTAMP = Type("google.protobuf.Timestamp")
DURATION = Type("google.protobuf.Duration")
A = Type("A")
B = Type("B")
URL = Type("kubernetes.URL")
IP = Type("net.IP")
CIDR = Type("net.CIDR")
QUANTITY = Type("kubernetes.Quantity")
SEMVER = Type("kubernetes.Semver")
FORMAT = Type("kubernetes.NamedFormat")


def list_of(element: Type) -> Type:
    """A list."""
    return Type("list", (element,))


def map_of(key: Type, value: Type) -> Type:
    """A map."""
    return Type("map", (key, value))


def optional_of(value: Type) -> Type:
    """A value that may be absent."""
    return Type("optional_type", (value,))


def type_of(described: Type) -> Type:
    """The type of a type."""
    return Type("type", (described,))


NAMES = {
    "bool": BOOL,
    "int": INT,
    "uint": UINT,
    "double": DOUBLE,
    "string": STRING,
    "bytes": BYTES,
    "null_type": NULL,
    "dyn": DYN,
    "list": list_of(DYN),
    "map": map_of(DYN, DYN),
    "type": Type("type"),
    "google.protobuf.Timestamp": TIMESTAMP,
    "google.protobuf.Duration": DURATION,
    "optional_type": optional_of(DYN),
    **{opaque.name: opaque for opaque in (URL, IP, CIDR, QUANTITY, SEMVER, FORMAT)},
}
"""What a type is called in an expression: `type(x) == int`."""

_NULLABLE = ("google.protobuf.Timestamp", "google.protobuf.Duration", "optional_type")


class Unifier:
    """What the type parameters of one expression are found to be."""

    def __init__(self) -> None:
        self._found: dict[str, Type] = {}
        self._fresh = 0

    def fresh(self) -> Type:
        """A new parameter."""
        self._fresh += 1
        return Type(f"_var{self._fresh}")

    def instance(self, types: tuple[Type, ...]) -> tuple[Type, ...]:
        """A declaration with parameters of its own."""
        names: dict[str, Type] = {}
        return tuple(self._renamed(type, names) for type in types)

    def _renamed(self, type: Type, names: dict[str, Type]) -> Type:
        if type.is_parameter:
            if type.name not in names:
                names[type.name] = self.fresh()
            return names[type.name]
        if not type.parameters:
            return type
        return Type(type.name, tuple(self._renamed(part, names) for part in type.parameters), type.fields)

    def resolve(self, type: Type, *, final: bool = False) -> Type:
        """The type with everything found put in; `final`: what nobody decided is dyn."""
        if type.is_parameter:
            found = self._found.get(type.name)
            if found is None:
                return DYN if final else type
            return self.resolve(found, final=final)
        if not type.parameters:
            return type
        return Type(type.name, tuple(self.resolve(part, final=final) for part in type.parameters), type.fields)

    def assign_all(self, given: tuple[Type, ...], wanted: tuple[Type, ...]) -> bool:
        """Whether values of these types can be these arguments; nothing is found when one cannot."""
        before = dict(self._found)
        if len(given) == len(wanted) and all(map(self._fits, given, wanted)):
            return True
        self._found = before
        return False

    def assign(self, given: Type, wanted: Type) -> bool:
        """Whether a value of one type can be where the other is wanted."""
        return self.assign_all((given,), (wanted,))

    def _fits(self, given: Type, wanted: Type) -> bool:
        given, wanted = self.resolve(given), self.resolve(wanted)
        if given == wanted:
            return True
        if wanted.is_parameter:
            return self._bind(wanted, given)
        if given.is_parameter:
            return self._bind(given, wanted)
        if DYN in (given, wanted) or ERROR in (given, wanted):
            return True
        if given == NULL:
            return wanted.fields is not None or wanted.name in _NULLABLE
        if given.name != wanted.name:
            return False
        if given.name == "type":
            return True
        return len(given.parameters) == len(wanted.parameters) and all(
            map(self._fits, given.parameters, wanted.parameters)
        )

    def _bind(self, parameter: Type, type: Type) -> bool:
        if _occurs(parameter, type):
            return False
        self._found[parameter.name] = type
        return True

    def join(self, first: Type, second: Type) -> Type | None:
        """The more general of two types when one fits the other; None when neither does."""
        if self.assign(second, first):
            return DYN if second == DYN else self.resolve(first)
        return self.resolve(second) if self.assign(first, second) else None


def _occurs(parameter: Type, type: Type) -> bool:
    return type == parameter or any(_occurs(parameter, part) for part in type.parameters)
