"""Turns a syntax tree into Python closures (Go: text/template exec, walk).

Each statement becomes a function of the frame that writes; see `pipelines` for the frame, and for expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from bobrapet.expressions import nodes
from bobrapet.expressions.access import iterate
from bobrapet.expressions.errors import FunctionError, nearest
from bobrapet.expressions.function import Function
from bobrapet.expressions.limits import TEMPLATE_DEPTH, Run
from bobrapet.expressions.pipelines import DOT, RUN, Frame, PipelineCompiler
from bobrapet.expressions.printing import to_text
from bobrapet.expressions.values import truth

Writer: TypeAlias = Callable[[Frame], Any]

_BREAK, _CONTINUE = 1, 2


def compile_tree(
    tree: nodes.Tree, functions: Mapping[str, Function], check_time: Callable[[], None]
) -> Callable[[Any, Run], None]:
    """Returns a function that writes the template's text for a context to a Run."""
    defined: dict[str, tuple[Writer, int]] = {}
    for name, body in tree.defined.items():
        scope = _Compiler(tree.text, functions, defined, check_time)
        defined[name] = scope.body(body), scope.slots
    root = _Compiler(tree.text, functions, defined, check_time)
    write = root.body(tree.root)
    slots = [None] * root.slots

    def render(context: Any, run: Run) -> None:
        write([context, context, run, *slots])

    return render


class _Compiler(PipelineCompiler):
    """Compiles the body of one template."""

    def __init__(
        self,
        text: str,
        functions: Mapping[str, Function],
        defined: dict[str, tuple[Writer, int]],
        check_time: Callable[[], None],
    ) -> None:
        super().__init__(text, functions)
        self.check_time = check_time
        self.defined = defined

    def body(self, statements: Sequence[nodes.Statement]) -> Writer:
        """Compiles statements; the writer returns `_BREAK` or `_CONTINUE` when a loop has to hear of it."""
        writers = tuple(self.statement(statement) for statement in statements)
        if len(writers) == 1:
            return writers[0]
        if not any(_can_leave(statement) for statement in statements):

            def plain(frame: Frame) -> None:
                for write in writers:
                    write(frame)

            return plain

        def leaving(frame: Frame) -> int | None:
            for write in writers:
                signal: int | None = write(frame)
                if signal:
                    return signal
            return None

        return leaving

    def block(self, statements: Sequence[nodes.Statement] | None) -> Writer:
        """Compiles an inner body; its variables end with it."""
        declared = len(self.names)
        write = self.body(statements or ())
        del self.names[declared:]
        return write

    def block_with_dot(self, statements: Sequence[nodes.Statement], *, is_element: bool) -> Writer:
        """Compiles an inner body with a dot of its own."""
        outer = self.dot_is_element, self.dot_is_bound
        self.dot_is_element, self.dot_is_bound = is_element, True
        write = self.block(statements)
        self.dot_is_element, self.dot_is_bound = outer
        return write

    def statement(self, node: nodes.Statement) -> Writer:
        self.check_time()
        match node:
            case nodes.Text():
                return self.text_writer(node)
            case nodes.Action():
                return self.action(node)
            case nodes.If():
                return self.condition(node)
            case nodes.With():
                return self.with_block(node)
            case nodes.Range():
                return self.range_loop(node)
            case nodes.TemplateCall():
                return self.template_call(node)
            case nodes.Break():
                return lambda frame: _BREAK
            case nodes.Continue():
                return lambda frame: _CONTINUE

    def text_writer(self, node: nodes.Text) -> Writer:
        text = node.text

        def write(frame: Frame) -> None:
            try:
                frame[RUN].write(text)
            except FunctionError as problem:
                raise self.located(problem, node) from None

        return write

    def action(self, node: nodes.Action) -> Writer:
        get = self.outermost(node.pipe)
        if node.pipe.declares:
            return get

        def write(frame: Frame) -> None:
            value = get(frame)
            run = frame[RUN]
            try:
                run.write(value if type(value) is str else to_text(value, run))
            except FunctionError as problem:
                raise self.located(problem, node) from None

        return write

    def condition(self, node: nodes.If) -> Writer:
        declared = len(self.names)
        get = self.outermost(node.pipe)
        then = self.block(node.body)
        otherwise = self.block(node.orelse)
        del self.names[declared:]

        def choose(frame: Frame) -> Any:
            value = get(frame)
            if value is True or (value is not False and truth(value)):
                return then(frame)
            return otherwise(frame)

        return choose

    def with_block(self, node: nodes.With) -> Writer:
        declared = len(self.names)
        get = self.outermost(node.pipe)
        then = self.block_with_dot(node.body, is_element=False)
        otherwise = self.block(node.orelse)
        del self.names[declared:]

        def choose(frame: Frame) -> Any:
            value = get(frame)
            if not truth(value):
                return otherwise(frame)
            dot = frame[DOT]
            frame[DOT] = value
            try:
                return then(frame)
            finally:
                frame[DOT] = dot

        return choose

    def range_loop(self, node: nodes.Range) -> Writer:
        declared = len(self.names)
        pipe = node.pipe
        get = self.outermost(pipe, declares=False)
        targets: list[int] = []
        for name in pipe.declares:
            if pipe.assigns:
                known = self.find(name)
                if known is None:
                    return self.raising(pipe, f"undefined variable “{name}”")
                targets.append(known[0])
            else:
                targets.append(self.declare(name, is_element=True))
        otherwise = self.block(node.orelse)
        body = self.block_with_dot(node.body, is_element=True)
        del self.names[declared:]
        both = len(targets) == 2
        index_slot = targets[0] if both else 0
        element_slot = targets[-1] if targets else 0

        def loop(frame: Frame) -> Any:
            value = get(frame)
            for slot in targets:
                frame[slot] = value
            run: Run = frame[RUN]
            try:
                pairs = iterate(value, both, run)
            except FunctionError as problem:
                raise self.located(problem, pipe) from None
            dot = frame[DOT]
            ran = False
            try:
                for key, element in pairs:
                    ran = True
                    if element_slot:
                        frame[element_slot] = element
                        if both:
                            frame[index_slot] = key
                    frame[DOT] = element
                    try:
                        run.check_time()
                    except FunctionError as problem:
                        raise self.located(problem, node) from None
                    if body(frame) == _BREAK:
                        break
            finally:
                frame[DOT] = dot
            return None if ran else otherwise(frame)

        return loop

    def template_call(self, node: nodes.TemplateCall) -> Writer:
        get = self.outermost(node.pipe) if node.pipe else None
        defined = self.defined
        name = node.name

        def call(frame: Frame) -> None:
            template = defined.get(name)
            if template is None:
                raise self.error(node, f"template “{name}” is not defined{nearest(name, defined)}")
            value = get(frame) if get else None
            run: Run = frame[RUN]
            if run.depth >= TEMPLATE_DEPTH:
                raise self.error(node, f"templates call each other more than {TEMPLATE_DEPTH} deep")
            run.depth += 1
            write, slots = template
            write([value, value, run, *[None] * slots])
            run.depth -= 1

        return call


def _can_leave(node: nodes.Statement) -> bool:
    """Whether a statement may end the loop that it stands in, or its round."""
    match node:
        case nodes.Break() | nodes.Continue():
            return True
        case nodes.If() | nodes.With():
            return any(_can_leave(statement) for statement in (*node.body, *(node.orelse or ())))
        case nodes.Range():
            return any(_can_leave(statement) for statement in node.orelse or ())
        case _:
            return False
