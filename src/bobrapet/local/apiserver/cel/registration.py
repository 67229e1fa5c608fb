"""The rules of a definition before it is accepted: they compile, fit the schema, and can never cost too much."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from bobrapet.local.apiserver.cel.declarations import MAX_REQUEST, declare
from bobrapet.local.apiserver.cel.errors import CompileError
from bobrapet.local.apiserver.cel.estimate import MOST, worst_cost
from bobrapet.local.apiserver.cel.rules import Rule, field_path
from bobrapet.local.apiserver.cel.types import BOOL, STRING
from bobrapet.local.apiserver.errors import FieldError
from bobrapet.local.apiserver.metadata import quote
from bobrapet.local.apiserver.schema import Schema, structural
from bobrapet.local.apiserver.types import Object

RULE_BUDGET = 10_000_000
"""Estimated cost of one rule, times how often its node can be there."""
SCHEMA_BUDGET = 100_000_000
"""Estimated cost of all rules of a version."""
_WORTH_TELLING = SCHEMA_BUDGET // 100
_TOLD = 4

_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_FORBIDDEN = "FieldValueForbidden"
_REQUIRED = "FieldValueRequired"
_ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)


def rule_faults(given: Object, path: str, *, well_formed: bool) -> list[FieldError]:
    """The faults of all rules of a schema. `well_formed`: whether the schema is, else nothing can be compiled."""
    total = _Total()
    ruled: set[int] = set()
    if not _mark(given, ruled):
        return []
    if well_formed:
        faults = _node_faults(given, _Place(path, root=True), total, ruled)
    else:
        faults = list(_all_form_faults(given, path))
    if total.cost > SCHEMA_BUDGET:
        text = "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        faults += [FieldError(where, text, _FORBIDDEN) for _, where in total.most_expensive()]
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        faults.append(FieldError(path, _exceeded(what, total.cost, SCHEMA_BUDGET), _FORBIDDEN))
    return faults


@dataclass(frozen=True, slots=True)
class _Place:
    """A node of the schema, and what is above it."""

    path: str
    root: bool = False
    cardinality: int | None = 1
    """How many values it can have in one object; None when nothing bounds that."""
    uncorrelated: str = ""
    """The node above from which on nobody can tell what a value was before."""

    def below(self, step: str, factor: int | None, *, correlated: bool, root: bool = False) -> _Place:
        """The place of a child."""
        count = None if self.cardinality is None or factor is None else min(self.cardinality * factor, MOST)
        lost = self.uncorrelated or ("" if correlated else self.path)
        return replace(self, path=self.path + step, root=root, cardinality=count, uncorrelated=lost)


@dataclass(slots=True)
class _Total:
    """The cost of all rules together."""

    cost: int = 0
    expensive: list[tuple[int, str]] = field(default_factory=list)

    def add(self, cost: int, path: str) -> None:
        self.cost = min(self.cost + cost, MOST)
        if cost >= _WORTH_TELLING:
            self.expensive.append((cost, path))

    def most_expensive(self) -> list[tuple[int, str]]:
        return sorted(self.expensive, key=lambda entry: -entry[0])[:_TOLD]


def _children(given: Object, place: _Place, ruled: set[int] | None = None) -> Iterator[tuple[Object, _Place]]:
    """The nodes below, with their places; only those of `ruled`, when that is given."""
    granular = given.get("x-kubernetes-map-type") != "atomic"
    additional = given.get("additionalProperties")
    if isinstance(additional, dict):
        factor = given.get("maxProperties")
        root = bool(additional.get("x-kubernetes-embedded-resource"))
        yield additional, place.below(".additionalProperties", factor, correlated=granular, root=root)
    for name, child in (given.get("properties") or {}).items():
        if ruled is not None and id(child) not in ruled:
            continue
        root = bool(child.get("x-kubernetes-embedded-resource"))
        yield child, place.below(f".properties[{name}]", 1, correlated=granular, root=root)
    items = given.get("items")
    if isinstance(items, dict):
        keyed = given.get("x-kubernetes-list-type") == "map"
        root = bool(items.get("x-kubernetes-embedded-resource"))
        yield items, place.below(".items", given.get("maxItems"), correlated=keyed, root=root)


def _mark(given: Object, ruled: set[int]) -> bool:
    """Notes the nodes with rules on them or below: few of a large schema, and only they are worth a closer look."""
    children = [*(given.get("properties") or {}).values(), given.get("additionalProperties"), given.get("items")]
    below = [_mark(child, ruled) for child in children if isinstance(child, dict)]
    if any(below) or given.get("x-kubernetes-validations"):
        ruled.add(id(given))
        return True
    return False


def _node_faults(given: Object, place: _Place, total: _Total, ruled: set[int]) -> list[FieldError]:
    faults = []
    for child, below in _children(given, place, ruled):
        faults += _node_faults(child, below, total, ruled)
    return faults + _rules_faults(given, place, total)


def _rules_faults(given: Object, place: _Place, total: _Total) -> list[FieldError]:
    rules = given.get("x-kubernetes-validations")
    if not rules:
        return []
    schema = structural(given)
    if form := _form_faults(rules, schema, place.path):
        return form
    declaration = declare(schema, root=place.root)
    where = f"{place.path}.x-kubernetes-validations"
    if declaration is None:
        text = "Internal error: failed to construct type information for x-kubernetes-validations rules"
        return [FieldError(where, text, "InternalError")]
    count = place.cardinality if place.cardinality is not None else MAX_REQUEST // (declaration.least_bytes + 1)
    faults: list[FieldError] = []
    for position, rule in enumerate(rules):
        at = f"{where}[{position}]"
        try:
            compiled = Rule(rule, schema, declaration)
        except CompileError as error:
            faults.append(_invalid(f"{at}.rule", rule, f"compilation failed: {error}"))
            continue
        if compiled.program.type != BOOL:
            faults.append(_invalid(f"{at}.rule", rule, "cel expression must evaluate to a bool"))
            continue
        if failure := compiled.program.constant_failure():
            faults.append(_invalid(f"{at}.rule", rule, f"program instantiation failed: {failure}"))
            continue
        cost = min(worst_cost(compiled.program.root, declaration) * count, MOST)
        faults += _cost_faults("estimated rule cost", cost, f"{at}.rule", total)
        if compiled.message_error is not None:
            told = f"messageExpression compilation failed: {compiled.message_error}"
            faults.append(_invalid(f"{at}.messageExpression", rule, told))
        elif compiled.message is not None:
            if compiled.message.type != STRING:
                told = "messageExpression must evaluate to a string"
                faults.append(_invalid(f"{at}.messageExpression", rule, told))
            else:
                cost = worst_cost(compiled.message.root, declaration)
                faults += _cost_faults("estimated messageExpression cost", cost, f"{at}.messageExpression", total)
        faults += _transition_faults(rule, compiled, at, place)
    return faults


def _transition_faults(rule: Object, compiled: Rule, at: str, place: _Place) -> list[FieldError]:
    if not compiled.uses_old and rule.get("optionalOldSelf") is not None:
        shown = "true" if rule["optionalOldSelf"] else "false"
        text = f"Invalid value: {shown}: may not be set if oldSelf is not used in rule"
        return [FieldError(f"{at}.optionalOldSelf", text)]
    if compiled.uses_old and place.uncorrelated:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelated}"
        return [FieldError(f"{at}.rule", f"Invalid value: {quote(rule['rule'])}: {why}")]
    return []


def _cost_faults(what: str, cost: int, path: str, total: _Total) -> list[FieldError]:
    total.add(cost, path)
    return [FieldError(path, _exceeded(what, cost, RULE_BUDGET), _FORBIDDEN)] if cost > RULE_BUDGET else []


def _exceeded(what: str, cost: int, budget: int) -> str:
    factor = cost / budget
    if factor > 100:
        shown = "more than 100x"
    else:
        shown = f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"Forbidden: {what} exceeds budget by factor of {shown} {_ADVICE}"


def _all_form_faults(given: Object, path: str) -> Iterator[FieldError]:
    for child, below in _children(given, _Place(path)):
        yield from _all_form_faults(child, below.path)
    if rules := given.get("x-kubernetes-validations"):
        yield from _form_faults(rules, structural(given), path)


def _form_faults(rules: list[Object], schema: Schema, path: str) -> list[FieldError]:
    """What is wrong with rules before anybody reads their expressions."""
    faults = []
    for position, rule in enumerate(rules):
        at = f"{path}.x-kubernetes-validations[{position}]"
        text, message = rule.get("rule") or "", rule.get("message") or ""
        if not text.strip():
            faults.append(FieldError(f"{at}.rule", "Required value: rule is not specified", _REQUIRED))
        elif message and not message.strip():
            faults.append(_bad(f"{at}.message", message, "must be non-empty if specified"))
        elif _has_break(message.strip()):
            faults.append(_bad(f"{at}.message", message, "must not contain line breaks"))
        elif _has_break(text.strip()) and not message.strip():
            why = "Required value: message must be specified if rule contains line breaks"
            faults.append(FieldError(f"{at}.message", why, _REQUIRED))
        expression = rule.get("messageExpression") or ""
        if expression and not expression.strip():
            why = "Required value: messageExpression must be non-empty if specified"
            faults.append(FieldError(f"{at}.messageExpression", why, _REQUIRED))
        if (reason := rule.get("reason")) is not None and reason not in _REASONS:
            supported = ", ".join(map(quote, _REASONS))
            why = f"Unsupported value: {quote(reason)}: supported values: {supported}"
            faults.append(FieldError(f"{at}.reason", why, "FieldValueNotSupported"))
        faults += _path_faults(rule.get("fieldPath") or "", schema, f"{at}.fieldPath")
    return faults


def _path_faults(text: str, schema: Schema, at: str) -> list[FieldError]:
    faults = []
    if text and not text.strip():
        faults.append(_bad(at, text, "must be non-empty if specified"))
    if _has_break(text):
        faults.append(_bad(at, text, "must not contain line breaks"))
    if text and field_path(text, schema) is None:
        faults.append(_bad(at, text, "must be a valid path"))
    return faults


def _has_break(text: str) -> bool:
    return re.search(r"[\n\r]", text) is not None


def _bad(path: str, value: str, why: str) -> FieldError:
    return FieldError(path, f"Invalid value: {quote(value)}: {why}")


def _invalid(path: str, rule: Object, why: str) -> FieldError:
    """The whole rule is shown, as Go writes it."""
    shown = {
        "Rule": rule["rule"],
        "Message": rule.get("message", ""),
        "MessageExpression": rule.get("messageExpression", ""),
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath", ""),
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }
    text = json.dumps(shown, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return FieldError(path, f"Invalid value: {text}: {why}")
