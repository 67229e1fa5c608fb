"""How many watch events of 3 KB an informer takes in a second on one core, from socket to handler.

    python hack/bench/runtime/informer.py [--events 50000] [--loop uvloop]

The goal is at least 30,000 a second. The figure is that of the whole way: read, split, decode metadata, cut
managedFields, store, index, queue, call one handler.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time

import uvloop
from collection import GVK, PATH, pin, serving

from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.toolscache.deltas import DeletedFinalStateUnknown
from bobrapet.runtime.toolscache.listwatch import ListWatch
from bobrapet.runtime.toolscache.record import Record, transform_strip_managed_fields
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer

GOAL = 30_000
ROUNDS = 3


class Counter:
    """Is done after a number of updates."""

    def __init__(self, expected: int) -> None:
        self.left = expected
        self.done = asyncio.Event()

    async def on_add(self, obj: Record, is_in_initial_list: bool) -> None: ...

    async def on_delete(self, obj: Record | DeletedFinalStateUnknown) -> None: ...

    async def on_update(self, old: Record, new: Record) -> None:
        self.left -= 1
        if self.left == 0:
            self.done.set()


async def measure(host: str, events: int) -> tuple[float, float]:
    """Wall and CPU seconds from the first event to the last."""
    async with RestClient(RestConfig(host=host)) as rest:
        informer = SharedIndexInformer(
            ListWatch(rest, PATH),
            GVK,
            transform=transform_strip_managed_fields,
            indexers={"shard": lambda record: [(record.metadata.labels or {}).get("shard", "")]},
            streaming_lists=False,
        )
        counter = Counter(events)
        informer.add_event_handler(counter)
        task = asyncio.create_task(informer.run())
        await informer.synced.wait()
        started, cpu = time.perf_counter(), time.process_time()
        await counter.done.wait()
        taken = time.perf_counter() - started, time.process_time() - cpu
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    arguments = parser.parse_args()
    gc.freeze()
    print(f"{'round':>6} {'events/s':>10} {'CPU us/event':>14} {'events/s of CPU':>16}")
    with serving(1000, arguments.events) as host:
        pin(1)
        factory = uvloop.new_event_loop if arguments.loop == "uvloop" else None
        for number in range(1, ROUNDS + 1):
            with asyncio.Runner(loop_factory=factory) as runner:
                wall, cpu = runner.run(measure(host, arguments.events))
            count = arguments.events
            print(f"{number:>6} {count / wall:>10,.0f} {cpu / count * 1e6:>14.1f} {count / cpu:>16,.0f}")
    print(f"goal: {GOAL:,} events/s on one core")


if __name__ == "__main__":
    main()
