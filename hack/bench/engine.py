"""How long one pass of the engine takes, and how large the status of a run gets, by the number of steps.

    python hack/bench/engine.py [--steps 10,100,1000] [--repeat 5]

Prints a table, in CPU time: the first pass (everything starts), a pass in which nothing changes, the pass that ends
the run, and the size of the run at its end. `per step` is the idle pass divided by steps: it stays the same when the
work of a pass is linear. Pure computation on one core, without API server.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.unit.engine.world import World, step, story

from bobrapet.engine.run import plan


def fan_out(steps: int) -> list[Any]:
    return [step(f"step-{index:04}") for index in range(steps)]


def chain(steps: int) -> list[Any]:
    """Each step reads the one before it."""
    first, *rest = (f"step-{index:04}" for index in range(steps))
    before, made = first, [step(first)]
    for name in rest:
        made.append(step(name, with_={"x": f"{{{{ steps.{before.replace('-', '_')}.output.x }}}}"}))
        before = name
    return made


SHAPES: dict[str, Callable[[int], list[Any]]] = {"fan-out": fan_out, "chain": chain}


def milliseconds(work: Callable[[], object], repeat: int) -> float:
    """The best of several tries: what the machine does besides only adds."""
    best = float("inf")
    for _ in range(repeat):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best * 1000


def measured(shape: str, steps: int, repeat: int) -> tuple[float, float, float, float]:
    world = World(story(*SHAPES[shape](steps)))
    begin = milliseconds(lambda: plan(world.snapshot(), world.now), repeat)
    world.reconcile(at_most=steps + 20)
    while world.run.status.phase == "Running":
        open_ = [
            name.removeprefix("r1-") for name in world.steps if name.removeprefix("r1-") in world.run.status.active
        ]
        if len(open_) == steps or len(world.steps) in (1, steps // 2):
            idle = milliseconds(lambda: plan(world.snapshot(), world.now), repeat)
        for name in open_:
            world.end(name, x=1)
        last = world.snapshot()
        world.reconcile()
    end = milliseconds(lambda: plan(last, world.now), repeat)
    size = len(world.run.model_dump_json(by_alias=True, exclude_unset=True)) / 1024
    return begin, idle, end, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="10,100,1000", help="numbers of steps, with commas between them")
    parser.add_argument("--repeat", type=int, default=5, help="tries of which the best counts")
    given = parser.parse_args()
    print(
        f"{'shape':<8} {'steps':>6} {'first pass':>11} {'idle pass':>10} {'per step':>9} {'last pass':>10} {'run':>9}"
    )
    for shape in SHAPES:
        for steps in map(int, given.steps.split(",")):
            begin, idle, end, size = measured(shape, steps, given.repeat)
            print(
                f"{shape:<8} {steps:>6} {begin:>8.2f} ms {idle:>7.2f} ms {idle / steps * 1000:>6.1f} us {end:>7.2f} ms"
                f" {size:>5.1f} KiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
