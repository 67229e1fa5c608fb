"""A template made ready to run: parsed once, evaluated any number of times, from any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bobrapet.expressions import nodes
from bobrapet.expressions.compiler import compile_tree
from bobrapet.expressions.errors import ExpressionError, FunctionError
from bobrapet.expressions.function import Function
from bobrapet.expressions.functions import BUILTIN_NAMES
from bobrapet.expressions.json_text import NotJson, decode_json
from bobrapet.expressions.limits import Run, never
from bobrapet.expressions.parser import parse
from bobrapet.expressions.plain_path import compile_path, plain_path
from bobrapet.expressions.references import step_names
from bobrapet.expressions.storage import holds_reference
from bobrapet.expressions.text import finished


class Program:
    """One compiled string.

    `path` is set for a plain path: a function of the context that needs no Run. Anything else is rendered.
    """

    __slots__ = ("_decodes", "_render", "_steps", "path", "text")

    def __init__(self, text: str, functions: Mapping[str, Function], check_time: Callable[[], None] = never) -> None:
        """Raises ExpressionError: of kind `parse`, or of what `check_time` raises."""
        self.text = text
        self.path: Callable[[Any], Any] | None = None
        try:
            tree = parse(text, functions, check_time)
            segments = plain_path(tree)
            if segments is not None:
                self.path = compile_path(segments, text, _first_action(tree))
                return
            self._steps = step_names(tree)
            self._decodes = _is_single_action(tree) and tree.functions <= BUILTIN_NAMES
            self._render = compile_tree(tree, functions, check_time)
        except FunctionError as problem:
            raise ExpressionError(problem.kind, problem.message, template=text) from None
        except RecursionError:
            raise ExpressionError("parse", "nested too deeply to be read from here", template=text) from None

    def render(self, context: Any, run: Run) -> Any:
        """Returns the text for a context, or the JSON value that it stands for (spec expressions 3, 9.1)."""
        try:
            if self._steps:
                self._refuse_offloaded(context, run)
            self._render(context, run)
        except FunctionError as problem:
            raise ExpressionError(problem.kind, problem.message, template=self.text) from None
        except RecursionError:
            raise ExpressionError(
                "depth", "the template or its data are nested too deeply", template=self.text
            ) from None
        text = finished(run.text())
        if self._decodes:
            try:
                return decode_json(text)
            except NotJson:
                return text
        return text

    def _refuse_offloaded(self, context: Any, run: Run) -> None:
        """One offloaded value anywhere in a step's entry keeps a template from reading that step at all."""
        steps = context.get("steps") if isinstance(context, dict) else None
        if not isinstance(steps, dict):
            return
        for name, position in self._steps:
            entry = steps.get(name)
            if entry and holds_reference(entry, run):
                raise ExpressionError(
                    "offloaded",
                    f"offloaded data usage detected: compound template references step output containing storage ref "
                    f"(step “{name}”)",
                    template=self.text,
                    position=position,
                )


def _is_single_action(tree: nodes.Tree) -> bool:
    statements = [node for node in tree.root if not (isinstance(node, nodes.Text) and not node.text.strip())]
    return len(statements) == 1 and isinstance(statements[0], nodes.Action)


def _first_action(tree: nodes.Tree) -> int:
    return next(node.pos for node in tree.root if isinstance(node, nodes.Action))
