"""What an expression may cost at most, before it is ever evaluated.

A kube-apiserver refuses rules whose estimate exceeds its budget, so that nobody registers a rule that blocks writes.
The estimate is the same here: costs as in `compiler`, sizes from `maxItems`, `maxLength` and `maxProperties` of the
schema, or from the largest request where nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

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
from bobrapet.local.apiserver.cel.compiler import LIST_COST, MAP_COST
from bobrapet.local.apiserver.cel.declarations import Declaration
from bobrapet.local.apiserver.cel.functions import REGEX_FACTOR, STRING_FACTOR
from bobrapet.local.apiserver.cel.parser import qualified
from bobrapet.local.apiserver.cel.types import NAMES, Type

MOST = 2**64 - 1
"""No bound at all."""


class Range(NamedTuple):
    """The least and the most of a size or cost."""

    least: int
    most: int

    def plus(self, other: Range) -> Range:
        return Range(_bounded(self.least + other.least), _bounded(self.most + other.most))

    def times(self, other: Range) -> Range:
        return Range(_bounded(self.least * other.least), _bounded(self.most * other.most))

    def scaled(self, factor: float) -> Range:
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.least, other.least), max(self.most, other.most))


def _bounded(value: int) -> int:
    return min(value, MOST)


def _scaled(value: int, factor: float) -> int:
    return MOST if value * factor >= 2.0**64 else math.ceil(value * factor)


def fixed(value: int) -> Range:
    """Exactly this."""
    return Range(value, value)


UNKNOWN = Range(0, MOST)
NOTHING = fixed(0)
ONE = fixed(1)
Path = tuple[str, ...]


class _Variable(NamedTuple):
    path: Path
    size: Range | None


def worst_cost(root: Node, declaration: Declaration) -> int:
    """The most that one evaluation costs. `declaration`: of `self` and `oldSelf`."""
    return _Estimator(declaration).cost(root).most


class _Estimator:
    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration
        self._paths: dict[Node, Path] = {}
        self._sizes: dict[Node, Range] = {}
        self._entries: dict[Node, tuple[Range, Range]] = {}
        self._scopes: list[Mapping[str, _Variable]] = []

    # Sizes

    def _variable(self, name: str) -> _Variable | None:
        return next((scope[name] for scope in reversed(self._scopes) if name in scope), None)

    def path(self, node: Node) -> Path:
        """Where in the object a node's value comes from; () when it does not."""
        if isinstance(node, Ident) and (variable := self._variable(node.name)):
            return variable.path
        return self._paths.get(node, ())

    def declared(self, path: Path) -> Range | None:
        """What the schema says of the size of the values there.

        The first step is a variable and not looked at. A path that does not begin with one (the entries of a list that
        a function made) is therefore taken for the object itself: odd, but so does a kube-apiserver.
        """
        if not path:
            return None
        at: Declaration | None = self._declaration
        for name in path[1:]:
            assert at is not None
            match name:
                case "@items" | "@values":
                    at = at.element
                case "@keys":
                    at = at.key
                case _:
                    at = at.fields[name][1] if name in at.fields else None
            if at is None:
                return None
        assert at is not None
        return Range(0, at.most)

    def computed(self, node: Node) -> Range | None:
        """The size of a node as far as it is known."""
        if (known := self._sizes.get(node)) is not None:
            return known
        match node:
            case Literal():
                return fixed(len(node.value) if isinstance(node.value, str | bytes) else 1)
            case ListOf():
                return fixed(len(node.elements))
            case MapOf():
                return fixed(len(node.entries))
        if (declared := self.declared(self.path(node))) is not None:
            return declared
        if _is_scalar(node.type):
            return ONE
        if isinstance(node, Ident) and (variable := self._variable(node.name)):
            return variable.size
        return None

    def size(self, node: Node) -> Range:
        """The size of a node."""
        return self.computed(node) or UNKNOWN

    # Costs

    def cost(self, node: Node) -> Range:
        match node:
            case Ident():
                self._paths[node] = variable.path if (variable := self._variable(node.name)) else (node.name,)
                return ONE
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListOf():
                total = fixed(LIST_COST)
                item = NOTHING if not node.elements else Range(MOST, 0)
                for element in node.elements:
                    total = total.plus(self.cost(element))
                    item = item.union(self.size(element))
                self._entries[node] = (ONE, item)
                return total
            case MapOf():
                total = fixed(MAP_COST)
                keys = values = NOTHING if not node.entries else Range(MOST, 0)
                for key, value in node.entries:
                    total = total.plus(self.cost(key)).plus(self.cost(value))
                    keys, values = keys.union(self.size(key)), values.union(self.size(value))
                self._entries[node] = (keys, values)
                return total
            case Comprehension():
                return self._comprehension(node)
            case OptionalMap():
                return self._optional_map(node)
        return NOTHING

    def _select(self, node: Select) -> Range:
        if not node.test and (name := qualified(node)) in NAMES:
            self._paths[node] = (name,)
            return ONE
        total = self.cost(node.operand)
        if node.test:
            return total
        if node.optional or node.operand.type.name == "map" or node.operand.type.fields is not None:
            total = total.plus(ONE)
        if not node.optional:
            self._paths[node] = (*self.path(node.operand), node.name)
        return total

    def _call(self, node: Call) -> Range:
        costs = [self.cost(operand) for operand in node.operands]
        if node.function == "dyn":
            self._keep(node, node.args[0])
            return costs[0].plus(ONE)
        if node.function in ("_&&_", "_||_"):
            return Range(costs[0].least, costs[0].plus(costs[1]).most)
        if node.function == "_?_:_":
            self._sizes[node] = self.size(node.args[1]).union(self.size(node.args[2]))
            return costs[0].plus(costs[1].union(costs[2]))
        spent = NOTHING
        for cost in costs:
            spent = spent.plus(cost)
        total = Range(MOST, 0)
        for overload in node.overloads:
            total = total.union(self._overload(node, overload.id))
        return spent.plus(total if node.overloads else ONE)

    def _overload(self, node: Call, id: str) -> Range:
        if id in ("index_list", "index_map"):
            step = "@items" if id == "index_list" else "@values"
            self._paths[node] = (*self.path(node.args[0]), step)
            if (entry := self._entries.get(node.args[0])) is not None:
                self._sizes[node] = entry[1]
            return ONE
        estimate = _BY_FUNCTION.get(node.function) or _BY_OVERLOAD.get(id)
        if estimate is None:
            return ONE
        cost, result = estimate(self, node, id)
        if result is not None:
            self._sizes[node] = result
        return cost

    def _keep(self, node: Node, source: Node) -> None:
        """The node is as large as another."""
        if (size := self.computed(source)) is not None:
            self._sizes[node] = size
        if (entry := self._entries.get(source)) is not None:
            self._entries[node] = entry

    def _comprehension(self, node: Comprehension) -> Range:
        total = self.cost(node.range)
        count = self.size(node.range)
        self._scopes.append(self._bound(node))
        test = self.cost(node.test) if node.test is not None else NOTHING
        result = self.cost(node.result) if node.result is not None else NOTHING
        self._scopes.pop()
        once, step = _macro_cost(node, test, result)
        if node.macro == "sortBy":
            once = once.plus(count.times(count).scaled(2)).plus(fixed(2 * LIST_COST + 4))
        if node.macro not in ("all", "exists", "exists_one"):
            self._sizes[node] = count
        return total.plus(once).plus(count.times(step))

    def _bound(self, node: Comprehension) -> Mapping[str, _Variable]:
        path = self.path(node.range)
        entry = self._entries.get(node.range)
        key_size, value_size = entry if entry is not None else (None, None)
        is_list = node.range.type.name == "list"
        value = _Variable((*path, "@items" if is_list else "@values"), value_size)
        key = _Variable((*path, "@indices" if is_list else "@keys"), key_size)
        if node.second is None:
            return {node.first: value if is_list else key}
        return {node.first: key, node.second: value}

    def _optional_map(self, node: OptionalMap) -> Range:
        target = self.cost(node.target)
        self._scopes.append({node.name: _Variable(self.path(node.target), self.computed(node.target))})
        body = self.cost(node.body)
        self._scopes.pop()
        present = target.plus(body).plus(fixed(LIST_COST + (1 if node.flat else 2)))
        return target.plus(ONE).plus(present.union(ONE))


