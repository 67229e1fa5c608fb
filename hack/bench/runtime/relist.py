"""What it costs to fill an informer with 10,000 objects of 3 KB: time, memory, and how long the loop stands still.

    python hack/bench/runtime/relist.py [--objects 10000] [--loop uvloop]

Goals: ready in under 0.5 s, under 100 MB more resident memory, and no stretch of more than 50 ms in which nothing else
runs. Each way runs in a process of its own, so that one does not inherit the memory of another.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import time
from pathlib import Path

import uvloop
from collection import GVK, PATH, pin, serving

from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig
from bobrapet.runtime.toolscache.listwatch import ListWatch
from bobrapet.runtime.toolscache.record import transform_strip_managed_fields
from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer

TICK = 0.001
"""Seconds between two looks at the clock; they count as standstill."""

Row = tuple[float, float, float, float, float]


def resident_megabytes() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


async def measure(host: str, streaming: bool) -> Row:
    """Seconds and CPU seconds until filled, MB more, longest standstill in ms by the clock and of CPU."""
    async with RestClient(RestConfig(host=host)) as rest:
        informer = SharedIndexInformer(
            ListWatch(rest, PATH), GVK, transform=transform_strip_managed_fields, streaming_lists=streaming
        )
        gc.collect()
        gc.freeze()
        before = resident_megabytes()
        worst_wall = worst_cpu = 0.0
        started = wall = time.perf_counter()
        cpu = begun = time.thread_time()
        task = asyncio.create_task(informer.run())
        while not informer.has_synced():
            await asyncio.sleep(TICK)  # a loop that asks all the time would itself be a third of what is measured
            now_wall, now_cpu = time.perf_counter(), time.thread_time()
            worst_wall, worst_cpu = max(worst_wall, now_wall - wall), max(worst_cpu, now_cpu - cpu)
            wall, cpu = now_wall, now_cpu
        seconds, busy = time.perf_counter() - started, time.thread_time() - begun
        gc.collect()
        grown = resident_megabytes() - before
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return seconds, busy, grown, worst_wall * 1000, worst_cpu * 1000


def run(host: str, streaming: bool, loop: str) -> Row:
    pin(1)
    factory = uvloop.new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(measure(host, streaming))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    arguments = parser.parse_args()
    print(f"{'way':<16} {'seconds':>8} {'of CPU':>7} {'MB more':>8} {'standstill ms':>14} {'of CPU ms':>10}")
    with serving(arguments.objects, 0) as host:
        for name, streaming in (("streaming list", True), ("list", False)):
            for _ in range(2):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    seconds, busy, grown, wall, cpu = pool.apply(run, (host, streaming, arguments.loop))
                print(f"{name:<16} {seconds:>8.3f} {busy:>7.3f} {grown:>8.0f} {wall:>14.1f} {cpu:>10.1f}")
    print("goals: 0.5 s, 100 MB, 50 ms")


if __name__ == "__main__":
    main()
