"""`x-kubernetes-validations` of a schema, applied to objects.

A rule sees the value of its node as `self`, and what it was before as `oldSelf`. A rule with `oldSelf` is only asked
where there was a value that can be told to be the same one; a rule without it that fails on something that did not
change is a warning, so that a new rule does not block writes to old objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from bobrapet.local.apiserver.cel import types
from bobrapet.local.apiserver.cel.declarations import Declaration, declare, value_of
from bobrapet.local.apiserver.cel.errors import CompileError, CostExceeded, EvaluationError
from bobrapet.local.apiserver.cel.program import Program
from bobrapet.local.apiserver.cel.values import NONE, Optional
from bobrapet.local.apiserver.errors import FieldError, Tolerated
from bobrapet.local.apiserver.metadata import quote
from bobrapet.local.apiserver.schema import Schema
from bobrapet.local.apiserver.types import Object

ABSENT: Final[Any] = object()
"""There was no value before, or none that is the same."""
OBJECT_BUDGET = 10_000_000
"""Cost of all rules on one object: about a second in a kube-apiserver."""
_MESSAGE_LIMIT = 5 * 1024
_OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_REASONS = {
    "FieldValueForbidden": "Forbidden: {detail}",
    "FieldValueRequired": "Required value: {detail}",
    "FieldValueDuplicate": "Duplicate value{value}",
    "FieldValueInvalid": "Invalid value{value}: {detail}",
}


class Rule:
    """One rule, compiled."""

    def __init__(self, given: Object, schema: Schema, declaration: Declaration) -> None:
        """Raises CompileError, of the rule or (`in_message`) of its message expression."""
        self.given = given
        self.optional_old = bool(given.get("optionalOldSelf"))
        old = types.optional_of(declaration.type) if self.optional_old else declaration.type
        variables = {"self": declaration.type, "oldSelf": old}
        self.program = Program(given["rule"], variables)
        self.uses_old = self.program.uses("oldSelf")
        self.message: Program | None = None
        self.message_error: CompileError | None = None
        if text := given.get("messageExpression"):
            try:
                self.message = Program(text, variables)
            except CompileError as error:
                self.message_error = error
        self.path = field_path(given.get("fieldPath") or "", schema) or ""

    @property
    def shown(self) -> str:
        """What stands for the rule in messages about it."""
        return str(self.given.get("message") or self.given["rule"]).strip()

    @property
    def default_message(self) -> str:
        """What a client reads when the rule fails and says nothing better."""
        text = self.given.get("message")
        return str(text).strip() if text else f"failed rule: {self.shown}"


@dataclass(slots=True)
class Validator:
    """The rules of a node and of everything below it."""

    schema: Schema
    rules: tuple[Rule, ...] = ()
    properties: Mapping[str, Validator] = field(default_factory=dict)
    additional: Validator | None = None
    items: Validator | None = None

    def check(self, value: Any, old: Any = ABSENT) -> list[FieldError]:
        """The faults of a whole object; those that it had before come as `Tolerated`."""
        check = _Check()
        with suppress(_Stopped):
            check.node(self, value, old, "", unchanged=False)
        return check.faults


def validator(schema: Schema, *, root: bool = False) -> Validator | None:
    """The rules of a schema; None when it has none. Raises CompileError: definitions are checked before."""
    if schema.name:  # the type of a built-in kind (metadata): no rules, and it may refer to itself
        return None
    found = Validator(schema)
    if schema.rules and (declaration := declare(schema, root=root)) is not None:
        found.rules = tuple(Rule(given, schema, declaration) for given in schema.rules)
    found.properties = {
        name: child
        for name, part in schema.properties.items()
        if (child := validator(part, root=part.embedded)) is not None
    }
    if schema.additional is not None:
        found.additional = validator(schema.additional, root=schema.additional.embedded)
    if schema.items is not None:
        found.items = validator(schema.items, root=schema.items.embedded)
    return found if found.rules or found.properties or found.additional or found.items else None


class _Stopped(Exception):
    """The budget is used up: no more rules are asked."""


class _Check:
    """One object under the rules."""

    def __init__(self) -> None:
        self.faults: list[FieldError] = []
        self._budget = OBJECT_BUDGET

    def node(self, validator: Validator, value: Any, old: Any, path: str, *, unchanged: bool) -> None:
        """Asks the rules of a node and below. `unchanged`: the nearest thing that could be compared is as before."""
        if value is None:
            return
        if old is not ABSENT:
            unchanged = bool(value == old)
        self._rules(validator, value, old, path, unchanged)
        match value:
            case dict():
                self._children(validator, value, old, path, unchanged)
            case list() if validator.items is not None:
                find = _correlated(validator.schema, old)
                for position, item in enumerate(value):
                    self.node(validator.items, item, find(item), f"{path}[{position}]", unchanged=unchanged)

    def _children(self, validator: Validator, value: Object, old: Any, path: str, unchanged: bool) -> None:
        before = old if isinstance(old, dict) and not validator.schema.atomic else {}
        for name, item in value.items():
            if (child := validator.properties.get(name)) is not None:
                where = f"{path}.{name}" if path else name
                self.node(child, item, before.get(name, ABSENT), where, unchanged=unchanged)
            elif validator.additional is not None:
                self.node(validator.additional, item, before.get(name, ABSENT), f"{path}[{name}]", unchanged=unchanged)

    def _rules(self, validator: Validator, value: Any, old: Any, path: str, unchanged: bool) -> None:
        if not validator.rules:
            return
        schema = validator.schema
        now = value_of(schema, value)
        then = ABSENT if old is ABSENT or old is None else value_of(schema, old)
        for rule in validator.rules:
            if rule.uses_old and then is ABSENT and not rule.optional_old:
                continue
            variables = {"self": now}
            if rule.optional_old:
                variables["oldSelf"] = NONE if then is ABSENT else Optional(then)
            elif then is not ABSENT:
                variables["oldSelf"] = then
            self._rule(rule, variables, schema, value, path, unchanged)

    def _rule(
        self, rule: Rule, variables: Mapping[str, Any], schema: Schema, given: Any, path: str, unchanged: bool
    ) -> None:
        def invalid(detail: str) -> None:
            self.faults.append(FieldError(path or "<nil>", f"Invalid value: {quote(schema.type)}: {detail}"))

        if self._budget <= 0:
            invalid(_OUT_OF_BUDGET)
            raise _Stopped
        try:
            value, cost = rule.program.evaluate(variables)
        except CostExceeded as error:
            if error.cost > self._budget:
                invalid(_OUT_OF_BUDGET)
            else:
                invalid(
                    f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: "
                    f"{rule.shown}"
                )
            raise _Stopped from None
        except EvaluationError as error:
            self._spend(error.cost, invalid)
            if str(error).startswith("no such overload"):
                invalid(
                    f"'{error}': call arguments did not match a supported operator, function or macro signature for "
                    f"rule: {rule.shown}"
                )
            else:
                invalid(f"{error} evaluating rule: {rule.shown}")
            return
        self._spend(cost, invalid)
        if value is True:
            return
        self._failed(rule, variables, given, path, tolerated=unchanged and not rule.uses_old)

    def _failed(self, rule: Rule, variables: Mapping[str, Any], value: Any, path: str, *, tolerated: bool) -> None:
        reason = rule.given.get("reason") or "FieldValueInvalid"
        detail = self._message(rule, variables)
        stopped = detail is None
        if detail is None:
            reason, detail = "FieldValueInvalid", _MESSAGE_OUT_OF_BUDGET
        text = _REASONS[reason].format(detail=detail, value=_shown(value))
        where = f"{path}{rule.path}" if path else rule.path.removeprefix(".")
        self.faults.append((Tolerated if tolerated else FieldError)(where or "<nil>", text, reason))
        if stopped:
            raise _Stopped

    def _message(self, rule: Rule, variables: Mapping[str, Any]) -> str | None:
        """What the client reads; None when there is no budget left to say it."""
        if rule.message is None:
            return rule.default_message
        try:
            text, cost = rule.message.evaluate(variables)
        except CostExceeded:
            return None
        except EvaluationError as error:
            self._budget -= error.cost
            return rule.default_message
        if cost > self._budget:
            return None
        self._budget -= cost
        text = text.strip() if isinstance(text, str) else ""
        if not text or "\n" in text or len(text.encode()) > _MESSAGE_LIMIT:
            return rule.default_message
        return text

    def _spend(self, cost: int, invalid: Callable[[str], None]) -> None:
        if cost > self._budget:
            invalid(_OUT_OF_BUDGET)
            raise _Stopped
        self._budget -= cost


def _shown(value: Any) -> str:
    """A value in a message; objects and lists would be too long."""
    return "" if isinstance(value, dict | list) else f": {json.dumps(value, ensure_ascii=False)}"


_MESSAGE_OUT_OF_BUDGET = (
    "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
)


def _correlated(schema: Schema, old: Any) -> Callable[[Any], Any]:
    """How to find what an entry of a list was before: only lists with keys can tell."""
    if not schema.list_keys or not isinstance(old, list):
        return lambda _item: ABSENT

    def key(item: Any) -> tuple[str, ...] | None:
        return tuple(repr(item.get(name)) for name in schema.list_keys) if isinstance(item, dict) else None

    known = {key(item): item for item in old}
    return lambda item: known.get(key(item), ABSENT)


# Paths


_STEP = re.compile(r"\.([^.\[\]']+)|\['((?:\\.|[^'\\])*)'\]")
_QUOTED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


def field_path(text: str, schema: Schema) -> str | None:
    """`fieldPath` in the form of messages (`.a['b']` is `.a.b`); None when the schema has no such field."""
    shown = []
    at = 0
    current: Schema | None = schema
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or current is None:
            return None
        at = match.end()
        name = match[1]
        if name is None:
            try:
                name = re.sub(r"\\(.)", lambda escape: _QUOTED[escape[1]], match[2])
            except KeyError:
                return None
        if current.properties:
            current = current.properties.get(name)
            if current is None:
                return None
            shown.append(f".{name}")
        elif current.additional is not None:
            current = current.additional
            shown.append(f"[{name}]")
        else:
            return None
    return "".join(shown)


__all__ = ["ABSENT", "Rule", "Validator", "field_path", "validator"]
