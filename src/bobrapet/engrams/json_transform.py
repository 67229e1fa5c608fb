"""Engram `json-transform`: a jq program over a JSON value.

Why jq: people who handle JSON know it already, its manual is good, one program says filter, group and aggregate, and
the `jq` package carries the original implementation, so a program tried on the command line means the same here.

Limits: jq calculates with IEEE doubles, so integers above 2^53 lose digits; carry such identifiers as texts. A program
that never ends cannot be interrupted from inside; the engine ends its pod at the step's time limit.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import jq
import msgspec

from bobrapet.sdk import Context, TerminalError, engram

_EXCERPT = 120


class Document(msgspec.Struct, kw_only=True):
    payload: Any
    """A JSON value, or a text that holds one."""


class Config(msgspec.Struct, kw_only=True):
    program: str = "."
    """Must give exactly one value; put `[...]` around a stream, `first(...)` before it, or `// null` behind."""

    vars: dict[str, Any] = {}
    """Values that the program sees as `$name`."""


class Transformed(msgspec.Struct):
    result: Any


@engram
def json_transform(input: Document, ctx: Context[Config]) -> Transformed:
    """Applies the program to the payload."""
    text = _payload(input.payload)
    try:
        program = jq.compile(ctx.config.program, args=ctx.config.vars)
    except ValueError as error:
        raise TerminalError(f"config.program is no jq program: {_first_line(error)}", code="JQ_SYNTAX") from error
    try:
        results = list(islice(program.input_text(text), 2))
    except ValueError as error:
        raise TerminalError(f"the program failed on this payload: {error}", code="JQ_FAILED") from error
    if len(results) != 1:
        raise TerminalError(
            f"the program gave {'more than one value' if results else 'no value'}, it must give one:"
            " put [...] around a stream, take first(...) of it, or // null behind it",
            code="JQ_NOT_ONE_RESULT",
        )
    ctx.log.info("transformed", bytesIn=len(text))
    return Transformed(results[0])


def _payload(payload: Any) -> str:
    if not isinstance(payload, str):
        return msgspec.json.encode(payload).decode()
    try:
        msgspec.json.decode(payload, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        raise TerminalError(
            f"payload is no JSON: {error}; it begins {payload[:_EXCERPT]!r}", code="PAYLOAD_NOT_JSON"
        ) from error
    return payload


def _first_line(error: ValueError) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "unknown")


if __name__ == "__main__":
    json_transform.main()
