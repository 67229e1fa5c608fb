"""Text to nodes: a lexer of one regular expression, and a parser by precedence that knows the macros."""

from __future__ import annotations

import re
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
from bobrapet.local.apiserver.cel.errors import CompileError, Issue
from bobrapet.local.apiserver.cel.values import INT_MAX, INT_MIN, UINT_MAX, UInt

_DEPTH = 150
"""Levels of nesting. A kube-apiserver parses 250; more than this many would not fit on the stack of Python."""
_SIZE = 100_000
"""Characters of an expression."""

_TOKEN = re.compile(
    r"""
    (?P<space>   (?:[ \t\r\n\f]|//[^\n]*)+ )
  | (?P<string>  [rR]?[bB]?(?:\"{3}(?:\\.|(?s:.))*?\"{3} | '{3}(?:\\.|(?s:.))*?'{3}
                 | "(?:\\.|[^"\\\n\r])*" | '(?:\\.|[^'\\\n\r])*')
               | [bB][rR](?:"[^"\n\r]*"|'[^'\n\r]*') )
  | (?P<float>  [0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+ | \.[0-9]+(?:[eE][+-]?[0-9]+)? )
  | (?P<int>    (?:0x[0-9a-fA-F]+|[0-9]+)[uU]? )
  | (?P<name>   [_a-zA-Z][_a-zA-Z0-9]* )
  | (?P<symbol> == | != | <= | >= | && | \|\| | [-+*/%<>!?:.,()\[\]{}] )
    """,
    re.VERBOSE,
)
_RAW = re.compile(r"""([rR])(?:\"{3}((?s:.)*?)\"{3}|'{3}((?s:.)*?)'{3}|"([^"\n\r]*)"|'([^'\n\r]*)')""")

RESERVED = frozenset((
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while",
))  # fmt: skip
"""Words that are no names."""
_LOGICAL = 2
_BINARY = {
    "||": 1,
    "&&": 2,
    "<": 3, "<=": 3, ">": 3, ">=": 3, "==": 3, "!=": 3, "in": 3,
    "+": 4, "-": 4,
    "*": 5, "/": 5, "%": 5,
}  # fmt: skip
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MACROS = {"all": (2,), "exists": (2,), "exists_one": (2,), "filter": (2,), "map": (2, 3), "sortBy": (2,)}
_MACROS_OF_TWO = {
    "all": (3,),
    "exists": (3,),
    "existsOne": (3,),
    "transformList": (3, 4),
    "transformMap": (3, 4),
    "transformMapEntry": (3, 4),
}


class Token(NamedTuple):
    """A word of the source."""

    kind: str
    text: str
    offset: int


