"""Nodes to closures: an expression is compiled once and then only called.

A closure takes the frame of an evaluation, which holds the variables and the cost so far. Costs are those of a
kube-apiserver as far as they can be the same: one for every name and field, and for calls what `functions` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bobrapet.local.apiserver.cel.ast import (
    Call,
    Comprehension,
    Ident,
    ListOf,
    Literal,
    MapOf,
    Node,
    OptionalMap,
    Select,
)
from bobrapet.local.apiserver.cel.errors import CostExceeded, EvaluationError, no_such_overload
from bobrapet.local.apiserver.cel.functions import Function
from bobrapet.local.apiserver.cel.library import functions
from bobrapet.local.apiserver.cel.library.lists import sorted_by
from bobrapet.local.apiserver.cel.library.operators import find_key, item_at, shown, value_of
from bobrapet.local.apiserver.cel.parser import qualified
from bobrapet.local.apiserver.cel.types import NAMES
from bobrapet.local.apiserver.cel.values import NONE, Optional, equal

LIST_COST = 10
MAP_COST = 30


class Frame:
    """One evaluation: its variables and what it cost so far."""

    __slots__ = ("cost", "limit", "variables")

    def __init__(self, variables: Mapping[str, Any], limit: int) -> None:
        self.variables: dict[str, Any] = dict(variables)
        self.cost = 0
        self.limit = limit

    def spend(self, cost: int) -> None:
        """Adds to the cost. Raises CostExceeded."""
        self.cost += cost
        if self.cost > self.limit:
            raise CostExceeded


Step = Callable[[Frame], Any]


def build(node: Node) -> Step:
    """The closure of a checked node."""
    match node:
        case Literal():
            value = node.value
            return lambda frame: value
        case Ident():
            return _ident(node.name)
        case Select():
            return _select(node)
        case Call():
            return _call(node)
        case ListOf():
            return _list(node)
        case MapOf():
            return _map(node)
        case Comprehension():
            return _comprehension(node)
        case OptionalMap():
            return _optional_map(node)
    raise TypeError(node)


def _ident(name: str) -> Step:
    def step(frame: Frame) -> Any:
        frame.cost += 1
        try:
            return frame.variables[name]
        except KeyError:
            if name in NAMES:
                return NAMES[name]
            raise EvaluationError(f"no such attribute(s): {name}") from None

    return step


def _select(node: Select) -> Step:
    if not node.test and not node.optional and (name := qualified(node)) in NAMES:
        named = NAMES[name]
        return lambda frame: named
    operand = build(node.operand)
    fields = node.operand.type.fields
    # Fields of a schema are found by their real name, not the escaped one.
    field = getattr(fields, "key", lambda name: name)(node.name) if fields is not None else node.name
    nullable = fields is None
    if node.test:
        return _presence(operand, field, nullable)
    if node.optional or node.operand.type.name == "optional_type":
        return _optional_select(operand, field, nullable)

    def step(frame: Frame) -> Any:
        value = operand(frame)
        frame.cost += 1
        if type(value) is dict:
            # In an object of a schema null is the same as missing.
            if (found := value.get(field)) is not None or (nullable and field in value):
                return found
            raise EvaluationError(f"no such key: {field}")
        if type(value) is Optional:
            return _optional_field(value, field, nullable)
        raise no_such_overload()

    return step


def _presence(operand: Step, field: str, nullable: bool) -> Step:
    def step(frame: Frame) -> bool:
        value = operand(frame)
        if type(value) is Optional:
            value = value.value if value.present else {}
        if type(value) is not dict:
            raise no_such_overload()
        return value.get(field) is not None or (nullable and field in value)

    return step


def _optional_select(operand: Step, field: str, nullable: bool) -> Step:
    def step(frame: Frame) -> Optional:
        value = operand(frame)
        frame.cost += 1
        return _optional_field(value if type(value) is Optional else Optional(value), field, nullable)

    return step


def _optional_field(optional: Optional, field: str, nullable: bool) -> Optional:
    if not optional.present:
        return NONE
    if type(optional.value) is not dict:
        raise no_such_overload()
    found = optional.value.get(field, NONE)
    return NONE if found is NONE or (found is None and not nullable) else Optional(found)


# Calls


def _call(node: Call) -> Step:
    match node.function:
        case "_&&_":
            return _junction(node, decides=False)
        case "_||_":
            return _junction(node, decides=True)
        case "_?_:_":
            return _conditional(node)
        case "_[_]":
            return _index(node)
        case "_==_" | "_!=_" if node.target is None:
            return _equality(node)
        case "or" | "orValue" if node.target is not None and node.target.type.name == "optional_type":
            return _or_value(node, wrap=node.function == "or")
    function = functions().get(node.function)
    assert function is not None
    steps = tuple(build(operand) for operand in node.operands)
    return _invocation(function, node.target is not None, steps)


def _invocation(function: Function, member: bool, steps: tuple[Step, ...]) -> Step:
    resolve = function.resolve

    def step(frame: Frame) -> Any:
        args = [step(frame) for step in steps]
        overload = resolve(member, tuple(map(type, args)))
        result = overload.call(*args)
        frame.spend(1 if overload.cost is None else overload.cost(args, result))
        return result

    def binary(frame: Frame) -> Any:
        left, right = first(frame), second(frame)
        overload = resolve(member, (type(left), type(right)))
        result = overload.call(left, right)
        frame.spend(1 if overload.cost is None else overload.cost((left, right), result))
        return result

    if len(steps) == 2:
        first, second = steps
        return binary
    return step


def _junction(node: Call, *, decides: bool) -> Step:
    """`&&` and `||`: one side that decides is enough, whatever the other does, even when it fails."""
    left, right = map(build, node.args)

    def step(frame: Frame) -> bool:
        failure: EvaluationError | None = None
        value: object
        for side in (left, right):
            try:
                value = side(frame)
            except CostExceeded:
                raise
            except EvaluationError as error:
                failure = failure or error
                continue
            if value is decides:
                return decides
            if type(value) is not bool:
                failure = failure or no_such_overload()
        if failure is not None:
            raise failure
        return not decides

    return step


def _conditional(node: Call) -> Step:
    condition, then, otherwise = map(build, node.args)

    def step(frame: Frame) -> Any:
        decided = condition(frame)
        if decided is True:
            return then(frame)
        if decided is False:
            return otherwise(frame)
        raise no_such_overload()

    return step


def _equality(node: Call) -> Step:
    first, second = map(build, node.args)
    wanted = node.function == "_==_"

    def step(frame: Frame) -> bool:
        left, right = first(frame), second(frame)
        frame.cost += 1 if type(left) is not str else -(-min(len(left), len(right) if type(right) is str else 1) // 10)
        return equal(left, right) is wanted

    return step


def _index(node: Call) -> Step:
    container, key = map(build, node.args)
    general = functions().get("_[_]")
    assert general is not None

    def step(frame: Frame) -> Any:
        values, index = container(frame), key(frame)
        frame.cost += 1
        if isinstance(values, list):
            return item_at(values, index)
        if type(values) is dict:
            return value_of(values, index)
        return general.resolve(False, (type(values), type(index))).call(values, index)

    return step


def _or_value(node: Call, *, wrap: bool) -> Step:
    target, other = map(build, node.operands)

    def step(frame: Frame) -> Any:
        optional = target(frame)
        frame.cost += 1
        if type(optional) is not Optional:
            raise no_such_overload()
        if optional.present:
            return optional if wrap else optional.value
        return other(frame)

    return step


# Aggregates


def _list(node: ListOf) -> Step:
    steps = tuple(build(element) for element in node.elements)
    optional = node.optional

    def step(frame: Frame) -> list[Any]:
        frame.cost += LIST_COST
        return [part(frame) for part in steps]

    def step_with_optionals(frame: Frame) -> list[Any]:
        frame.cost += LIST_COST
        items = []
        for position, part in enumerate(steps):
            value = part(frame)
            if position not in optional:
                items.append(value)
            elif type(value) is not Optional:
                raise EvaluationError("cannot initialize optional list element from non-optional value")
            elif value.present:
                items.append(value.value)
        return items

    return step_with_optionals if optional else step


def _map(node: MapOf) -> Step:
    entries = tuple(
        (build(key), build(value), index in node.optional) for index, (key, value) in enumerate(node.entries)
    )

    def step(frame: Frame) -> dict[Any, Any]:
        frame.cost += MAP_COST
        found: dict[Any, Any] = {}
        for key_step, value_step, optional in entries:
            key, value = key_step(frame), value_step(frame)
            if optional:
                if type(value) is not Optional:
                    raise EvaluationError("cannot initialize optional entry from non-optional value")
                if not value.present:
                    continue
                value = value.value
            if not isinstance(key, str | int):
                raise EvaluationError(f"unsupported key type: {shown(key)}")
            found[key] = value
        return found

    return step


def _insert(found: dict[Any, Any], key: Any, value: Any) -> None:
    if find_key(found, key) is not None:
        raise EvaluationError(f"insert failed: key {shown(key)} already exists")
    found[key] = value


# Macros


def _comprehension(node: Comprehension) -> Step:
    entries = _entries(node)
    test = None if node.test is None else build(node.test)
    result = None if node.result is None else build(node.result)
    match node.macro:
        case "all":
            assert test is not None
            return _quantifier(entries, test, decides=False, cost=3)
        case "exists":
            assert test is not None
            return _quantifier(entries, test, decides=True, cost=4)
        case "exists_one":
            assert test is not None
            return _exists_one(entries, test)
        case "filter":
            assert test is not None
            return _filter(entries, test)
        case "sortBy":
            assert result is not None
            return _sort_by(entries, result)
        case "map" | "transformList":
            assert result is not None
            return _transform_list(entries, test, result)
    assert result is not None
    return _transform_map(entries, test, result, whole=node.macro == "transformMapEntry")


Entries = Callable[[Frame], Iterator[Any]]


def _entries(node: Comprehension) -> Entries:
    """Binds the variables to each entry in turn; yields what a macro of one variable ranges over, or the key."""
    ranged = build(node.range)
    first, second = node.first, node.second

    def iterate(frame: Frame) -> Iterator[Any]:
        values = ranged(frame)
        variables = frame.variables
        outer = {name: variables[name] for name in (first, second) if name in variables}
        try:
            if isinstance(values, list):
                for index, value in enumerate(values):
                    variables[first] = index if second is not None else value
                    if second is not None:
                        variables[second] = value
                    yield variables[first]
            elif isinstance(values, dict):
                for key, value in values.items():
                    variables[first] = key
                    if second is not None:
                        variables[second] = value
                    yield key
            else:
                raise no_such_overload()
        finally:
            for name in (first, second):
                if name is not None:
                    variables.pop(name, None)
            variables.update(outer)

    return iterate


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise no_such_overload()
    return value


def _quantifier(entries: Entries, test: Step, *, decides: bool, cost: int) -> Step:
    """`all` and `exists`: the first entry that decides ends it; a failure counts only when none does."""

    def step(frame: Frame) -> bool:
        failure: EvaluationError | None = None
        frame.cost += 1
        for _ in entries(frame):
            frame.spend(cost)
            try:
                if _truth(test(frame)) is decides:
                    return decides
            except CostExceeded:
                raise
            except EvaluationError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return not decides

    return step


def _exists_one(entries: Entries, test: Step) -> Step:
    def step(frame: Frame) -> bool:
        count = 0
        frame.cost += 2
        for _ in entries(frame):
            frame.spend(1)
            count += _truth(test(frame))
        return count == 1

    return step


def _filter(entries: Entries, test: Step) -> Step:
    def step(frame: Frame) -> list[Any]:
        frame.cost += LIST_COST + 1
        found = []
        for entry in entries(frame):
            frame.spend(1)
            if _truth(test(frame)):
                frame.spend(LIST_COST + 2)
                found.append(entry)
        return found

    return step


def _transform_list(entries: Entries, test: Step | None, result: Step) -> Step:
    def step(frame: Frame) -> list[Any]:
        frame.cost += LIST_COST + 1
        found = []
        for _ in entries(frame):
            if test is None or _truth(test(frame)):
                frame.spend(LIST_COST + 2)
                found.append(result(frame))
            else:
                frame.spend(1)
        return found

    return step


def _sort_by(entries: Entries, key: Step) -> Step:
    def step(frame: Frame) -> list[Any]:
        values, keys = [], []
        frame.cost += 2 * LIST_COST
        for entry in entries(frame):
            frame.spend(LIST_COST + 2)
            values.append(entry)
            keys.append(key(frame))
        frame.spend(2 * len(values) ** 2 + LIST_COST + 1)
        return sorted_by(values, keys)

    return step


def _transform_map(entries: Entries, test: Step | None, result: Step, *, whole: bool) -> Step:
    def step(frame: Frame) -> dict[Any, Any]:
        frame.cost += MAP_COST + 1
        found: dict[Any, Any] = {}
        for key in entries(frame):
            frame.spend(2)
            if test is not None and not _truth(test(frame)):
                continue
            value = result(frame)
            if not whole:
                found[key] = value
                continue
            if type(value) is not dict:
                raise no_such_overload()
            for name, item in value.items():
                _insert(found, name, item)
        return found

    return step


def _optional_map(node: OptionalMap) -> Step:
    target, body, name, flat = build(node.target), build(node.body), node.name, node.flat

    def step(frame: Frame) -> Optional:
        optional = target(frame)
        frame.cost += 2
        if type(optional) is not Optional:
            raise no_such_overload()
        if not optional.present:
            return NONE
        variables = frame.variables
        outer = variables.get(name, NONE)
        variables[name] = optional.value
        try:
            value = body(frame)
        finally:
            if outer is NONE:
                del variables[name]
            else:
                variables[name] = outer
        if not flat:
            return Optional(value)
        if type(value) is not Optional:
            raise no_such_overload()
        return value

    return step
