"""Who goes next when a slot is free: the first in line of each limit that has room again, and nobody else
(spec runs 14.5; B-29).

A run stands in the line of the limit that its queued steps record. Whenever a line may move - a step gave its slot
back, a run joined, left or changed its place - its first is woken. That one takes what is free, which moves the line
again, or it finds no room, and then there is none for those behind it either. So a slot that is given back costs two
passes, however many wait, and no timer looks for free slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bobrapet.api.timestamps import parse_time
from bobrapet.config.operator import OperatorConfig
from bobrapet.engine.scheduling import effective_priority
from bobrapet.engine.snapshot import Rival
from bobrapet.reconcilers import glance, indexes
from bobrapet.reconcilers.glance import EVERYBODY, RawStoryRun, Waiting
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import Clock
from bobrapet.runtime.reconcile import Request

if TYPE_CHECKING:
    from bobrapet.reconcilers.operator import Operator
    from bobrapet.runtime.client.interfaces import Reader
    from bobrapet.runtime.event import CreateEvent, DeleteEvent, GenericEvent, UpdateEvent
    from bobrapet.runtime.handler import RequestQueue


class Lines:
    """The lines of all limits, as the cache shows them."""

    def __init__(self, operator: Operator) -> None:
        self._reader: Reader = operator.client
        self._clock: Clock = operator.clock
        self._config: Callable[[], OperatorConfig] = operator.config

    async def first(self, limit: str) -> Request | None:
        """The run whose turn it is at a limit (`glance.Waiting.limits`); None when nobody waits there.

        Priorities say nothing across queues: of the first of each queue, it is the one that has waited longest.
        """
        now, config = self._clock.now(), self._config()
        heads: dict[str, tuple[tuple[Any, ...], Request]] = {}
        for run in await self._reader.list(RawStoryRun, fields={indexes.STORYRUN_LINE: limit}):
            if (waiting := glance.waiting(run)) is None:
                continue
            place = (_rank(waiting, run, config, now), Request(*ObjectKey.of(run)))
            heads[waiting.queue] = min(place, heads.get(waiting.queue, place))
        return min(heads.values(), key=lambda place: place[0][1:])[1] if heads else None

    async def everybody(self) -> list[Request]:
        """All runs that wait for a slot."""
        return [
            Request(*ObjectKey.of(run))
            for run in await self._reader.list(RawStoryRun, fields={indexes.STORYRUN_LINE: EVERYBODY})
        ]


async def rivals(reader: Reader, config: OperatorConfig, queue: str, *, but: str | None) -> list[Rival]:
    """The runs that wait for a slot of a queue or of the whole operator, apart from the one with the uid `but`.

    Those that their Story's own limit holds are none: no slot of the queue would help them.
    """
    found = []
    for run in await reader.list(RawStoryRun, fields={indexes.STORYRUN_LINE: glance.contenders(queue)}):
        waiting = glance.waiting(run)
        if waiting is None or run.metadata.uid == but:
            continue
        found.append(
            Rival(
                key=str(ObjectKey.of(run)), priority=_priority(waiting, config), queued_since=parse_time(waiting.since)
            )
        )
    return found


def _rank(waiting: Waiting, run: Unstructured, config: OperatorConfig, now: datetime) -> tuple[Any, ...]:
    """Smaller is earlier. The same order as `engine.scheduling` keeps among rivals."""
    since = parse_time(waiting.since)
    ageing = config.storyruns.queue(waiting.queue).priority_aging_seconds
    return -effective_priority(_priority(waiting, config), since, ageing, now), since, str(ObjectKey.of(run))


def _priority(waiting: Waiting, config: OperatorConfig) -> int:
    if waiting.priority is not None:
        return waiting.priority
    return config.storyruns.queue(waiting.queue).default_priority


class WhenSlotsAreFree:
    """Event handler of StepRuns: wakes the first in line of each limit at which a step gave its slot back."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def create(self, event: CreateEvent[Any], queue: RequestQueue) -> None:
        """A new step takes a slot."""

    async def update(self, event: UpdateEvent[Any], queue: RequestQueue) -> None:
        if event.object_old is not None and event.object_new is not None:
            freed = set(glance.slots(event.object_old)) - set(glance.slots(event.object_new))
            await _wake(self._lines, freed, queue)

    async def delete(self, event: DeleteEvent[Any], queue: RequestQueue) -> None:
        await _wake(self._lines, glance.slots(event.object), queue)

    async def generic(self, event: GenericEvent[Any], queue: RequestQueue) -> None:
        """Nothing outside of the API frees a slot."""


class WhenLinesMove:
    """Event handler of StoryRuns: wakes the first of each line that a run joined, left or changed its place in.

    Joining counts: the slot that a run was denied may have been given back before it stood in line.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def create(self, event: CreateEvent[Any], queue: RequestQueue) -> None:
        """A new run waits for nothing; at the start of the manager every run has a pass of its own."""

    async def update(self, event: UpdateEvent[Any], queue: RequestQueue) -> None:
        old, new = (glance.waiting(run) if run is not None else None for run in (event.object_old, event.object_new))
        if old != new:
            await _wake(self._lines, [*(old.limits if old else ()), *(new.limits if new else ())], queue)

    async def delete(self, event: DeleteEvent[Any], queue: RequestQueue) -> None:
        if (left := glance.waiting(event.object)) is not None:
            await _wake(self._lines, left.limits, queue)

    async def generic(self, event: GenericEvent[Any], queue: RequestQueue) -> None:
        """Nothing outside of the API moves a line."""


class WhenLimitsChange:
    """Event handler of configuration changes: wakes everybody who waits."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def create(self, event: CreateEvent[Any], queue: RequestQueue) -> None:
        """The source has only generic events."""

    async def update(self, event: UpdateEvent[Any], queue: RequestQueue) -> None:
        """The source has only generic events."""

    async def delete(self, event: DeleteEvent[Any], queue: RequestQueue) -> None:
        """The source has only generic events."""

    async def generic(self, event: GenericEvent[Any], queue: RequestQueue) -> None:
        for request in await self._lines.everybody():
            queue.add(request)


async def _wake(lines: Lines, limits: Iterable[str], queue: RequestQueue) -> None:
    for limit in dict.fromkeys(limits):
        if (request := await lines.first(limit)) is not None:
            queue.add(request)
