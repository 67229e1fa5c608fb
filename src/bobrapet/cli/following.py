"""Following a run to its end: from the operator's own cache, woken by its events, never by polling."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bobrapet import engine
from bobrapet.api import StepRun, Story, StoryRun
from bobrapet.cli.progress import Display
from bobrapet.cli.stack import Stack
from bobrapet.cli.view import run_view
from bobrapet.engine.snapshot import RunSnapshot
from bobrapet.reconcilers.snapshots import run_snapshot
from bobrapet.runtime.client.interfaces import Reader, get_or_none
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.client.patch import raw_patch
from bobrapet.runtime.rest.interface import MERGE_PATCH


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended, with everything that is told about it."""

    run: StoryRun
    story: Story | None
    steps: Mapping[str, StepRun] = field(default_factory=dict)
    timed_out: bool = False
    interrupted: bool = False
    logs: Mapping[str, str] = field(default_factory=dict)
    """Last log lines of the steps that failed, by step name."""
    output: Any = None
    """The output with its offloaded data; None: there is none in it."""

    @property
    def succeeded(self) -> bool:
        return bool(self.run.status and self.run.status.phase and self.run.status.phase.value == "Succeeded")


async def follow(
    stack: Stack, key: ObjectKey, display: Display, *, interrupted: asyncio.Event, timeout: float | None
) -> Outcome:
    """Shows the run until it and the runs that it started have ended.

    It is cancelled when `interrupted` is set or after `timeout` seconds, and then followed to its end.
    """
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    changed = asyncio.Event()
    for kind in (StoryRun, StepRun):
        (await stack.cache.get_informer(kind)).add_event_handler(_Bell(changed))
    watcher = asyncio.create_task(_forward(interrupted, changed))
    cancelled = timed_out = False
    try:
        while True:
            changed.clear()
            snapshot = await _snapshot(stack, key)
            if snapshot is not None:
                plan = engine.plan(snapshot, datetime.now(UTC))
                display.update(run_view(snapshot.run, snapshot.story, snapshot.steps, plan.reasons))
                if _ended(snapshot.run) and await _children_ended(stack.operator.client, key):
                    return Outcome(
                        run=snapshot.run,
                        story=snapshot.story,
                        steps=snapshot.steps,
                        timed_out=timed_out,
                        interrupted=interrupted.is_set(),
                    )
            left = None if deadline is None or timed_out else deadline - loop.time()
            if left is not None and left <= 0:
                timed_out = True
                left = None
            if (timed_out or interrupted.is_set()) and not cancelled:
                await cancel(stack, key)
                cancelled = True
            await stack.until(changed, left, with_disk=True)
    finally:
        watcher.cancel()


async def cancel(stack: Stack, key: ObjectKey) -> None:
    """Asks a run to end gracefully."""
    metadata = {"name": key.name, "namespace": key.namespace}
    run = Unstructured({"apiVersion": StoryRun.API_VERSION, "kind": StoryRun.KIND, "metadata": metadata})
    await stack.client.patch(run, raw_patch(MERGE_PATCH, b'{"spec":{"cancelRequested":true}}'))


async def _snapshot(stack: Stack, key: ObjectKey) -> RunSnapshot | None:
    operator = stack.operator
    run = await get_or_none(operator.client, StoryRun, key)
    return await run_snapshot(operator, run) if run is not None else None


def _ended(run: StoryRun) -> bool:
    return bool(run.status and run.status.phase and run.status.phase.is_terminal)


async def _children_ended(cache: Reader, key: ObjectKey) -> bool:
    """Whether every run below this one has ended, also those that nobody waits for."""
    runs = list(await cache.list(StoryRun, namespace=key.namespace))
    below = {key.name}
    while True:
        owned = {
            run.metadata.name or ""
            for run in runs
            if any(owner.kind == "StoryRun" and owner.name in below for owner in run.metadata.owner_references or ())
        }
        if owned <= below:
            return all(_ended(run) for run in runs if run.metadata.name in below)
        below |= owned


async def _forward(source: asyncio.Event, target: asyncio.Event) -> None:
    await source.wait()
    target.set()


class _Bell:
    """An event handler that only says that something changed."""

    def __init__(self, changed: asyncio.Event) -> None:
        self._changed = changed

    async def on_add(self, obj: Any, is_in_initial_list: bool) -> None:
        self._changed.set()

    async def on_update(self, old: Any, new: Any) -> None:
        self._changed.set()

    async def on_delete(self, obj: Any) -> None:
        self._changed.set()
