"""YAML as kubectl reads it, with the line of every field.

kubectl turns YAML into JSON with the YAML 1.1 rules of go-yaml: `yes`, `on` and `y` are true, `0o17`, `017` and `0x1f`
are integers, dates stay text, sexagesimal numbers do not exist, a key that stands twice is an error, keys become
strings. PyYAML's own construction differs in all of these, so only its parser is used here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml._yaml import CParser
from yaml.resolver import BaseResolver

Path = tuple[str | int, ...]

_TRUE: Final = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE: Final = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER: Final = re.compile(r"[-+]?(0[bB][01]+|0[oO][0-7]+|0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_JSON: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PLAIN: Final = "plain"
_TEXT: Final = "tag:yaml.org,2002:str"
_TYPED: Final = frozenset({_PLAIN} | {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")})
_MAX_NODES: Final = 200_000  # aliases of aliases grow without bound; no real manifest comes near this


class YamlError(ValueError):
    """A text that is not YAML as kubectl accepts it; `line` counts from 1 within the text."""

    def __init__(self, message: str, line: int | None) -> None:
        self.line = line
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its value as JSON types, where it begins, and the line of each field."""

    value: Any
    index: int
    """Counts from 1 in its file, as people count; empty documents count too."""
    line: int
    lines: dict[Path, int] = field(repr=False)

    def line_of(self, path: Path) -> int:
        """The line of `path`, or of the nearest parent that the text has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


def load_documents(text: str) -> list[Document]:
    """The documents of a text that hold something.

    Raises:
        YamlError: with the line, when the text is not YAML or repeats a key.
    """
    try:
        return list(_documents(text))
    except YamlError as error:
        # JSON is YAML but for escaped surrogate pairs, which libyaml refuses.
        try:
            return [Document(value=json.loads(text), index=1, line=1, lines={})]
        except (ValueError, RecursionError):
            raise error from None


def _documents(text: str) -> Iterator[Document]:
    loader = _Loader(text)
    index = 0
    try:
        while loader.check_node():
            index += 1
            node: Any = loader.get_node()
            builder = _Builder()
            value = builder.build(node, ())
            if value is not None:
                yield Document(value=value, index=index, line=node.start_mark.line + 1, lines=builder.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(_words(error), mark.line + 1 if mark else None) from error
    except yaml.YAMLError as error:
        raise YamlError(str(error), None) from error
    except RecursionError as error:
        raise YamlError("nested too deeply", None) from error
    finally:
        loader.dispose()


class _Loader(CParser, BaseResolver):
    """libyaml's parser; a plain scalar without a tag is marked, so that an explicit `!!str 1` can be told from `1`."""

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        BaseResolver.__init__(self)

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        return str(BaseResolver.resolve(self, kind, value, implicit))  # type: ignore[no-untyped-call]  # untyped stub


def _words(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or str(error)
    return f"{error.context}: {problem}" if error.context else problem


class _Builder:
    """Turns nodes into JSON values and remembers where each field stands."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._nodes = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise YamlError("too large once its aliases are expanded", node.start_mark.line + 1)
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, position)) for position, item in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        return self._mapping(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _PLAIN and key_node.value == "<<":
                for part in _merge_parts(value_node, line):
                    merged = {**self._mapping(part, path), **merged}
                continue
            key = _key(key_node, line)
            if key in result:
                raise YamlError(f"the key {key!r} stands twice in the same mapping", line)
            value = self.build(value_node, (*path, key))
            self.lines[(*path, key)] = line
            result[key] = value
        return {**merged, **result}


def _merge_parts(node: yaml.Node, line: int) -> list[yaml.MappingNode]:
    parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(part, yaml.MappingNode) for part in parts):
        raise YamlError("only mappings can be merged with <<", line)
    return list(parts)


def _key(node: yaml.Node, line: int) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise YamlError("a key must be plain text", line)
    value = _scalar(node)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return str(value)


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.tag not in _TYPED:
        return text
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    number = text.replace("_", "")
    if _INTEGER.fullmatch(number):
        return _integer(number)
    if _FLOAT.fullmatch(number):
        return float(number)
    if _NOT_JSON.fullmatch(text):
        raise YamlError(f"{text} cannot be written as JSON", node.start_mark.line + 1)
    return text


def _integer(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567":
        return sign * int(digits, 8)
    return sign * int(digits, 0)
