"""Plain paths: an expression that only names a value gets the value itself, of any type (spec expressions 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from bobrapet.expressions import nodes
from bobrapet.expressions.errors import ExpressionError, nearest, segment_position
from bobrapet.expressions.parser import ROOTS
from bobrapet.expressions.storage import REF, is_reference, selector
from bobrapet.expressions.values import Absent, type_name

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list positions, the root first."""

_OUTPUTS = ("output", "outputs")


def plain_path(tree: nodes.Tree) -> Path | None:
    """Returns the path that a template consists of, None when it is anything more than a path.

    White space around the action does not count. Trim markers, comments and parentheses do: they make it a template.
    """
    text = tree.text.strip()
    if tree.has_comment or text.startswith(("{{- ", "{{-\t", "{{-\n", "{{-\r")) or text.endswith("-}}"):
        return None
    statements = [node for node in tree.root if not (isinstance(node, nodes.Text) and not node.text.strip())]
    if len(statements) != 1 or tree.defined or not isinstance(statements[0], nodes.Action):
        return None
    pipe = statements[0].pipe
    if pipe.declares or len(pipe.commands) != 1:
        return None
    args = pipe.commands[0].args
    if len(args) == 1:
        return _segments(args[0])
    return _index_call(args)


def _segments(node: nodes.Operand) -> Path | None:
    match node:
        case nodes.Field():
            return node.path
        case nodes.Index():
            before = _segments(node.target)
            return None if before is None else (*before, node.key)
        case nodes.Chain():
            before = _segments(node.target)
            return None if before is None else (*before, *node.path)
        case nodes.Pipe() if not node.declares and len(node.commands) == 1:
            return _index_call(node.commands[0].args)
    return None


def _index_call(args: list[nodes.Operand]) -> Path | None:
    """`index .steps "name"`."""
    match args:
        case [nodes.Identifier(name="index"), nodes.Field(path=(root,)), nodes.String(value=key)] if root in ROOTS:
            return root, key
    return None


def compile_path(path: Path, text: str, position: int) -> Callable[[Any], Any]:
    """Returns a function of the context that gives the value at `path`."""

    def slowly(context: Any) -> Any:
        return _walk(context, path, text, position)

    if not all(isinstance(segment, str) for segment in path) or path[0] == "steps":
        return _steps_path(path, slowly)
    if len(path) == 2:
        root, name = path

        def two(context: Any) -> Any:
            try:
                value = context[root][name]
            except (KeyError, TypeError):
                return slowly(context)
            return None if value is Absent else value

        return two

    def many(context: Any) -> Any:
        value = context
        try:
            for segment in path:
                value = value[segment]
        except (KeyError, TypeError):
            return slowly(context)
        return None if value is Absent else value

    return many


def _steps_path(path: Path, slowly: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`steps.NAME.output.key...` has a fast way too, as long as the output is no storage reference."""
    if len(path) < 4 or path[2] not in _OUTPUTS or not all(isinstance(segment, str) for segment in path):
        return slowly
    root, step, output, key = path[:4]
    rest = path[4:]

    def get(context: Any) -> Any:
        try:
            value = context[root][step][output]
            if REF in value:
                return slowly(context)
            value = value[key]
            for segment in rest:
                value = value[segment]
        except (KeyError, TypeError):
            return slowly(context)
        return None if value is Absent else value

    return get


def _walk(context: Any, path: Path, text: str, position: int) -> Any:
    """Follows the path with every rule of spec expressions 4."""
    root = path[0]
    value = context
    shown = ""
    for number, segment in enumerate(path):
        if value is Absent:
            return None
        if number > 1 and is_reference(value) and not (isinstance(segment, str) and segment in value):
            # Only the path below the output of a step replaces a path that the reference has (spec 4); a reference
            # deeper inside points at a part already, which the rest of the path continues (decision 8).
            at_output = root == "steps" and path[number - 1] in _OUTPUTS
            return selector(value, path[number:], carry=not at_output)
        place = segment_position(text, position, path, number)
        before = shown
        if isinstance(segment, int):
            shown += f"[{segment}]"
            if not isinstance(value, list):
                raise _wrong_type(f"index {segment}", value, before, text, place)
            if segment >= len(value):
                raise _missing(root, f"{shown} (the list has {len(value)})", text, place)
            value = value[segment]
            continue
        shown += f".{segment}" if shown else segment
        if not isinstance(value, dict):
            raise _wrong_type(f"key “{segment}”", value, before, text, place)
        if segment not in value:
            raise _missing(root, shown + nearest(segment, map(str, value)) + _known(value), text, place)
        value = value[segment]
    return _without_absent(value) if root == "steps" and len(path) < 3 else None if value is Absent else value


def _wrong_type(wanted: str, value: Any, where: str, text: str, position: int) -> ExpressionError:
    found = "null" if value is None else type_name(value)
    return ExpressionError(
        "pathType", f"cannot access {wanted} on {found} at {where}", template=text, position=position
    )


def _known(value: dict[str, Any]) -> str:
    """Names the keys that exist, as long as that is of help."""
    names = sorted(map(str, value))[:8]
    return f" (known: {', '.join(names)}{', …' if len(value) > 8 else ''})" if names else " (it is empty)"


def _missing(root: str | int, what: str, text: str, position: int) -> ExpressionError:
    message = f"missing key at {what}"
    if root == "steps":
        return ExpressionError("blocked", f"template evaluation blocked: {message}", template=text, position=position)
    return ExpressionError("missingKey", message, template=text, position=position)


def _without_absent(value: Any) -> Any:
    """What is handed out is JSON: an Absent inside becomes null."""
    if value is Absent:
        return None
    if isinstance(value, dict) and any(_holds_absent(element) for element in value.values()):
        return {key: _without_absent(element) for key, element in value.items()}
    return value


def _holds_absent(value: Any) -> bool:
    return value is Absent or (isinstance(value, dict) and any(element is Absent for element in value.values()))
