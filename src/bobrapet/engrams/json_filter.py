"""Engram `json-filter`: the items of an array for which a jq condition holds."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from bobrapet.engrams.programs import JqProgram, json_list, json_text
from bobrapet.sdk import Context, engram


class Items(msgspec.Struct, kw_only=True):
    items: Any
    """An array, or a text that holds one as JSON."""


class Config(msgspec.Struct, kw_only=True, rename="camel"):
    where: str = "."
    """A jq expression, asked with each item as `.` and its place as `$index`. An item is kept when the first value that
    it gives is neither false nor null."""

    vars: dict[str, Any] = {}
    """Values that the expression sees as `$name`."""

    limit: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Keep at most so many, the first ones. 0: all."""

    include_rejected: bool = False
    """Whether the other items are in the output too, as `rejected`."""


class Filtered(msgspec.Struct, omit_defaults=True):
    items: list[Any]
    """What was kept, in the order of the input."""

    kept: int
    dropped: int
    rejected: list[Any] | msgspec.UnsetType = msgspec.UNSET
    """The others, when they were asked for."""


@engram(version="1.0.0", image="ghcr.io/bubustack/engram-json-filter:1.0.0")
def json_filter(input: Items, ctx: Context[Config]) -> Filtered:
    """Keeps the items of an array for which a jq condition holds."""
    config = ctx.config
    items = json_list(input.items, "items")
    # Once on its own, so that a fault is shown in the author's text and not in ours around it.
    JqProgram(config.where, setting="config.where", variables={**config.vars, "index": 0})
    verdicts = JqProgram(
        f"[to_entries[] | .key as $index | .value | first(({config.where}\n)) // false | . != false]",
        setting="config.where",
        variables=config.vars,
    ).one(json_text(items))
    kept: list[Any] = []
    rejected: list[Any] = []
    for item, holds in zip(items, verdicts, strict=True):
        (kept if holds and (not config.limit or len(kept) < config.limit) else rejected).append(item)
    ctx.log.info("filtered", kept=len(kept), dropped=len(rejected))
    return Filtered(kept, len(kept), len(rejected), rejected if config.include_rejected else msgspec.UNSET)


if __name__ == "__main__":
    json_filter.main()
