"""Requirements on the log of step outputs (spec admission-and-config B2, C3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bobrapet.config.operator import parse
from bobrapet.reconcilers.stepoutputs import MAX_KEYS
from bobrapet.runtime.log import log
from tests.unit.logs import restored
from tests.unit.reconcilers.objects import NAMESPACE, engram, step, story, storyrun, template
from tests.unit.reconcilers.world import World

SECRET = "hunter2"
OUTPUT = {"token": SECRET, "rows": [1, 2, 3]}


@contextmanager
def lines_of(found: list[dict[str, Any]]) -> Iterator[None]:
    with restored() as written:
        log.setup(stream=written)
        yield
    assert SECRET not in written.getvalue()
    found += [line for line in map(json.loads, written.getvalue().splitlines()) if line["msg"] == "step output"]


async def logged(switch: str, output: dict[str, Any], phase: str = "Succeeded") -> list[dict[str, Any]]:
    config = parse({"debug.enable-step-output-logging": switch}).config
    world = World(template(), engram(), story(step("fetch")), storyrun(), config=config)
    found: list[dict[str, Any]] = []
    with lines_of(found):
        await world.settle()
        await world.component_reports("run1-fetch", phase=phase, output=output)
        await world.settle()
    return found


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_a_finished_step_is_logged_once_with_size_and_keys_and_never_a_value(phase: str) -> None:
    (line,) = await logged("true", OUTPUT, phase)
    assert (line["namespace"], line["storyrun"], line["step"]) == (NAMESPACE, "run1", "fetch")
    assert line["phase"] == phase
    assert line["sizeBytes"] == len(json.dumps(OUTPUT, separators=(",", ":")))
    assert line["keys"] == ["rows", "token"]


async def test_the_line_stays_short_however_many_and_long_the_keys_are() -> None:
    (line,) = await logged("true", {f"{number:03}" + "k" * 200: 1 for number in range(100)})
    assert line["keyCount"] == 100
    assert len(line["keys"]) == MAX_KEYS
    assert all(len(key) == 64 for key in line["keys"])


async def test_nothing_is_logged_unless_it_is_switched_on() -> None:
    assert await logged("false", OUTPUT) == []
