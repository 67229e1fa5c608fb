"""Components of the behaviour tests that are written with our SDK. Run as `python sdk_components.py MODE`."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bobrapet.sdk import Context, RetryError, engram

IS_FIRST = os.environ.get("BUBU_STEP_ATTEMPT") == "0"


@engram
def charges(input: dict[str, Any], ctx: Context[dict[str, Any]]) -> dict[str, Any]:
    """Has a side effect that must happen once, and fails afterwards the first time."""
    with ctx.effect("charge", "order-7") as effect:
        with open(input["calls"], "a") as file:
            file.write("charged\n")
        effect.record(payment="p1")
    if IS_FIRST:
        raise RetryError("the network is down")
    return {"payment": effect.details["payment"]}


@engram
def signals(input: dict[str, Any], ctx: Context[dict[str, Any]]) -> dict[str, Any]:
    """Signals twice in each of two attempts."""
    for part in (1, 2):
        ctx.signals.emit("part", part, visible=True)
    if IS_FIRST:
        raise RetryError("again, please")
    return {"done": True}


@engram
def signals_at_once(ctx: Context[dict[str, Any]]) -> dict[str, Any]:
    """Signals from four threads, each of which reads and writes the same StepRun."""
    start = threading.Barrier(4)

    def emit(name: str) -> None:
        start.wait()
        for number in range(3):
            ctx.signals.emit(name, number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(emit, "abcd"))
    return {"done": True}


@engram
def shows(input: dict[str, Any], ctx: Context[dict[str, Any]]) -> dict[str, Any]:
    """What reached it."""
    ctx.log.info("shown", input=input)
    return {"input": input}


if __name__ == "__main__":
    globals()[sys.argv[1]].main()