def _macro_cost(node: Comprehension, test: Range, result: Range) -> tuple[Range, Range]:
    """What a macro costs once, and for each entry."""
    match node.macro:
        case "all":
            return ONE, Range(3, _bounded(test.most + 3))
        case "exists":
            return ONE, Range(4, _bounded(test.most + 4))
        case "exists_one":
            return fixed(2), test.plus(Range(1, 2))
        case "filter":
            return fixed(LIST_COST + 1), test.plus(Range(1, LIST_COST + 3))
        case "map" | "transformList" | "sortBy":
            step = result.plus(fixed(LIST_COST + 2))
            base = LIST_COST
        case _:
            step = result.plus(fixed(3 if node.macro == "transformMap" else 2))
            base = MAP_COST
    if node.test is not None:
        step = test.plus(step.union(ONE))
    return fixed(base + 1), step


def _is_scalar(type: Type) -> bool:
    if type.name == "optional_type":
        return _is_scalar(type.parameters[0])
    return type.name in ("bool", "double", "int", "uint", "google.protobuf.Duration", "google.protobuf.Timestamp")


# Functions that cost more than one, and those that make strings and lists.

Estimate = Callable[[_Estimator, Call, str], tuple[Range, Range | None]]


def _traverse(position: int, factor: float = STRING_FACTOR, *, keeps: bool = False) -> Estimate:
    def estimate(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
        size = estimator.size(node.operands[position])
        return size.scaled(factor), size if keeps else None

    return estimate


def _visit(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    target = node.operands[0]
    if not target.type.parameters:
        return estimator.size(target).scaled(STRING_FACTOR), None
    (element,) = target.type.parameters[:1]
    each = ONE
    if element.name in ("string", "bytes"):
        each = each.plus(_element_size(estimator, target).scaled(STRING_FACTOR))
    return estimator.size(target).times(each), None


def _element_size(estimator: _Estimator, node: Node) -> Range:
    path = estimator.path(node)
    return (estimator.declared((*path, "@items")) if path else None) or UNKNOWN


def _replace(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    size, old, new = (estimator.size(operand) for operand in node.operands[:3])
    if old.least == 0:
        most, kept_most = _bounded(size.most + 1), size.most
    elif new.most <= old.least:
        most, kept_most = 0, size.most
    else:
        most, kept_most = -(-size.most // old.least), 0
    if old.most == 0:
        least, kept_least = size.least + 1, size.least
    elif old.most <= new.least:
        least, kept_least = 0, size.least
    else:
        least, kept_least = -(-size.least // old.most), 0
    result = Range(least, most).times(new).plus(Range(kept_least, kept_most))
    return size.scaled(2 * STRING_FACTOR), result


def _split(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    size = estimator.size(node.operands[0])
    most = size.most
    if len(node.args) > 1 and isinstance(limit := node.args[1], Literal) and limit.value >= 0:
        most = limit.value
    return size.scaled(2 * STRING_FACTOR), Range(0, most)


def _join(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    parts = estimator.size(node.operands[0])
    size = parts.times(_element_size(estimator, node.operands[0]))
    if node.args:
        separators = Range(max(parts.least - 1, 0), max(parts.most - 1, 0))
        size = size.plus(estimator.size(node.args[0]).times(separators))
    return size.scaled(STRING_FACTOR), size


def _match(*, finds: bool) -> Estimate:
    def estimate(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
        text, expression = (estimator.size(operand) for operand in node.operands[:2])
        cost = text.plus(ONE).scaled(STRING_FACTOR).times(expression.scaled(REGEX_FACTOR))
        return cost, Range(0, text.most) if finds else None

    return estimate


def _contains(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    text, part = (estimator.size(operand).scaled(STRING_FACTOR) for operand in node.operands)
    return text.times(part), None


def _add(estimator: _Estimator, node: Call, id: str) -> tuple[Range, Range | None]:
    size = estimator.size(node.args[0]).plus(estimator.size(node.args[1]))
    return ONE if id == "add_list" else size.scaled(STRING_FACTOR), size


def _equality(estimator: _Estimator, node: Call, id: str) -> tuple[Range, Range | None]:
    if node.args[0].type.name.startswith(("net.", "kubernetes.")) and node.args[0].type == node.args[1].type:
        return ONE, None
    most = min(estimator.size(node.args[0]).most, estimator.size(node.args[1]).most)
    return Range(1 if most else 0, most).scaled(STRING_FACTOR), None


def _in_list(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    return estimator.size(node.args[1]), None


def _sets(estimator: _Estimator, node: Call, id: str) -> tuple[Range, Range | None]:
    cost = estimator.size(node.args[0]).times(estimator.size(node.args[1]))
    return (cost.scaled(2) if "equivalent" in id else cost).plus(ONE), None


def _copied(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    size = estimator.size(node.operands[0])
    return size.plus(fixed(LIST_COST + 1)), size


def _slice(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    size = estimator.size(node.operands[0])
    match node.args:
        case (Literal(value=int(start)), Literal(value=int(end))) if end >= start >= 0:
            size = fixed(end - start)
        case _:
            size = Range(0, size.most)
    return size.plus(fixed(LIST_COST + 1)), size


def _range(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    size = UNKNOWN
    match node.args:
        case (Literal(value=int(end)),) if end >= 0:
            size = fixed(end)
    return size.plus(fixed(LIST_COST + 1)), size


def _squared(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    size = estimator.size(node.operands[0])
    factor = 2.0
    if node.function == "sort" and node.operands[0].type.parameters[0].name in ("string", "bytes"):
        factor += STRING_FACTOR
    square = size.times(size)
    return square.scaled(factor).plus(fixed(LIST_COST + 1)), square


def _contains_network(estimator: _Estimator, node: Call, id: str) -> tuple[Range, Range | None]:
    address = Range(4, 16)
    cost = address.plus(address).scaled(STRING_FACTOR)
    if node.function == "containsCIDR":
        cost = cost.plus(address.scaled(STRING_FACTOR)).plus(ONE)
    if id.endswith("_string"):
        cost = cost.plus(estimator.size(node.args[0]).scaled(STRING_FACTOR))
    return cost, None


def _validated(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    return estimator.size(node.args[0]).scaled(STRING_FACTOR).scaled(128 * REGEX_FACTOR), None


def _bytes_of(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    size = estimator.size(node.args[0])
    return size.scaled(STRING_FACTOR), Range(size.least, _bounded(size.most * 4))


def _text_of(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    size = estimator.size(node.args[0])
    return size.scaled(STRING_FACTOR), Range(size.least // 4, size.most)


def _formatted(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    return estimator.size(node.operands[0]).scaled(STRING_FACTOR), None


def _quoted(estimator: _Estimator, node: Call, _id: str) -> tuple[Range, Range | None]:
    size = estimator.size(node.args[0])
    return size.scaled(STRING_FACTOR), Range(size.least + 2, _bounded(size.most * 2 + 2))


def _ip(estimator: _Estimator, node: Call, id: str) -> tuple[Range, Range | None]:
    return (ONE if id == "cidr_ip" else estimator.size(node.args[0]).scaled(STRING_FACTOR)), None


def _table(entries: Sequence[tuple[str, Estimate]]) -> dict[str, Estimate]:
    return {name: estimate for names, estimate in entries for name in names.split()}


_BY_FUNCTION = _table((
    ("isSorted sum max min indexOf lastIndexOf", _visit),
    ("url", _traverse(0, keeps=True)),
    ("isIP isCIDR cidr quantity isQuantity semver isSemver", _traverse(0)),
    ("lowerAscii upperAscii substring trim", _traverse(0, keeps=True)),
    ("ip.isCanonical", _traverse(0, 2 * STRING_FACTOR)),
    ("ip", _ip),
    ("replace", _replace),
    ("split", _split),
    ("join", _join),
    ("find findAll", _match(finds=True)),
    ("containsIP containsCIDR", _contains_network),
    ("validate", _validated),
    ("reverse flatten", _copied),
    ("slice", _slice),
    ("lists.range", _range),
    ("sort distinct", _squared),
))  # fmt: skip
_BY_OVERLOAD = _table((
    ("string_to_bytes", _bytes_of),
    ("bytes_to_string", _text_of),
    ("string_format", _formatted),
    ("strings_quote", _quoted),
    ("starts_with_string ends_with_string", _traverse(1)),
    ("in_list", _in_list),
    ("matches matches_string", _match(finds=False)),
    ("contains_string", _contains),
    ("add_string add_bytes add_list", _add),
    ("list_sets_contains_list list_sets_equivalent_list list_sets_intersects_list", _sets),
    ("less_string less_equals_string greater_string greater_equals_string", _equality),
    ("less_bytes less_equals_bytes greater_bytes greater_equals_bytes equals not_equals", _equality),
))  # fmt: skip
