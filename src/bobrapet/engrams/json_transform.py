"""Engram `json-transform`: a jq program over a JSON value."""

from __future__ import annotations

from typing import Any

import msgspec

from bobrapet.engrams.programs import JqProgram, json_text
from bobrapet.sdk import Context, engram


class Document(msgspec.Struct, kw_only=True):
    payload: Any
    """A JSON value, or a text that holds one."""


class Config(msgspec.Struct, kw_only=True):
    program: str = "."
    """A jq program that gives exactly one value: put `[...]` around a stream, `first(...)` before it, or `// null`
    behind."""

    vars: dict[str, Any] = {}
    """Values that the program sees as `$name`."""


class Transformed(msgspec.Struct):
    result: Any
    """What the program gave."""


@engram(version="1.0.0", image="ghcr.io/bubustack/engram-json-transform:1.0.0")
def json_transform(input: Document, ctx: Context[Config]) -> Transformed:
    """A jq program over a JSON value."""
    text = json_text(input.payload)
    program = JqProgram(ctx.config.program, setting="config.program", variables=ctx.config.vars)
    result = program.one(text)
    ctx.log.info("transformed", bytesIn=len(text))
    return Transformed(result)


if __name__ == "__main__":
    json_transform.main()
