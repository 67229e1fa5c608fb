"""Builds the syntax tree of a template (Go: text/template/parse), with this project's root names and brackets.

Two spellings are added to Go's (spec expressions 2.2, 2.3): the names `inputs`, `steps` and `packet` stand for fields
of the context, and any path may be followed by `["key"]`, `['key']` or `[3]`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from bobrapet.expressions import nodes
from bobrapet.expressions.errors import ExpressionError, nearest
from bobrapet.expressions.lexer import Token, tokenize
from bobrapet.expressions.limits import never
from bobrapet.expressions.literals import LiteralError, number, rune, unquote

ROOTS = frozenset({"inputs", "steps", "packet"})
"""Names that stand for a field of the context without a leading dot."""

NESTING_LIMIT = 128
"""Blocks and parentheses nested deeper than this are refused: a thousand parentheses are an attack, not a Story."""

_LITERALS = (nodes.Bool, nodes.Dot, nodes.Nil, nodes.Number, nodes.String)


def parse(text: str, functions: Collection[str], check_time: Callable[[], None] = never) -> nodes.Tree:
    """Parses `text`; only the names in `functions` may be called. Raises ExpressionError of kind `parse`."""
    return _Parser(text, functions, check_time).parse()


class _Parser:
    """Recursive descent over the token list; `next` is the index of the token to be read."""

    __slots__ = ("check_time", "depth", "functions", "next", "range_depth", "text", "tokens", "tree", "variables")

    def __init__(self, text: str, functions: Collection[str], check_time: Callable[[], None]) -> None:
        self.text = text
        self.check_time = check_time
        self.functions = functions
        self.tree = nodes.Tree(text)
        self.tokens, self.tree.has_comment = tokenize(text, check_time)
        self.next = 0
        self.depth = 0
        self.range_depth = 0
        self.variables = ["$"]

    def error(self, message: str, position: int) -> ExpressionError:
        return ExpressionError("parse", message, template=self.text, position=position)

    def unexpected(self, token: Token, context: str) -> ExpressionError:
        kind, value, position, _ = token
        if kind == "eof":
            return self.error(f"unexpected end of the template in {context}; is an {{{{ end }}}} missing?", position)
        if kind == "close":
            value = "}}"
        return self.error(f"unexpected {value!r} in {context}", position)

    # Statements

    def parse(self) -> nodes.Tree:
        root = self.tree.root
        tokens = self.tokens
        while tokens[self.next][0] != "eof":
            if tokens[self.next][0] == "begin" and tokens[self.next + 1][:2] == ("keyword", "define"):
                self.next += 2
                self.definition()
                continue
            statement, ending = self.statement()
            if statement is None:
                raise self.error(f"unexpected {{{{ {ending} }}}}", tokens[self.next - 1][2])
            root.append(statement)
        return self.tree

    def statements(self, context: str, started: int) -> tuple[list[nodes.Statement], str]:
        """Reads up to and including `end` or `else`; returns which one came."""
        self.depth += 1
        if self.depth > NESTING_LIMIT:
            raise self.error(f"nested deeper than {NESTING_LIMIT} levels", started)
        body: list[nodes.Statement] = []
        while self.tokens[self.next][0] != "eof":
            statement, ending = self.statement()
            if statement is None:
                self.depth -= 1
                return body, ending
            body.append(statement)
        raise self.error(f"{context} has no {{{{ end }}}}", started)

    def statement(self) -> tuple[nodes.Statement | None, str]:
        """Reads one text or action; for `end` and `else` returns None and the word."""
        kind, value, position, _ = self.tokens[self.next]
        self.next += 1
        if kind == "text":
            return nodes.Text(position, value), ""
        self.check_time()
        kind, value, position, _ = token = self.tokens[self.next]
        if kind == "keyword":
            self.next += 1
            match value:
                case "if":
                    return self.branch(nodes.If, "if", position), ""
                case "range":
                    return self.branch(nodes.Range, "range", position), ""
                case "with":
                    return self.branch(nodes.With, "with", position), ""
                case "end":
                    self.expect_close("end")
                    return None, "end"
                case "else":
                    following = self.tokens[self.next]
                    if following[0] != "keyword" or following[1] not in ("if", "with"):
                        self.expect_close("else")
                    return None, "else"
                case "break" | "continue":
                    self.expect_close(value)
                    if not self.range_depth:
                        raise self.error(f"{{{{ {value} }}}} outside {{{{ range }}}}", position)
                    return (nodes.Break(position) if value == "break" else nodes.Continue(position)), ""
                case "template":
                    return self.template_call(), ""
                case "block":
                    return self.block(), ""
                case "define":
                    raise self.unexpected(token, "command; define stands outside all other blocks")
            self.next -= 1
        return nodes.Action(position, self.pipeline("command", "close")), ""

    def expect_close(self, context: str) -> None:
        token = self.tokens[self.next]
        if token[0] != "close":
            raise self.unexpected(token, context)
        self.next += 1

    def branch(
        self, kind: type[nodes.If] | type[nodes.With] | type[nodes.Range], word: str, position: int
    ) -> nodes.If | nodes.With | nodes.Range:
        declared = len(self.variables)
        pipe = self.pipeline(word, "close")
        if word == "range":
            self.range_depth += 1
        body, ending = self.statements(word, position)
        if word == "range":
            self.range_depth -= 1
        orelse: list[nodes.Statement] | None = None
        if ending == "else":
            token = self.tokens[self.next]
            if (
                token[0] == "keyword"
                and token[1] == word
                and word != "range"
                and self.tokens[self.next - 1][1] == "else"
            ):
                self.next += 1
                self.depth += 1
                if self.depth > NESTING_LIMIT:
                    raise self.error(f"nested deeper than {NESTING_LIMIT} levels", position)
                orelse = [self.branch(kind, word, token[2])]
                self.depth -= 1
            else:
                if token[0] == "keyword" and self.tokens[self.next - 1][1] == "else":
                    raise self.error(f"else {token[1]} cannot follow {word}", token[2])
                orelse, ending = self.statements(word, position)
                if ending != "end":
                    raise self.error("expected {{ end }}, found a second {{ else }}", self.tokens[self.next - 1][2])
        del self.variables[declared:]
        return kind(position, pipe, body, orelse)

    def name(self, context: str) -> tuple[str, int]:
        token = self.tokens[self.next]
        kind, value, position, _ = token
        if kind not in ("string", "raw"):
            raise self.unexpected(token, context)
        self.next += 1
        return self.unquoted(value, position), position

    def definition(self) -> None:
        name, position = self.name("define clause")
        self.expect_close("define clause")
        self.define(name, position)

    def define(self, name: str, position: int) -> None:
        """Reads the body of a named template, in which no variable and no loop of its surroundings is visible."""
        outer = self.variables, self.range_depth
        self.variables, self.range_depth = ["$"], 0
        body, ending = self.statements("define", position)
        if ending != "end":
            raise self.error("unexpected {{ else }} in define clause", self.tokens[self.next - 1][2])
        self.variables, self.range_depth = outer
        existing = self.tree.defined.get(name)
        if existing is None or _is_blank(existing):
            self.tree.defined[name] = body
        elif not _is_blank(body):
            raise self.error(f"template “{name}” is defined twice", position)

    def template_call(self) -> nodes.TemplateCall:
        name, position = self.name("template clause")
        if self.tokens[self.next][0] == "close":
            self.next += 1
            return nodes.TemplateCall(position, name, None)
        return nodes.TemplateCall(position, name, self.pipeline("template clause", "close"))

    def block(self) -> nodes.TemplateCall:
        name, position = self.name("block clause")
        pipe = self.pipeline("block clause", "close")
        self.define(name, position)
        return nodes.TemplateCall(position, name, pipe)

    # Expressions

    def pipeline(self, context: str, end: str) -> nodes.Pipe:
        tokens = self.tokens
        pipe = nodes.Pipe(tokens[self.next][2])
        if tokens[self.next][0] == "variable":
            self.declarations(pipe, context)
        commands = pipe.commands
        while True:
            token = tokens[self.next]
            if token[0] == end:
                self.next += 1
                break
            commands.append(self.command())
            if tokens[self.next][0] == "pipe":
                self.next += 1
                if tokens[self.next][0] == end:
                    raise self.error("nothing follows the |", tokens[self.next - 1][2])
        if not commands:
            raise self.error(f"missing value for {context}", pipe.pos)
        for command in commands[1:]:
            if isinstance(command.args[0], _LITERALS):
                raise self.error("a value cannot follow |, only a function can", command.pos)
        return pipe

    def declarations(self, pipe: nodes.Pipe, context: str) -> None:
        """Reads `$x :=`, `$x =` and, in range, `$i, $x :=`; leaves `next` untouched when there is none."""
        tokens = self.tokens
        while True:
            kind, value, position, _ = tokens[self.next]
            following = tokens[self.next + 1]
            if kind != "variable":
                return
            if following[0] in ("declare", "assign"):
                pipe.assigns = following[0] == "assign"
                pipe.declares.append(value)
                self.variables.append(value)
                self.next += 2
                return
            if following[0] != "comma":
                return
            pipe.declares.append(value)
            self.variables.append(value)
            self.next += 2
            if context != "range" or len(pipe.declares) > 1:
                raise self.error(f"too many declarations in {context}", position)
            if tokens[self.next][0] not in ("variable", "close", "shut"):
                raise self.error("range can only initialize variables", tokens[self.next][2])

    def command(self) -> nodes.Command:
        tokens = self.tokens
        args: list[nodes.Operand] = []
        position = tokens[self.next][2]
        while True:
            args.append(self.operand())
            kind, _, _, spaced = token = tokens[self.next]
            if kind in ("close", "shut", "pipe"):
                return nodes.Command(position, args)
            if not spaced:
                raise self.unexpected(token, "operand")

    def operand(self) -> nodes.Operand:
        node = self.term()
        tokens = self.tokens
        while True:
            kind, value, position, spaced = tokens[self.next]
            if spaced or (kind != "field" and kind != "left"):
                return node
            if isinstance(node, _LITERALS) and not (isinstance(node, nodes.Dot) and kind == "left"):
                raise self.error(f"unexpected {value!r} after a value", position)
            self.next += 1
            if kind == "left":
                node = nodes.Index(node.pos, node, self.subscript())
                continue
            path = tuple(value[1:].split("."))
            if isinstance(node, nodes.Field):
                node = nodes.Field(node.pos, node.path + path)
            elif isinstance(node, nodes.Variable):
                node = nodes.Variable(node.pos, node.name, node.path + path)
            elif isinstance(node, nodes.Chain):
                node = nodes.Chain(node.pos, node.target, node.path + path)
            else:
                node = nodes.Chain(node.pos, node, path)

    def subscript(self) -> str | int:
        """Reads `"key"]` or `3]`."""
        kind, value, position, _ = token = self.tokens[self.next]
        key: str | int
        if kind in ("string", "raw", "char"):
            key = self.unquoted(value, position, "'\"")
        elif kind == "number" and value.isascii() and value.isdigit() and len(value) < 20:
            key = int(value)
        else:
            raise self.error('brackets hold a quoted key or a number: ["key"], [0]', position)
        self.next += 1
        token = self.tokens[self.next]
        if token[0] != "right":
            raise self.error("expected ]", token[2])
        self.next += 1
        return key

    def term(self) -> nodes.Operand:
        kind, value, position, _ = token = self.tokens[self.next]
        self.next += 1
        match kind:
            case "field":
                return nodes.Field(position, tuple(value[1:].split(".")))
            case "name":
                return self.named(value, position)
            case "string" | "raw":
                return nodes.String(position, self.unquoted(value, position))
            case "variable":
                if value not in self.variables:
                    known = nearest(value, self.variables)
                    raise self.error(f"undefined variable “{value}”{known}", position)
                return nodes.Variable(position, value)
            case "number":
                try:
                    return number(position, value)
                except LiteralError as problem:
                    raise self.error(str(problem), position) from problem
            case "open":
                return self.parenthesised(position)
            case "dot":
                return nodes.Dot(position)
            case "char":
                try:
                    code = rune(value)
                except LiteralError as problem:
                    raise self.error(str(problem), position) from problem
                return nodes.Number(position, value, code, float(code), None)
            case "keyword" if value == "nil":
                return nodes.Nil(position)
        raise self.unexpected(token, "operand" if kind != "close" else "command, which lacks a value")

    def named(self, value: str, position: int) -> nodes.Operand:
        if value in ROOTS:
            return nodes.Field(position, (value,))
        if value == "true" or value == "false":
            return nodes.Bool(position, value == "true")
        if value not in self.functions:
            following = self.tokens[self.next]
            if following[0] == "field" and not following[3]:
                raise self.error(f"“{value}” is not a known name{nearest(value, ROOTS)}", position)
            raise self.error(f"function “{value}” is not defined{nearest(value, self.functions)}", position)
        self.tree.functions.add(value)
        return nodes.Identifier(position, value)

    def parenthesised(self, position: int) -> nodes.Pipe:
        self.depth += 1
        if self.depth > NESTING_LIMIT:
            raise self.error(f"nested deeper than {NESTING_LIMIT} levels", position)
        pipe = self.pipeline("parenthesized pipeline", "shut")
        self.depth -= 1
        pipe.pos = position
        return pipe

    def unquoted(self, literal: str, position: int, also: str = "") -> str:
        try:
            return unquote(literal, also)
        except LiteralError as problem:
            raise self.error(str(problem), position) from problem


def _is_blank(body: list[nodes.Statement]) -> bool:
    """A template of white space only may be defined again."""
    return all(isinstance(statement, nodes.Text) and not statement.text.strip() for statement in body)
