"""Controllers without a manager, in virtual time."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

from bobrapet.runtime import config
from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.controller.controller import Options, new_unmanaged
from bobrapet.runtime.internal.controller.controller import Controller
from bobrapet.runtime.reconcile import Request


class Manager:
    """As much of a manager as a controller looks at."""

    def __init__(self, clock: FakeClock, **defaults: Any) -> None:
        self.clock = clock
        self._defaults = config.Controller(**defaults)

    def get_controller_options(self) -> config.Controller:
        return self._defaults


NUMBERS = count(1)  # metrics outlive their controller, so no two tests may share a name


class Bench:
    """Controllers in virtual time; whatever runs is cancelled at the end."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.tasks: list[asyncio.Task[None]] = []

    def controller(self, reconciler: Any, **options: Any) -> Controller[Any]:
        reconciler.clock = self.clock
        options.setdefault("reconciler", reconciler)
        manager: Any = Manager(self.clock)
        return new_unmanaged(f"bench-{next(NUMBERS)}", manager, Options(**options))

    async def start(self, reconciler: Any, *requests: Request, **options: Any) -> Controller[Any]:
        made = self.controller(reconciler, **options)
        self.run(made)
        await settle()
        assert made.queue is not None
        for request in requests:
            made.queue.add(request)
        await settle()
        return made

    def run(self, made: Controller[Any]) -> asyncio.Task[None]:
        task = asyncio.create_task(made.start())
        self.tasks.append(task)
        return task

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
