"""Warnings that an API server sends along with an answer (spec runtime CLI-16)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

log = logging.getLogger("bobrapet.runtime.KubeAPIWarningLogger")


class ServerWarning(NamedTuple):
    """One `Warning` header: code (299), who says it, what it says."""

    code: int
    agent: str
    text: str


WarningHandler = Callable[[ServerWarning], None]

_HEADER = re.compile(r'\s*(\d{3})\s+(\S+)\s+"((?:[^"\\]|\\.)*)"(?:\s+"[^"]*")?\s*(?:,|$)')


def parse_warnings(headers: Mapping[str, Any]) -> Iterator[ServerWarning]:
    """The warnings in the headers of an answer. What does not parse is left out."""
    if "Warning" not in headers:
        return
    getall = getattr(headers, "getall", None)
    values = getall("Warning") if getall else [headers["Warning"]]
    for value in values:
        for match in _HEADER.finditer(value):
            text = re.sub(r"\\(.)", r"\1", match[3])
            yield ServerWarning(int(match[1]), match[2], text)


def log_warning(warning: ServerWarning) -> None:
    """Logs at info. Repeats are logged again: remembering them would grow without bound."""
    if warning.code == 299 and warning.text:
        log.info("%s", warning.text)


class DeduplicatingHandler:
    """Logs each text once, for programs that end soon, such as a command line."""

    def __init__(self, handler: WarningHandler = log_warning) -> None:
        self._handler = handler
        self._seen: set[str] = set()

    def __call__(self, warning: ServerWarning) -> None:
        if warning.text not in self._seen:
            self._seen.add(warning.text)
            self._handler(warning)


def ignore_warning(_: ServerWarning) -> None:
    """Says nothing."""
