"""Label and field selectors as query parameters carry them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bobrapet.local.apiserver.errors import bad_request
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
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != "".join(text.split()):
        raise _unparsable(text, "unexpected character")
    requirements: list[Requirement] = []
    position = 0

    def take() -> str:
        nonlocal position
        token = tokens[position] if position < len(tokens) else ""
        position += 1
        return token

    while position < len(tokens):
        token = take()
        if token == "!":
            requirements.append(Requirement(_key(text, take()), "DoesNotExist"))
        else:
            key = _key(text, token)
            operator = take()
            if operator in ("", ","):
                requirements.append(Requirement(key, "Exists"))
                continue
            requirements.append(_requirement(text, key, operator, take))
        comma = take()
        if comma not in ("", ","):
            raise _unparsable(text, f"found '{comma}', expected: ',' or 'end of string'")
        if comma == "," and position >= len(tokens):
            raise _unparsable(text, "found '', expected: identifier after ','")
    return tuple(requirements)


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


def _requirement(text: str, key: str, operator: str, take: Callable[[], str]) -> Requirement:
    if operator in ("=", "==", "!="):
        value = take()
        if value == ",":
            raise _unparsable(text, f"found '{value}', expected: identifier")
        return Requirement(key, "NotIn" if operator == "!=" else "In", (_value(text, key, value),))
    if operator in (">", "<"):
        value = take()
        if not re.fullmatch(r"[+-]?\d+", value):
            raise _unparsable(text, f"for 'Gt', 'Lt' operators, the value must be an integer: {quote(value)}")
        return Requirement(key, "Gt" if operator == ">" else "Lt", (value,))
    if operator in ("in", "notin"):
        if (found := take()) != "(":
            raise _unparsable(text, f"found '{found}' expected: '('")
        values = []
        while True:
            token = take()
            if token == ")":
                values.append("")
                break
            if token == ",":
                values.append("")
                continue
            if token == "":
                raise _unparsable(text, "found '', expected: ')'")
            values.append(_value(text, key, token))
            separator = take()
            if separator == ")":
                break
            if separator != ",":
                raise _unparsable(text, f"found '{separator}', expected: ',' or ')'")
        return Requirement(key, "In" if operator == "in" else "NotIn", tuple(values))
    raise _unparsable(text, f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")


def _key(text: str, token: str) -> str:
    if problems := qualified_name_errors(token):
        raise _unparsable(text, f"key: Invalid value: {quote(token)}: {'; '.join(problems)}")
    return token


def _value(text: str, key: str, token: str) -> str:
    if problems := label_value_errors(token):
        where = f"values[0][{key}]"
        raise _unparsable(text, f"{where}: Invalid value: {quote(token)}: {'; '.join(problems)}")
    return token


def _unparsable(text: str, why: str) -> Exception:
    return bad_request(f"unable to parse requirement: {why}")


def _split(text: str) -> list[str]:
    return re.split(r"(?<!\\),", text)


def _unescape(value: str) -> str:
    return re.sub(r"\\([\\,=])", r"\1", value)
