"""Label and field selectors, read from their text and evaluated in memory (apimachinery's labels and fields)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bobrapet.runtime.errors import ClientError

_KEY = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*")
_COMPARISON = re.compile(rf"\s*({_KEY})\s*(==|=|!=|>|<)\s*({_VALUE})\s*")
_EXISTENCE = re.compile(rf"\s*(!?)\s*({_KEY})\s*")


class InvalidSelector(ClientError):
    """The text is no selector."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: str
    """One of `=`, `!=`, `in`, `notin`, `exists`, `!`, `>`, `<`."""

    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Negative conditions also hold for objects without the label, as everywhere in Kubernetes."""
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value in self.values
            case "!=" | "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        try:
            number, limit = int(value or ""), int(self.values[0])
        except ValueError:
            return False
        return number > limit if self.operator == ">" else number < limit

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
        return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Conditions that must all hold; without any, everything matches."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def parse(cls, selector: str | Mapping[str, str] | None) -> LabelSelector:
        """Reads text such as `app=web,tier in (a,b),!canary`, or a map of equalities. Raises `InvalidSelector`."""
        if not selector:
            return cls()
        if not isinstance(selector, str):
            return cls(tuple(Requirement(key, "=", (value,)) for key, value in selector.items()))
        requirements = []
        position = 0
        while True:
            requirement, position = _requirement(selector, position)
            requirements.append(requirement)
            if position == len(selector):
                return cls(tuple(requirements))
            if selector[position] != ",":
                raise _invalid(selector, position)
            position += 1

    @classmethod
    def from_object(cls, raw: Mapping[str, object] | None) -> LabelSelector:
        """Reads a metav1.LabelSelector: `matchLabels` and `matchExpressions`."""
        raw = raw or {}
        requirements = []
        equal = raw.get("matchLabels")
        if isinstance(equal, Mapping):
            requirements += [Requirement(key, "=", (value,)) for key, value in equal.items()]
        expressions = raw.get("matchExpressions")
        for expression in expressions if isinstance(expressions, list) else ():
            operator = _EXPRESSION_OPERATORS.get(expression.get("operator"))
            if operator is None:
                known = ", ".join(_EXPRESSION_OPERATORS)
                raise InvalidSelector(f"label selector: unknown operator {expression.get('operator')!r}, not {known}")
            requirements.append(Requirement(expression["key"], operator, tuple(expression.get("values") or ())))
        return cls(tuple(requirements))

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        present = labels or {}
        return all(requirement.matches(present) for requirement in self.requirements)

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


_EXPRESSION_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def _requirement(text: str, start: int) -> tuple[Requirement, int]:
    if match := _SET.match(text, start):
        values = tuple(sorted({value.strip() for value in match[3].split(",")}))
        return Requirement(match[1], match[2], values), match.end()
    if match := _COMPARISON.match(text, start):
        operator = "=" if match[2] == "==" else match[2]
        return Requirement(match[1], operator, (match[3],)), match.end()
    if match := _EXISTENCE.match(text, start):
        return Requirement(match[2], "!" if match[1] else "exists"), match.end()
    raise _invalid(text, start)


def _invalid(text: str, position: int) -> InvalidSelector:
    return InvalidSelector(f"label selector {text!r}: cannot read {text[position:]!r} (at {position})")


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One condition on one field: equal or not equal."""

    field: str
    value: str
    equal: bool = True

    def __str__(self) -> str:
        return f"{self.field}{'=' if self.equal else '!='}{self.value}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Conditions on fields that must all hold; without any, everything matches."""

    requirements: tuple[FieldRequirement, ...] = ()

    @classmethod
    def parse(cls, selector: str | Mapping[str, str] | None) -> FieldSelector:
        """Reads text such as `metadata.name=a,status.phase!=Running`, or a map of equalities."""
        if not selector:
            return cls()
        if not isinstance(selector, str):
            return cls(tuple(FieldRequirement(field, value) for field, value in selector.items()))
        requirements = []
        for term in re.split(r"(?<!\\),", selector):
            match = re.fullmatch(r"\s*([^=!\s]+)\s*(==|=|!=)\s*(.*?)\s*", term)
            if match is None:
                raise InvalidSelector(f"field selector {selector!r}: cannot read {term!r}; write field=value")
            value = re.sub(r"\\([\\,=])", r"\1", match[3])
            requirements.append(FieldRequirement(match[1], value, match[2] != "!="))
        return cls(tuple(requirements))

    def matches(self, value_of: Callable[[str], str]) -> bool:
        """Evaluates against a function from field to its text."""
        return all((value_of(entry.field) == entry.value) is entry.equal for entry in self.requirements)

    def without(self, field: str) -> FieldSelector:
        """The same, without conditions on a field."""
        return FieldSelector(tuple(entry for entry in self.requirements if entry.field != field))

    def required(self, field: str) -> str | None:
        """The value that a field must have, if there is one."""
        return next((entry.value for entry in self.requirements if entry.field == field and entry.equal), None)

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))
