"""Background tasks that somebody owns: none is lost, none fails unseen (spec runtime G-3)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn


class TaskSet:
    """The tasks of one object. The object waits for `failure()`, and ends with `stop()`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failed: asyncio.Future[BaseException] | None = None
        self._first_failure: BaseException | None = None

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Starts a task. It may end before the others; if it fails, `failure()` raises its exception."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def failure(self) -> NoReturn:
        """Waits for ever, or until a task fails; raises what the first one raised."""
        if self._first_failure is None:
            self._failed = asyncio.get_running_loop().create_future()
            self._first_failure = await self._failed
        raise self._first_failure

    async def cancel(self, *tasks: asyncio.Task[Any]) -> None:
        """Cancels some of the tasks and waits until they have ended."""
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def stop(self) -> None:
        """Cancels all tasks and waits until they have ended."""
        while self._tasks:
            await self.cancel(*self._tasks)

    async def ended(self) -> None:
        """Waits until all tasks have ended by themselves."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and self._first_failure is None:
            self._first_failure = error
            if self._failed is not None and not self._failed.done():
                self._failed.set_result(error)
