"""Turns pipelines into Python closures (Go: text/template exec, evalPipeline and below).

Each expression becomes a function of the frame that returns a value. A frame is a list: the dot, the `$` of the
template, the `Run`, then one slot per variable. Slots are given out here, so a variable costs one list access when it
runs.

Two kinds of nil exist in Go's engine and both are None here. A nil that was found in a map or a list refuses further
field access (`.a.b` where `.a` is nil); the nil that a pipeline returns has nil fields (`(.a).b`). Which one a node
gives is known from the syntax, see `_finds_nil`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from bobrapet.expressions import nodes
from bobrapet.expressions.access import index_value, member, walk
from bobrapet.expressions.arguments import check, ideal, literal
from bobrapet.expressions.errors import ExpressionError, FunctionError, segment_position
from bobrapet.expressions.function import Function
from bobrapet.expressions.limits import Run
from bobrapet.expressions.parser import ROOTS
from bobrapet.expressions.values import Absent, Int, truth

Frame: TypeAlias = list[Any]
Getter: TypeAlias = Callable[[Frame], Any]

DOT, ROOT, RUN, FIRST_SLOT = 0, 1, 2, 3
"""What stands where in a frame."""

_LITERALS = (nodes.Bool, nodes.Nil, nodes.Number, nodes.String)
_LARGE = 4096
"""Characters from which a string that a variable or an argument list holds on to is accounted for."""

_BUSY = 16
"""Calls in one action from which each of them looks at the clock."""


class PipelineCompiler:
    """Compiles the pipelines of one template: the variables in sight, and the slots given out so far."""

    def __init__(self, text: str, functions: Mapping[str, Function]) -> None:
        self.text = text
        self.functions = functions
        self.slots = 0
        self.names: list[tuple[str, int, bool]] = [("$", ROOT, False)]
        self.dot_is_element = False
        self.dot_is_bound = False
        """Whether `range` or `with` has set the dot to something else than the context."""
        self.calls = 0
        self.before: nodes.Command | None = None
        """The command whose value is piped into the one that is compiled now."""

    def error(self, node: nodes.Node, message: str) -> ExpressionError:
        return ExpressionError("exec", message, template=self.text, position=node.pos)

    def located(self, problem: FunctionError, node: nodes.Node, name: str = "") -> ExpressionError:
        prefix = f"{name}: " if name and problem.kind == "exec" else ""
        position = node.pos
        if problem.segment is not None and isinstance(node, nodes.Field | nodes.Variable | nodes.Chain):
            start = position + len(node.name) if isinstance(node, nodes.Variable) else position
            position = segment_position(self.text, start, node.path, problem.segment)
        return ExpressionError(problem.kind, prefix + problem.message, template=self.text, position=position)

    def raising(self, node: nodes.Node, message: str) -> Getter:
        """What Go refuses only when it gets there."""

        def fail(frame: Frame) -> Any:
            raise self.error(node, message)

        return fail

    # Variables

    def declare(self, name: str, is_element: bool = False) -> int:
        slot = FIRST_SLOT + self.slots
        self.slots += 1
        self.names.append((name, slot, is_element))
        return slot

    def find(self, name: str) -> tuple[int, bool] | None:
        for known, slot, is_element in reversed(self.names):
            if known == name:
                return slot, is_element
        return None

    # Pipelines and commands

    def outermost(self, pipe: nodes.Pipe, declares: bool = True) -> Getter:
        """Compiles the pipeline of an action."""
        self.calls = _count_calls(pipe)
        return self.pipeline(pipe, declares)

    def pipeline(self, pipe: nodes.Pipe, declares: bool = True) -> Getter:
        get: Getter | None = None
        for position, command in enumerate(pipe.commands):
            self.before = pipe.commands[position - 1] if position else None
            get = self.command(command, get)
        assert get is not None, "the parser refuses an empty pipeline"
        if pipe.declares and declares:
            return self.storing(pipe, get)
        return get

    def storing(self, pipe: nodes.Pipe, get: Getter) -> Getter:
        name = pipe.declares[0]
        if pipe.assigns:
            known = self.find(name)
            if known is None:
                return self.raising(pipe, f"undefined variable “{name}”; declare it with :=")
            slot = known[0]
        else:
            slot = self.declare(name)

        def store(frame: Frame) -> Any:
            value = get(frame)
            try:
                if type(value) is str and len(value) > _LARGE:
                    frame[RUN].hold(len(value))
                else:
                    frame[RUN].check_time()
            except FunctionError as problem:
                raise self.located(problem, pipe) from None
            frame[slot] = value
            return value

        return store

    def command(self, node: nodes.Command, final: Getter | None) -> Getter:
        first = node.args[0]
        rest = node.args[1:]
        match first:
            case nodes.Identifier():
                return self.call(first, rest, final)
            case nodes.Field() | nodes.Chain() if rest or final:
                return self.member_call(first, rest, final)
            case nodes.Variable() if first.path and (rest or final):
                return self.member_call(first, rest, final)
            case nodes.Nil():
                return self.raising(node, "nil is not a command")
        if rest or final:
            return self.raising(node, "arguments need a function before them")
        return self.operand(first)

    def operand(self, node: nodes.Operand, keep_absent: bool = False) -> Getter:
        """Compiles a node whose value is wanted whatever its type is."""
        match node:
            case nodes.Field():
                return self.field(node.path, node, keep_absent)
            case nodes.Variable():
                return self.variable(node, keep_absent)
            case nodes.Pipe():
                return self.pipeline(node)
            case nodes.Dot():
                return lambda frame: frame[DOT]
            case nodes.Identifier():
                return self.call(node, [], None)
            case nodes.Index():
                return self.index(node)
            case nodes.Chain():
                return self.chain(node.target, node.path, node)
            case nodes.String() | nodes.Bool():
                value = node.value
                return lambda frame: value
            case nodes.Number():
                try:
                    constant = ideal(node)
                except FunctionError as problem:
                    return self.raising(node, problem.message)
                return lambda frame: constant
            case nodes.Nil():
                return lambda frame: None

    def field(self, path: tuple[str, ...], node: nodes.Node, keep_absent: bool = False) -> Getter:
        is_element = self.dot_is_element
        hint = ""
        if self.dot_is_bound and path[0] in ROOTS:
            hint = f"; inside range and with the dot is the current value, so write $.{path[0]}"

        def slowly(value: Any) -> Any:
            try:
                found = walk(value, path, is_element)
            except FunctionError as problem:
                problem.message += hint
                raise self.located(problem, node) from None
            return None if found is Absent and not keep_absent else found

        if len(path) == 1:
            (name,) = path

            def one(frame: Frame) -> Any:
                try:
                    value = frame[0][name]
                except (KeyError, TypeError):
                    return slowly(frame[0])
                return None if value is Absent and not keep_absent else value

            return one
        if len(path) == 2:
            first, second = path

            def two(frame: Frame) -> Any:
                try:
                    value = frame[0][first][second]
                except (KeyError, TypeError):
                    return slowly(frame[0])
                return None if value is Absent and not keep_absent else value

            return two

        def many(frame: Frame) -> Any:
            value = frame[0]
            try:
                for name in path:
                    value = value[name]
            except (KeyError, TypeError):
                return slowly(frame[0])
            return None if value is Absent and not keep_absent else value

        return many

    def variable(self, node: nodes.Variable, keep_absent: bool = False) -> Getter:
        known = self.find(node.name)
        if known is None:
            return self.raising(node, f"undefined variable “{node.name}”")
        slot, is_element = known
        path = node.path
        if not path:
            return lambda frame: frame[slot]

        def get(frame: Frame) -> Any:
            value = start = frame[slot]
            try:
                for name in path:
                    value = value[name]
            except (KeyError, TypeError):
                try:
                    value = walk(start, path, is_element)
                except FunctionError as problem:
                    raise self.located(problem, node) from None
            return None if value is Absent and not keep_absent else value

        return get

    def chain(self, target: nodes.Operand, path: tuple[str, ...], node: nodes.Node) -> Getter:
        if isinstance(target, nodes.Nil):
            return self.raising(node, "nil has no fields")
        get = self.operand(target, keep_absent=True)

        def follow(frame: Frame) -> Any:
            value = get(frame)
            try:
                return walk(value, path, False)
            except FunctionError as problem:
                raise self.located(problem, node) from None

        return follow

    def index(self, node: nodes.Index) -> Getter:
        get = self.operand(node.target, keep_absent=True)
        key = Int(node.key) if isinstance(node.key, int) else node.key

        def lookup(frame: Frame) -> Any:
            value = get(frame)
            try:
                return index_value(value, key)
            except FunctionError as problem:
                raise self.located(problem, node) from None

        return lookup

    def member_call(
        self, node: nodes.Field | nodes.Chain | nodes.Variable, rest: list[nodes.Operand], final: Getter | None
    ) -> Getter:
        """Compiles `.value.Method argument`; only opaque values have methods (spec expressions 5)."""
        *before, name = node.path
        receiver: Getter
        path = tuple(before)
        match node:
            case nodes.Field():
                receiver = self.field(path, node) if path else lambda frame: frame[DOT]
            case nodes.Variable():
                receiver = self.variable(nodes.Variable(node.pos, node.name, path))
            case nodes.Chain():
                receiver = self.chain(node.target, path, node) if path else self.operand(node.target)
        getters = [(operand, self.operand(operand)) for operand in rest]

        def call(frame: Frame) -> Any:
            try:
                last = [final(frame)] if final else []
                value = receiver(frame)
                function = member(value, name)
                if function is None:
                    raise FunctionError(f"{name} is not a method but has arguments")
                given = len(getters) + len(last)
                if given != function.minimum:
                    raise FunctionError(f"wrong number of arguments: want {function.minimum}, got {given}")
                arguments = []
                for position, (operand, get) in enumerate(getters):
                    kind = function.params[position]
                    if isinstance(operand, _LITERALS):
                        arguments.append(literal(kind, operand))
                    else:
                        arguments.append(check(kind, get(frame), _finds_nil(operand, self.dot_is_element)))
                arguments += [check(function.params[-1], item, False) for item in last]
                return function.call(value, *arguments)
            except FunctionError as problem:
                raise self.located(problem, node, name) from None

        return call

    # Function calls

    def call(self, node: nodes.Identifier, args: list[nodes.Operand], final: Getter | None) -> Getter:
        name = node.name
        if name == "and" or name == "or":
            return self.junction(node, args, final)
        function = self.functions[name]
        count = len(args) + (final is not None)
        if count < function.minimum or (count > function.minimum and not function.rest):
            wanted = f"at least {function.minimum}" if function.rest else str(function.minimum)
            return self.raising(node, f"{name} takes {wanted} argument{'s' * (wanted != '1')}, not {count}")
        before = self.before or node
        getters = [self.argument(function, position, operand) for position, operand in enumerate(args)]
        if final is not None:
            getters.append(self.checked(function, count - 1, final, before, False))
        return self.invoke(node, function, getters, final is not None)

    def argument(self, function: Function, position: int, operand: nodes.Operand) -> Getter:
        kind = function.kind_of(position)
        if isinstance(operand, _LITERALS):
            try:
                value = literal(kind, operand)
            except FunctionError as problem:
                return self.raising(operand, f"{function.name}: argument {position + 1}: {problem.message}")
            return lambda frame: value
        get = self.operand(operand)
        finds_nil = _finds_nil(operand, self.is_element(operand))
        if kind == "m" and finds_nil:
            return self.checked_object(function, position, get, operand)
        return self.checked(function, position, get, operand, finds_nil)

    def checked_object(self, function: Function, position: int, get: Getter, operand: nodes.Operand) -> Getter:
        """As `checked`, for paths: nil at the end of one passes for an empty object only if its start is nil too."""
        strictly = self.checked(function, position, get, operand, True)
        match operand:
            case nodes.Chain():
                start = self.operand(operand.target)
            case nodes.Variable() if operand.path and not self.is_element(nodes.Variable(operand.pos, operand.name)):
                start = self.operand(nodes.Variable(operand.pos, operand.name))
            case nodes.Field() if not self.dot_is_element:
                start = self.operand(nodes.Dot(operand.pos))
            case _:
                return strictly

        def mapping(frame: Frame) -> Any:
            value = get(frame)
            if value is None and start(frame) is None:
                return {}
            return value if type(value) is dict else strictly(frame)

        return mapping

    def is_element(self, operand: nodes.Operand) -> bool:
        """Whether a dot or variable comes straight from a list or map."""
        if isinstance(operand, nodes.Variable) and not operand.path:
            known = self.find(operand.name)
            return known is not None and known[1]
        return self.dot_is_element

    def checked(self, function: Function, position: int, get: Getter, node: nodes.Node, finds_nil: bool) -> Getter:
        """Wraps a getter so that it gives only what the parameter takes."""
        kind = function.kind_of(position)
        if kind == "a":
            return get
        name = function.name

        def slowly(value: Any) -> Any:
            try:
                return check(kind, value, finds_nil)
            except FunctionError as problem:
                raise self.error(node, f"{name}: argument {position + 1}: {problem.message}") from None

        if kind == "s":

            def string(frame: Frame) -> Any:
                value = get(frame)
                return value if type(value) is str else slowly(value)

            return string
        return lambda frame: slowly(get(frame))

    def invoke(self, node: nodes.Identifier, function: Function, getters: list[Getter], piped: bool) -> Getter:
        """Builds the call itself, in the shape that its number of arguments needs."""
        body = function.call
        name = function.name
        busy = self.calls > _BUSY
        if len(getters) == 1 and not busy:
            return self.invoke_unary(node, function, getters[0])
        if len(getters) == 2 and not busy and not function.takes_run:
            left, right = getters

            def two(frame: Frame) -> Any:
                # The value from the pipeline comes before the other arguments.
                if piped:
                    second = right(frame)
                    first = left(frame)
                else:
                    first = left(frame)
                    second = right(frame)
                try:
                    return body(first, second)
                except FunctionError as problem:
                    raise self.located(problem, node, name) from None

            return two
        takes_run = function.takes_run
        direct = getters[:-1] if piped else getters
        last = getters[-1] if piped else None

        def many(frame: Frame) -> Any:
            run: Run = frame[RUN]
            tail = [last(frame)] if last else []
            values = [get(frame) for get in direct]
            values += tail
            try:
                for value in values:
                    if type(value) is str and len(value) > _LARGE:
                        run.hold(len(value))
                if busy:
                    run.check_time()
                return body(run, *values) if takes_run else body(*values)
            except FunctionError as problem:
                raise self.located(problem, node, name) from None

        return many

    def invoke_unary(self, node: nodes.Identifier, function: Function, get: Getter) -> Getter:
        body = function.call
        name = function.name
        if function.takes_run:

            def with_run(frame: Frame) -> Any:
                value = get(frame)
                try:
                    return body(frame[RUN], value)
                except FunctionError as problem:
                    raise self.located(problem, node, name) from None

            return with_run

        def alone(frame: Frame) -> Any:
            value = get(frame)
            try:
                return body(value)
            except FunctionError as problem:
                raise self.located(problem, node, name) from None

        return alone

    def junction(self, node: nodes.Identifier, args: list[nodes.Operand], final: Getter | None) -> Getter:
        """`and` and `or` stop at the argument that decides, and return it."""
        if not args and final is None:
            return self.raising(node, f"{node.name} takes at least 1 argument, not 0")
        getters = [self.operand(operand) for operand in args]
        stops_at = node.name == "or"

        def decide(frame: Frame) -> Any:
            last = final(frame) if final else None
            value = None
            for get in getters:
                value = get(frame)
                if truth(value) == stops_at:
                    return value
            return last if final else value

        return decide


def _finds_nil(node: nodes.Operand, is_element: bool) -> bool:
    """Whether a nil from this node was found in a container, which a typed parameter refuses."""
    match node:
        case nodes.Field() | nodes.Chain() | nodes.Identifier():
            return True
        case nodes.Variable():
            return bool(node.path) or is_element
        case nodes.Dot():
            return is_element
        case _:
            return False


def _count_calls(pipe: nodes.Pipe) -> int:
    """Function calls and nested pipelines of a pipeline, all levels."""
    count = 0
    pending: list[nodes.Operand] = [pipe]
    while pending:
        node = pending.pop()
        match node:
            case nodes.Pipe():
                count += len(node.commands)
                for command in node.commands:
                    pending += command.args
            case nodes.Chain() | nodes.Index():
                pending.append(node.target)
    return count