def parse(source: str) -> Node:
    """The expression. Raises CompileError."""
    if len(source) > _SIZE:
        raise CompileError(source[:80], [Issue(0, f"expression code point size exceeds limit: size: {len(source)}")])
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = self._words()
        self._at = 0
        self._depth = 0

    def _words(self) -> list[Token]:
        tokens = []
        at = 0
        while at < len(self._source):
            # A raw string takes backslashes as they are, so it cannot be told by the general rule.
            match = _RAW.match(self._source, at)
            kind = "string" if match else ""
            if match is None:
                match = _TOKEN.match(self._source, at)
                if match is None:
                    raise self._fault(at, f"token recognition error at: '{self._source[at]}'")
                kind = match.lastgroup or ""
            if kind != "space":
                tokens.append(Token(kind, match.group(), at))
            at = match.end()
        tokens.append(Token("end", "<EOF>", len(self._source)))
        return tokens

    def _fault(self, offset: int, message: str) -> CompileError:
        return CompileError(self._source, [Issue(offset, f"Syntax error: {message}")])

    def _refused(self, offset: int, message: str) -> CompileError:
        return CompileError(self._source, [Issue(offset, message)])

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _skip(self, text: str) -> Token | None:
        token = self._next
        return self._take() if token.kind in ("symbol", "name") and token.text == text else None

    def _expect(self, text: str) -> Token:
        token = self._skip(text)
        if token is not None:
            return token
        if self._next.kind == "end":
            raise self._fault(self._next.offset, f"missing '{text}' at '<EOF>'")
        raise self._unexpected(f"'{text}'")

    def _unexpected(self, wanted: str = "") -> CompileError:
        token = self._next
        more = f" expecting {wanted}" if wanted else ""
        return self._fault(token.offset, f"mismatched input '{token.text}'{more}")

    def whole(self) -> Node:
        node = self._expression()
        if self._next.kind != "end":
            raise self._unexpected("<EOF>")
        return node

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > _DEPTH:
            raise self._refused(self._next.offset, f"expression recursion limit exceeded: {_DEPTH}")
        condition = self._binary(1)
        if question := self._skip("?"):
            # The middle may not be a bare conditional, the end may.
            then = self._binary(1)
            self._expect(":")
            condition = Call(question.offset, "_?_:_", None, (condition, then, self._expression()))
        self._depth -= 1
        return condition

    def _binary(self, level: int) -> Node:
        """Operators that bind at least as tightly as `level`, by climbing: few frames for deep expressions."""
        left = self._unary()
        while self._next.kind in ("symbol", "name") and (found := _BINARY.get(self._next.text, 0)) >= level:
            operator = self._next.text
            if found <= _LOGICAL:
                parts, places = [left], []
                while token := self._skip(operator):
                    places.append(token.offset)
                    parts.append(self._binary(found + 1))
                left = _balanced(f"_{operator}_", parts, places)
            else:
                token = self._take()
                name = "@in" if operator == "in" else f"_{operator}_"
                left = Call(token.offset, name, None, (left, self._binary(found + 1)))
        return left

    def _unary(self) -> Node:
        token = self._next
        if token.kind != "symbol" or token.text not in "!-":
            return self._member(self._primary())
        count = 0
        while self._skip(token.text):
            count += 1
        if token.text == "-" and count % 2 and self._next.kind in ("int", "float"):
            number = self._take()
            return self._member(self._number(number, token.offset, "-"))
        operand = self._unary() if self._next.text in ("!", "-") and self._next.kind == "symbol" else None
        if operand is not None:
            raise self._unexpected()
        node = self._member(self._primary())
        return Call(token.offset, f"{token.text}_", None, (node,)) if count % 2 else node

    def _member(self, node: Node) -> Node:
        while True:
            if dot := self._skip("."):
                optional = bool(self._skip("?"))
                name = self._field_name()
                if optional:
                    node = Select(dot.offset, node, name, optional=True)
                elif paren := self._skip("("):
                    node = self._called(paren.offset, name, node, self._arguments(")"))
                else:
                    node = Select(dot.offset, node, name)
            elif bracket := self._skip("["):
                name = "_[?_]" if self._skip("?") else "_[_]"
                node = Call(bracket.offset, name, None, (node, self._expression()))
                self._expect("]")
            elif self._next.text == "{" and self._next.kind == "symbol" and _qualified(node):
                raise self._refused(
                    self._next.offset, f"undeclared reference to '{_qualified(node)}' (in container '')"
                )
            else:
                return node

    def _field_name(self) -> str:
        token = self._next
        if token.kind != "name" or token.text in ("in", "true", "false", "null"):
            raise self._unexpected("IDENTIFIER")
        return self._take().text

    def _arguments(self, closing: str) -> tuple[Node, ...]:
        args: list[Node] = []
        if self._skip(closing):
            return ()
        while True:
            args.append(self._expression())
            if self._skip(closing):
                return tuple(args)
            self._expect(",")

    def _primary(self) -> Node:
        token = self._take()
        match token.kind, token.text:
            case "symbol", "(":
                node = self._expression()
                self._expect(")")
                return node
            case "symbol", "[":
                return self._list(token.offset)
            case "symbol", "{":
                return self._map(token.offset)
            case "symbol", ".":
                return self._named(self._take())
            case "string", text:
                return Literal(token.offset, self._string(text, token.offset))
            case (("int" | "float"), _):
                return self._number(token, token.offset, "")
            case "name", ("true" | "false"):
                return Literal(token.offset, token.text == "true")
            case "name", "null":
                return Literal(token.offset, None)
            case "name", text if text != "in":
                return self._named(token)
        self._at -= 1
        raise self._unexpected("{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, "
                               "STRING, BYTES, IDENTIFIER}")  # fmt: skip

    def _named(self, token: Token) -> Node:
        if token.kind != "name":
            self._at -= 1
            raise self._unexpected("IDENTIFIER")
        if token.text in RESERVED:
            raise self._refused(token.offset, f"reserved identifier: {token.text}")
        if paren := self._skip("("):
            return self._called(paren.offset, token.text, None, self._arguments(")"))
        return Ident(token.offset, token.text)

    def _list(self, offset: int) -> Node:
        elements: list[Node] = []
        optional = set()
        while not self._skip("]"):
            if self._skip("?"):
                optional.add(len(elements))
            elements.append(self._expression())
            if not self._skip(","):
                self._expect("]")
                break
        return ListOf(offset, tuple(elements), frozenset(optional))

    def _map(self, offset: int) -> Node:
        entries: list[tuple[Node, Node]] = []
        optional = set()
        while not self._skip("}"):
            if self._skip("?"):
                optional.add(len(entries))
            key = self._expression()
            self._expect(":")
            entries.append((key, self._expression()))
            if not self._skip(","):
                self._expect("}")
                break
        return MapOf(offset, tuple(entries), frozenset(optional))

    def _number(self, token: Token, offset: int, sign: str) -> Node:
        if token.kind == "float":
            return Literal(offset, float(sign + token.text))
        text = token.text.rstrip("uU")
        value = int(sign + text, 16 if text.startswith("0x") else 10)
        if text != token.text:
            if not 0 <= value <= UINT_MAX:
                raise self._refused(offset, "invalid uint literal")
            return Literal(offset, UInt(value))
        if not INT_MIN <= value <= INT_MAX:
            raise self._refused(offset, "invalid int literal")
        return Literal(offset, value)

    def _string(self, text: str, offset: int) -> str | bytes:
        prefix = text[: len(text) - len(text.lstrip("rRbB"))].lower()
        body = text[len(prefix) :]
        quotes = 3 if len(body) >= 6 and body[:3] in ('"""', "'''") else 1
        body = body[quotes:-quotes].replace("\r\n", "\n").replace("\r", "\n")
        if "r" in prefix:
            return body.encode() if "b" in prefix else body
        try:
            return _unescaped_bytes(body) if "b" in prefix else _unescaped(body)
        except ValueError as error:
            raise self._refused(offset, str(error)) from None

    # Macros: what looks like a call, but binds variables.

    def _called(self, offset: int, name: str, target: Node | None, args: tuple[Node, ...]) -> Node:
        if target is None:
            return self._presence(offset, args) if name == "has" and len(args) == 1 else Call(offset, name, None, args)
        if len(args) in _MACROS.get(name, ()):
            first = self._variable(args[0])
            if name == "map":
                test = args[1] if len(args) == 3 else None
                return Comprehension(offset, "map", target, first, None, test, args[-1])
            if name == "sortBy":
                return Comprehension(offset, name, target, first, None, None, args[1])
            return Comprehension(offset, name, target, first, None, args[1])
        if len(args) in _MACROS_OF_TWO.get(name, ()):
            return self._of_two(offset, name, target, args)
        if name in ("optMap", "optFlatMap") and len(args) == 2:
            return OptionalMap(offset, target, self._variable(args[0], name), args[1], name == "optFlatMap")
        return Call(offset, name, target, args)

    def _of_two(self, offset: int, name: str, target: Node, args: tuple[Node, ...]) -> Node:
        first, second = self._variable(args[0]), self._variable(args[1])
        if first == second:
            raise self._refused(args[1].offset, f"duplicate variable name: {first}")
        if not name.startswith("transform"):
            macro = {"existsOne": "exists_one"}.get(name, name)
            return Comprehension(offset, macro, target, first, second, args[2])
        test = args[2] if len(args) == 4 else None
        return Comprehension(offset, name, target, first, second, test, args[-1])

    def _presence(self, offset: int, args: tuple[Node, ...]) -> Node:
        (operand,) = args
        if not isinstance(operand, Select) or operand.optional:
            raise self._refused(operand.offset, "invalid argument to has() macro")
        return Select(offset, operand.operand, operand.name, test=True)

    def _variable(self, node: Node, macro: str = "") -> str:
        if not isinstance(node, Ident):
            told = f"{macro}() variable name must be a simple identifier" if macro else "argument must be a simple name"
            raise self._refused(node.offset, told)
        return node.name


