"""jq programs in Engrams, with errors that say which setting is wrong.

Why jq: people who handle JSON know it already, its manual is good, one program says filter, group and aggregate, and
the `jq` package carries the original implementation, so a program tried on the command line means the same here.

Limits: jq calculates with IEEE doubles, so integers above 2^53 lose digits; carry such identifiers as texts. A program
that never ends cannot be interrupted from inside; the step is reported as timed out, and its process ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import jq
import msgspec

from bobrapet.sdk import TerminalError

_EXCERPT = 120


class JqProgram:
    """A compiled program. `setting` names it in errors, `variables` are its `$name`s."""

    def __init__(self, text: str, *, setting: str, variables: Mapping[str, Any] | None = None) -> None:
        self._setting = setting
        try:
            self._program = jq.compile(text, args=dict(variables or {}))
        except ValueError as error:
            raise TerminalError(f"{setting} is no jq program: {_first_line(error)}", code="JQ_SYNTAX") from error

    def one(self, text: str) -> Any:
        """The one value that the program gives for a JSON text. Raises TerminalError."""
        try:
            results = list(islice(self._program.input_text(text), 2))
        except ValueError as error:
            raise TerminalError(f"{self._setting} failed on this payload: {error}", code="JQ_FAILED") from error
        if len(results) != 1:
            raise TerminalError(
                f"{self._setting} gave {'more than one value' if results else 'no value'}, it must give one:"
                " put [...] around a stream, take first(...) of it, or // null behind it",
                code="JQ_NOT_ONE_RESULT",
            )
        return results[0]


def json_text(payload: Any, what: str = "payload") -> str:
    """A JSON value, or a text that holds one, as text. Raises TerminalError."""
    if not isinstance(payload, str):
        return msgspec.json.encode(payload).decode()
    try:
        msgspec.json.decode(payload, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        raise TerminalError(
            f"{what} is no JSON: {error}; it begins {payload[:_EXCERPT]!r}", code="PAYLOAD_NOT_JSON"
        ) from error
    return payload


def json_list(payload: Any, what: str) -> list[Any]:
    """The same, which must be an array. Raises TerminalError."""
    value = msgspec.json.decode(json_text(payload, what)) if isinstance(payload, str) else payload
    if not isinstance(value, list):
        raise TerminalError(f"{what} must be an array, not {_kind(value)}", code="NOT_AN_ARRAY")
    return value


def _kind(value: Any) -> str:
    return {dict: "an object", str: "a text", bool: "a boolean", type(None): "null"}.get(type(value), "a number")


def _first_line(error: ValueError) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "unknown")
