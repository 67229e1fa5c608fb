"""Label and field selectors as query parameters carry them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bobrapet.local.apiserver.errors import ApiError, bad_request
from bobrapet.local.apiserver.metadata import label_value_errors, qualified_name_errors, quote

Match = Callable[[Mapping[str, str]], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|<|>|[^\s,()!=<>]+)\s*")


@dataclass(frozen=True, slots=True)
class Requirement:
    """`key operator values`; operators: In, NotIn, Exists, DoesNotExist, Gt, Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a set of labels fulfils this."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        try:
            return value is not None and (
                int(value) > int(self.values[0]) if self.operator == "Gt" else int(value) < int(self.values[0])
            )
        except ValueError:
            return False


def labels(text: str) -> tuple[Requirement, ...]:
    """Parses `labelSelector`; raises a 400 that says what is wrong."""
    return tuple(_LabelParser(text).parse())


def label_matcher(text: str) -> Match | None:
    """A predicate over labels; None when everything matches."""
    return all_of(labels(text))


def all_of(requirements: tuple[Requirement, ...]) -> Match | None:
    """The conjunction of requirements."""
    if not requirements:
        return None
    if len(requirements) == 1:
        return requirements[0].matches
    return lambda labels: all(requirement.matches(labels) for requirement in requirements)


def fields(text: str) -> tuple[Requirement, ...]:
    """Parses `fieldSelector`: terms of `path=value`, `path==value`, `path!=value`."""
    requirements = []
    for term in _split(text):
        if not term:
            continue
        for operator in ("!=", "==", "="):
            key, found, value = term.partition(operator)
            if found:
                kind = "NotIn" if operator == "!=" else "In"
                requirements.append(Requirement(key, kind, (_unescape(value),)))
                break
        else:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
    return tuple(requirements)


def from_label_selector(selector: Mapping[str, Any] | None) -> Match | None:
    """A predicate from a LabelSelector object; None when it selects everything."""
    given = selector or {}
    requirements = [Requirement(key, "In", (value,)) for key, value in (given.get("matchLabels") or {}).items()]
    requirements += [
        Requirement(entry["key"], entry["operator"], tuple(entry.get("values") or ()))
        for entry in given.get("matchExpressions") or ()
    ]
    return all_of(tuple(requirements))


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector object as a query string."""
    if not selector:
        return ""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for entry in selector.get("matchExpressions") or ():
        values = ",".join(sorted(entry.get("values") or ()))
        match entry["operator"]:
            case "In" | "NotIn":
                parts.append(f"{entry['key']} {entry['operator'].lower()} ({values})")
            case "Exists":
                parts.append(entry["key"])
            case _:
                parts.append(f"!{entry['key']}")
    return ",".join(parts)


class _LabelParser:
    """Reads `key`, `!key`, `key OPERATOR value` and `key in (values)`, joined by commas."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._position = 0
        if "".join(self._tokens) != "".join(text.split()):
            raise _unparsable("unexpected character")

    def parse(self) -> Iterator[Requirement]:
        while self._peek():
            yield self._requirement()
            comma = self._take()
            if comma not in ("", ","):
                raise _unparsable(f"found '{comma}', expected: ',' or 'end of string'")
            if comma and not self._peek():
                raise _unparsable("found '', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        token = self._take()
        if token == "!":
            return Requirement(_key(self._take()), "DoesNotExist")
        key = _key(token)
        if self._peek() in ("", ","):
            return Requirement(key, "Exists")
        match operator := self._take():
            case "=" | "==" | "!=":
                # Nothing behind the sign is the empty value.
                value = "" if self._peek() in ("", ",") else self._take()
                return Requirement(key, "NotIn" if operator == "!=" else "In", (_value(key, value),))
            case ">" | "<":
                value = self._take()
                if not re.fullmatch(r"[+-]?\d+", value):
                    raise _unparsable(f"for 'Gt', 'Lt' operators, the value must be an integer: {quote(value)}")
                return Requirement(key, "Gt" if operator == ">" else "Lt", (value,))
            case "in" | "notin":
                return Requirement(key, "In" if operator == "in" else "NotIn", tuple(self._values(key)))
        raise _unparsable(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def _values(self, key: str) -> Iterator[str]:
        if (found := self._take()) != "(":
            raise _unparsable(f"found '{found}' expected: '('")
        while True:
            yield "" if self._peek() in (",", ")") else _value(key, self._take())
            separator = self._take()
            if separator == ")":
                return
            if separator != ",":
                raise _unparsable(f"found '{separator}', expected: ',' or ')'")

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._position += 1
        return token


def _key(token: str) -> str:
    if problems := qualified_name_errors(token):
        raise _unparsable(f"key: Invalid value: {quote(token)}: {'; '.join(problems)}")
    return token


def _value(key: str, token: str) -> str:
    if problems := label_value_errors(token):
        raise _unparsable(f"values[0][{key}]: Invalid value: {quote(token)}: {'; '.join(problems)}")
    return token


def _unparsable(why: str) -> ApiError:
    return bad_request(f"unable to parse requirement: {why}")


def _split(text: str) -> list[str]:
    return re.split(r"(?<!\\),", text)


def _unescape(value: str) -> str:
    return re.sub(r"\\([\\,=])", r"\1", value)