def _balanced(function: str, parts: list[Node], places: list[int]) -> Node:
    """A chain of `&&` or `||` as a tree of logarithmic depth, so that long chains do not nest."""
    if len(parts) == 1:
        return parts[0]
    middle = len(places) // 2
    left = _balanced(function, parts[: middle + 1], places[:middle])
    right = _balanced(function, parts[middle + 1 :], places[middle + 1 :])
    return Call(places[middle], function, None, (left, right))


def _qualified(node: Node) -> str:
    """`a.b.c` when the node is nothing but names."""
    match node:
        case Ident():
            return node.name
        case Select(test=False, optional=False):
            base = _qualified(node.operand)
            return f"{base}.{node.name}" if base else ""
    return ""


qualified = _qualified
_ESCAPE = re.compile(
    r"""\\(?:x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.)|$)""",
    re.DOTALL,
)


def _unescaped(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        if simple := match.group(6):
            return _simple(simple)
        for group, base in ((1, 16), (2, 16), (3, 16), (4, 16), (5, 8)):
            if digits := match.group(group):
                code = int(digits, base)
                if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
                    raise ValueError("invalid unicode code point")
                return chr(code)
        raise ValueError("unable to unescape string")

    return _ESCAPE.sub(replace, text) if "\\" in text else text


def _unescaped_bytes(text: str) -> bytes:
    parts, at = [], 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[at : match.start()].encode())
        at = match.end()
        if simple := match.group(6):
            parts.append(_simple(simple).encode())
        elif match.group(3) or match.group(4):
            raise ValueError("unable to unescape string")
        else:
            octal = match.group(5)
            parts.append(bytes([int(octal, 8) if octal else int(match.group(1) or match.group(2), 16)]))
    return b"".join((*parts, text[at:].encode()))


def _simple(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char in "\\'\"`?":
        return char
    raise ValueError("unable to unescape string")
