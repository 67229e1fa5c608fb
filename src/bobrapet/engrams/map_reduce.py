"""Engram `map-reduce`: does something for each item of an array, then makes one value of all results.

Each item goes through a jq program, or through a Story that runs once for each: at most `concurrency` runs at a time,
which belong to the step and go when it goes. A later attempt of the step takes the results of runs that succeeded,
waits for those that still run, and starts only the others anew.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from bobrapet.engrams.programs import JqProgram, json_list, json_text
from bobrapet.sdk import Context, RetryError, TerminalError, engram
from bobrapet.sdk.stories import StoryResult


class Items(msgspec.Struct, kw_only=True):
    items: Any
    """An array, or a text that holds one as JSON."""


class Config(msgspec.Struct, kw_only=True, rename="camel"):
    story: str = ""
    """A Story of the step's namespace, run for each item with the inputs `item` and `index`. Its output is the item's
    result. Empty: only `map` is applied."""

    inputs: dict[str, Any] = {}
    """Further inputs of each of these runs."""

    concurrency: Annotated[int, msgspec.Meta(ge=1, le=100)] = 4
    """Runs of the Story at a time."""

    on_failure: Literal["fail", "skip"] = "fail"
    """When a run does not succeed. fail: the others are cancelled and the step fails, to be retried. skip: the item is
    left out of the results and listed in `failed`."""

    map: str = "."
    """A jq program for each item (with a Story: for each output), which gives one value. `$index` is its place."""

    reduce: str = "."
    """A jq program over the array of results, which gives one value."""

    vars: dict[str, Any] = {}
    """Values that both programs see as `$name`."""


class Failure(msgspec.Struct, rename="camel"):
    index: int
    story_run: str
    phase: str
    message: str = ""


class Reduced(msgspec.Struct, rename="camel", omit_defaults=True):
    result: Any
    """What `reduce` gave."""

    count: int
    """Results that it was given."""

    failed: list[Failure] = []
    """Runs that did not succeed, with onFailure skip."""


@engram(
    version="1.0.0",
    image="ghcr.io/bubustack/engram-map-reduce:1.0.0",
    rights=[
        {"apiGroups": ["runs.bubustack.io"], "resources": ["storyruns"], "verbs": ["create", "get", "list", "patch"]}
    ],
)
def map_reduce(input: Items, ctx: Context[Config]) -> Reduced:
    """Maps each item of an array through a jq program or a Story, and reduces the results to one value."""
    config = ctx.config
    items = json_list(input.items, "items")
    # All faults of the programs are found before the first run starts.
    JqProgram(config.map, setting="config.map", variables={**config.vars, "index": 0})
    reduce = JqProgram(config.reduce, setting="config.reduce", variables=config.vars)
    places, values, failed = list(range(len(items))), items, list[Failure]()
    if config.story:
        results = _run_stories(items, ctx)
        failed = [Failure(r.index, r.name, r.phase, r.message) for r in results if not r.succeeded]
        places = [result.index for result in results if result.succeeded]
        values = [result.output for result in results if result.succeeded]
    mapped = values if config.map.strip() == "." else _mapped(values, places, ctx)
    result = reduce.one(json_text(mapped))
    ctx.log.info("reduced", items=len(items), results=len(mapped), failed=len(failed))
    return Reduced(result, len(mapped), failed)


def _mapped(values: list[Any], places: list[int], ctx: Context[Config]) -> list[Any]:
    mapping = JqProgram(
        f"[.[] | .[0] as $index | [.[1] | ({ctx.config.map}\n)] | if length == 1 then .[0]"
        ' else error("item \\($index): config.map must give one value, it gave \\(length)") end]',
        setting="config.map",
        variables=ctx.config.vars,
    )
    mapped: list[Any] = mapping.one(json_text(list(zip(places, values, strict=True))))
    return mapped


def _run_stories(items: list[Any], ctx: Context[Config]) -> list[StoryResult]:
    config, over = ctx.config, 0

    def told(result: StoryResult) -> None:
        nonlocal over
        over += 1
        ctx.progress(over, len(items))
        if not result.succeeded:
            ctx.log.warning("run did not succeed", index=result.index, storyrun=result.name, phase=result.phase)

    results = ctx.stories.run_many(
        config.story,
        [{**config.inputs, "item": item, "index": index} for index, item in enumerate(items)],
        concurrency=config.concurrency,
        fail_fast=config.on_failure == "fail",
        done=told,
    )
    broken = next((result for result in results if not result.succeeded and result.name), None)
    if broken is not None and config.on_failure == "fail":
        kind = RetryError if broken.phase in ("Failed", "Timeout", "Compensated") else TerminalError
        raise kind(
            f"item {broken.index}: run {broken.name} of Story {config.story} ended as {broken.phase}: {broken.message}",
            code="MAP_FAILED",
            details={"index": broken.index, "storyRun": broken.name, "phase": broken.phase},
        )
    return results


if __name__ == "__main__":
    map_reduce.main()
