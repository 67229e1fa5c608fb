"""Types: every node gets one, every call its overloads, and what does not fit is told with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bobrapet.local.apiserver.cel import types
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
from bobrapet.local.apiserver.cel.errors import CelError, CompileError, Issue
from bobrapet.local.apiserver.cel.functions import Function, Overload
from bobrapet.local.apiserver.cel.library import functions
from bobrapet.local.apiserver.cel.library.lists import COMPARABLE
from bobrapet.local.apiserver.cel.library.strings import clause_problem, clauses
from bobrapet.local.apiserver.cel.parser import qualified
from bobrapet.local.apiserver.cel.types import BOOL, DYN, ERROR, INT, Type, Unifier
from bobrapet.local.apiserver.cel.values import KINDS, duration, timestamp
from bobrapet.local.apiserver.patterns import pattern_problem

_LITERALS = {"duration": duration, "timestamp": timestamp}


def check(source: str, root: Node, variables: Mapping[str, Type]) -> None:
    """Notes types in the nodes. Raises CompileError with every fault."""
    checker = _Checker(variables)
    checker.check(root)
    if not checker.issues:
        checker.finish(root)
    if checker.issues:
        raise CompileError(source, checker.issues)


class _Checker:
    def __init__(self, variables: Mapping[str, Type]) -> None:
        self.issues: list[Issue] = []
        self._scopes: list[Mapping[str, Type]] = [variables]
        self._unifier = Unifier()
        self._functions = functions()

    # Faults

    def _report(self, node: Node, message: str) -> Type:
        self.issues.append(Issue(node.offset, message))
        return ERROR

    def _undeclared(self, node: Node, name: str) -> Type:
        return self._report(node, f"undeclared reference to '{name}' (in container '')")

    def _mismatch(self, node: Node, wanted: Type, found: Type) -> Type:
        wanted, found = self._unifier.resolve(wanted, final=True), self._unifier.resolve(found, final=True)
        return self._report(node, f"expected type '{wanted}' but found '{found}'")

    def _expect(self, node: Node, wanted: Type) -> None:
        if not self._unifier.assign(node.type, wanted):
            self._mismatch(node, wanted, node.type)

    # Nodes

    def check(self, node: Node) -> Type:
        node.type = self._type_of(node)
        return node.type

    def _type_of(self, node: Node) -> Type:
        match node:
            case Literal():
                return KINDS[type(node.value)]
            case Ident():
                return self._variable(node.name) or self._undeclared(node, node.name)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListOf():
                return self._list(node)
            case MapOf():
                return self._map(node)
            case Comprehension():
                return self._comprehension(node)
            case OptionalMap():
                return self._optional_map(node)
        raise TypeError(node)

    def _variable(self, name: str) -> Type | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return types.type_of(types.NAMES[name]) if name in types.NAMES else None

    @contextmanager
    def _scope(self, **variables: Type) -> Iterator[None]:
        self._scopes.append(variables)
        yield
        self._scopes.pop()

    def _select(self, node: Select) -> Type:
        if not node.test and (name := qualified(node)) in types.NAMES:
            return types.type_of(types.NAMES[name])
        operand = self._unifier.resolve(self.check(node.operand))
        is_optional = operand.name == "optional_type"
        found = self._field(node, operand.parameters[0] if is_optional else operand)
        if node.test:
            return BOOL
        # A field of an optional, or an optional field, is optional once, however deep.
        if (is_optional or node.optional) and found not in (ERROR,) and found.name != "optional_type":
            return types.optional_of(found)
        return found

    def _field(self, node: Select, operand: Type) -> Type:
        operand = self._unifier.resolve(operand)
        if operand.fields is not None:
            found = operand.fields.get(node.name)
            return found or self._report(node, f"undefined field '{node.name}'")
        if operand.is_parameter:
            self._unifier.assign(DYN, operand)
            return DYN
        match operand.name:
            case "map":
                return operand.parameters[1]
            case "dyn" | "error":
                return operand
        return self._report(node, f"type '{operand}' does not support field selection")

    def _call(self, node: Call) -> Type:
        for arg in node.args:
            self.check(arg)
        if node.target is not None:
            namespaced = qualified(node.target)
            if namespaced and (known := self._functions.get(f"{namespaced}.{node.function}")):
                node.function, node.target = known.name, None
                return self._overload(node, known)
            self.check(node.target)
        function = self._functions.get(node.function)
        match node.function:
            case "_&&_" | "_||_":
                for arg in node.args:
                    self._expect(arg, BOOL)
                return BOOL
            case "_?_:_":
                return self._conditional(node)
        return self._overload(node, function) if function is not None else self._undeclared(node, node.function)

    def _conditional(self, node: Call) -> Type:
        condition, then, otherwise = node.args
        a, result = self._unifier.instance((types.A, types.A))
        if not self._unifier.assign_all((condition.type, then.type, otherwise.type), (BOOL, a, a)):
            return self._no_match(node, tuple(arg.type for arg in node.args))
        return self._unifier.resolve(result)

    def _overload(self, node: Call, function: Function) -> Type:
        given = tuple(operand.type for operand in node.operands)
        found: list[Overload] = []
        result: Type | None = None
        for overload in function.overloads:
            if overload.member != (node.target is not None):
                continue
            *params, returned = self._unifier.instance((*overload.params, overload.result))
            if not self._unifier.assign_all(given, tuple(params)):
                continue
            found.append(overload)
            returned = self._unifier.resolve(returned)
            if result is None:
                result = returned
            elif result not in (DYN, returned):
                result = DYN
        node.overloads = tuple(found)
        return self._no_match(node, given) if result is None else result

    def _no_match(self, node: Call, given: Sequence[Type]) -> Type:
        shown = [str(self._unifier.resolve(type, final=True)) for type in given]
        signature = f"{shown[0]}.({', '.join(shown[1:])})" if node.target is not None else f"({', '.join(shown)})"
        return self._report(node, f"found no matching overload for '{node.function}' applied to '{signature}'")

    def _list(self, node: ListOf) -> Type:
        element: Type | None = None
        for position, item in enumerate(node.elements):
            type = self._unwrapped(item, position in node.optional)
            element = self._joined(item, element, type)
        return types.list_of(element or self._unifier.fresh())

    def _map(self, node: MapOf) -> Type:
        key_type: Type | None = None
        value_type: Type | None = None
        for position, (key, value) in enumerate(node.entries):
            key_type = self._joined(key, key_type, self.check(key))
            value_type = self._joined(value, value_type, self._unwrapped(value, position in node.optional))
        return types.map_of(key_type or self._unifier.fresh(), value_type or self._unifier.fresh())

    def _unwrapped(self, node: Node, optional: bool) -> Type:
        type = self.check(node)
        if not optional:
            return type
        if type.name == "optional_type":
            return type.parameters[0]
        return type if type in (DYN, ERROR) else self._mismatch(node, types.optional_of(type), type)

    def _joined(self, node: Node, before: Type | None, type: Type) -> Type:
        if before is None or before == ERROR:
            return type
        return self._unifier.join(before, type) or DYN

    def _comprehension(self, node: Comprehension) -> Type:
        ranged = self._unifier.resolve(self.check(node.range))
        if ranged.is_parameter:
            self._unifier.assign(DYN, ranged)
            ranged = DYN
        match ranged.name:
            case "list":
                key, value = INT, ranged.parameters[0]
            case "map":
                key, value = ranged.parameters
            case "dyn" | "error":
                key = value = ranged
            case _:
                self._report(node.range, f"expression of type '{ranged}' cannot be range of a comprehension "
                             "(must be list, map, or dynamic)")  # fmt: skip
                key = value = ERROR
        first = key if node.second is not None or ranged.name == "map" else value
        variables = {node.first: first} | ({} if node.second is None else {node.second: value})
        with self._scope(**variables):
            if node.test is not None:
                self.check(node.test)
                self._expect(node.test, BOOL)
            result = self.check(node.result) if node.result is not None else DYN
        match node.macro:
            case "sortBy":
                if result not in (*COMPARABLE, DYN, ERROR):
                    shown = f"{types.list_of(value)}.({types.list_of(result)})"
                    told = f"found no matching overload for '@sortByAssociatedKeys' applied to '{shown}'"
                    return self._report(node, told)
                return types.list_of(value)
            case "filter":
                return types.list_of(value if ranged.name == "list" else key)
            case "map" | "transformList":
                return types.list_of(result)
            case "transformMap":
                return types.map_of(key, result)
            case "transformMapEntry":
                return result if result.name == "map" else types.map_of(DYN, DYN)
        return BOOL

    def _optional_map(self, node: OptionalMap) -> Type:
        target = self._unifier.resolve(self.check(node.target))
        if target.name not in ("optional_type", "dyn", "error"):
            name = "optFlatMap" if node.flat else "optMap"
            return self._report(node, f"found no matching overload for '{name}' applied to '{target}.()'")
        with self._scope(**{node.name: target.parameters[0] if target.parameters else target}):
            body = self.check(node.body)
        return body if node.flat else types.optional_of(body)

    # When all is found

    def finish(self, node: Node, *, mixes: bool = False) -> None:
        """Puts in the types that later parts decided, and looks at what literals say.

        A list or map holds one type, unless it is what `format` writes (`mixes`).
        """
        node.type = self._unifier.resolve(node.type, final=True)
        mixes = mixes or (isinstance(node, Call) and node.function == "format")
        for child in children(node):
            self.finish(child, mixes=mixes)
        match node:
            case Call():
                self._check_literals(node)
            case ListOf() if not mixes:
                self._check_uniform(node.elements)
            case MapOf() if not mixes:
                self._check_uniform([key for key, _ in node.entries])
                self._check_uniform([value for _, value in node.entries])

    def _check_uniform(self, nodes: Sequence[Node]) -> None:
        for node in nodes[1:]:
            if self._unifier.join(nodes[0].type, node.type) is None:
                self._mismatch(node, nodes[0].type, node.type)
                return

    def _check_literals(self, node: Call) -> None:
        if node.function in _LITERALS and len(node.args) == 1:
            (arg,) = node.args
            if isinstance(arg, Literal) and isinstance(arg.value, str):
                try:
                    _LITERALS[node.function](arg.value)
                except (ValueError, OverflowError, CelError):
                    self._report(arg, f"invalid {node.function} argument")
        elif node.function == "matches" and isinstance(arg := node.args[-1], Literal) and pattern_problem(arg.value):
            self._report(arg, "invalid matches argument")
        elif node.function == "format" and isinstance(node.target, Literal) and isinstance(node.args[0], ListOf):
            self._check_format(node, str(node.target.value), node.args[0].elements)

    def _check_format(self, node: Call, template: str, args: Sequence[Node]) -> None:
        try:
            wanted = list(clauses(template))
        except CelError as error:
            self._report(node, str(error))
            return
        for position, clause in enumerate(wanted):
            if position >= len(args):
                self._report(node, f"index {position} out of range")
                return
            if problem := clause_problem(clause, args[position].type):
                self._report(args[position], problem)
                return
        if len(args) > len(wanted):
            told = f"too many arguments supplied to string.format (expected {len(wanted)}, got {len(args)})"
            self._report(node, told)


def children(node: Node) -> tuple[Node, ...]:
    """The parts of a node."""
    match node:
        case Select():
            return (node.operand,)
        case Call():
            return node.operands
        case ListOf():
            return node.elements
        case MapOf():
            return tuple(part for entry in node.entries for part in entry)
        case Comprehension():
            return tuple(part for part in (node.range, node.test, node.result) if part is not None)
        case OptionalMap():
            return (node.target, node.body)
    return ()
