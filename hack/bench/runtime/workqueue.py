"""How many items go through a work queue in a second of CPU: add, get, done.

    python hack/bench/runtime/workqueue.py [--items 200000] [--loop uvloop]

The goal is at least 150,000 a second, with metrics on.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable

import uvloop

from bobrapet.runtime.controller.priorityqueue import PriorityQueue
from bobrapet.runtime.reconcile import Request
from bobrapet.runtime.workqueue import Queue, QueueMetrics

GOAL = 150_000
WORKERS = 15

AnyQueue = Queue[Request] | PriorityQueue[Request]


async def alone(queue: AnyQueue, items: list[Request]) -> None:
    """Fill, then empty."""
    for item in items:
        queue.add(item)
    for _ in items:
        item_or_none, _ = await queue.get()
        assert item_or_none is not None
        queue.done(item_or_none)


async def together(queue: AnyQueue, items: list[Request]) -> None:
    """Fifteen workers, while items arrive in bursts."""
    left = len(items)
    finished = asyncio.Event()

    async def work() -> None:
        nonlocal left
        while True:
            item, shut_down = await queue.get()
            if shut_down:
                return
            assert item is not None
            queue.done(item)
            left -= 1
            if left == 0:
                finished.set()

    workers = [asyncio.create_task(work()) for _ in range(WORKERS)]
    for start in range(0, len(items), 100):
        for item in items[start : start + 100]:
            queue.add(item)
        await asyncio.sleep(0)
    await finished.wait()
    queue.shut_down()
    await asyncio.gather(*workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    arguments = parser.parse_args()
    items = [Request("namespace", f"name-{number}") for number in range(arguments.items)]
    makers: dict[str, Callable[[], AnyQueue]] = {
        "priority queue": PriorityQueue,
        "priority queue, metrics": lambda: PriorityQueue(metrics=QueueMetrics("q", time.monotonic, by_priority=True)),
        "plain queue": Queue,
        "plain queue, metrics": lambda: Queue(metrics=QueueMetrics("q", time.monotonic)),
    }
    factory = uvloop.new_event_loop if arguments.loop == "uvloop" else None
    print(f"{'queue':<26} {'fill, then empty':>18} {f'{WORKERS} workers':>12}   items/s of CPU")
    with asyncio.Runner(loop_factory=factory) as runner:
        for name, make in makers.items():
            rates = []
            for way in (alone, together):
                started = time.process_time()
                runner.run(way(make(), items))
                rates.append(len(items) / (time.process_time() - started))
            print(f"{name:<26} {rates[0]:>18,.0f} {rates[1]:>12,.0f}")
    print(f"goal: {GOAL:,} items/s")


if __name__ == "__main__":
    main()
