"""Which ready steps may start now, and which wait for a slot (spec runs 14; B-28, B-29).

A run gives way to runs of its queue that are more urgent only while a limit is reached; equal urgency goes by the time
of queueing; an ancestor, which waits for this run, never stands in its way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bobrapet.api import labels
from bobrapet.config.operator import DEFAULT_QUEUE, OperatorConfig
from bobrapet.engine.reasons import Queued

if TYPE_CHECKING:
    from bobrapet.api import Story, StoryRun
    from bobrapet.engine.snapshot import Occupancy, Rival


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """Where a run stands: higher priority is more urgent."""

    queue: str = DEFAULT_QUEUE
    priority: int = 0

    @property
    def is_default(self) -> bool:
        return self.queue == DEFAULT_QUEUE and self.priority == 0


def place_of(run: StoryRun, story: Story, config: OperatorConfig) -> QueuePlace:
    """Queue and priority of a run: its Story's, else those that its parent gave it, else the defaults (14.1)."""
    inherited = None
    if labels.PARENT_STORYRUN in run.metadata.labels:
        queue = run.metadata.labels.get(labels.QUEUE, "") or DEFAULT_QUEUE
        text = run.metadata.labels.get(labels.QUEUE_PRIORITY, "")
        default = config.storyruns.queue(queue).default_priority
        inherited = QueuePlace(queue, int(text) if text.isdecimal() else default)
    return place_for(story, config, inherited)


def place_for(story: Story, config: OperatorConfig, inherited: QueuePlace | None) -> QueuePlace:
    """The place of a run of `story`; `inherited` is its parent's, when it is a child."""
    policy = story.spec.policy
    named = (policy.queue or "").strip().lower() if policy is not None else ""
    queue = named or (inherited.queue if inherited is not None else DEFAULT_QUEUE)
    if policy is not None and policy.priority is not None:
        return QueuePlace(queue, policy.priority)
    if not named and inherited is not None:
        return inherited
    return QueuePlace(queue, config.storyruns.queue(queue).default_priority)


def effective_priority(priority: int, queued_since: datetime | None, ageing_seconds: int, now: datetime) -> int:
    """The priority after ageing: one more for every `ageing_seconds` of waiting."""
    if queued_since is None or ageing_seconds <= 0 or now <= queued_since:
        return priority
    return priority + int((now - queued_since).total_seconds() // ageing_seconds)


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer: names that may start, the others with what holds them."""

    admitted: tuple[str, ...]
    queued: Mapping[str, Queued]
    wake_at: datetime | None = None
    """When ageing changes the order; None: only events do."""


def admit(
    ready: Sequence[str],
    *,
    story_limit: int,
    place: QueuePlace,
    config: OperatorConfig,
    occupancy: Occupancy,
    own_active: int,
    queued_since: datetime | None,
    now: datetime,
) -> Admission:
    """Admits ready steps, in the order given, as far as the limits of Story, queue and operator leave room.

    Args:
        own_active: steps of this run that hold a slot.
        queued_since: since when this run has waited for a slot; None: it has not yet.
    """
    queue = config.storyruns.queue(place.queue)
    limits = [
        ("StoryConcurrency", occupancy.story + own_active, max(story_limit, 0)),
        ("GlobalConcurrency", occupancy.total + own_active, config.storyruns.global_concurrency),
        ("QueueConcurrency", occupancy.queue + own_active, queue.concurrency),
    ]
    rooms = {cause: max(limit - running, 0) for cause, running, limit in limits if limit > 0}
    room = min(rooms.values(), default=len(ready))
    shared = min((left for cause, left in rooms.items() if cause != "StoryConcurrency"), default=None)
    ahead = _ahead(occupancy.rivals, place, queue.priority_aging_seconds, queued_since or now, now)
    # More urgent runs take the free slots first; where there is room for everybody, nobody gives way.
    yielded = room if shared is None else min(room, max(shared - len(ahead), 0))
    admitted = tuple(ready[: min(yielded, len(ready))])
    held = ready[len(admitted) :]
    if not held:
        return Admission(admitted, {})
    if yielded < room and ahead:
        reason = Queued("Priority", ahead=ahead[0].key)
        ageing = queue.priority_aging_seconds
        wake = _next_step(queued_since or now, ageing, now) if ageing > 0 else None
        return Admission(admitted, dict.fromkeys(held, reason), wake)
    cause = min(rooms, key=lambda cause: rooms[cause])
    running, limit = next((running, limit) for name, running, limit in limits if name == cause)
    return Admission(admitted, dict.fromkeys(held, Queued(cause, running + len(admitted), limit)))


def _ahead(rivals: Sequence[Rival], place: QueuePlace, ageing: int, since: datetime, now: datetime) -> list[Rival]:
    """Rivals whose turn comes first, the most urgent one first."""
    own = effective_priority(place.priority, since, ageing, now)
    ranked = [(effective_priority(rival.priority, rival.queued_since, ageing, now), rival) for rival in rivals]
    ahead = [
        (priority, rival)
        for priority, rival in ranked
        if priority > own or (priority == own and rival.queued_since < since)
    ]
    ahead.sort(key=lambda entry: (-entry[0], entry[1].queued_since, entry[1].key))
    return [rival for _, rival in ahead]


def _next_step(since: datetime, ageing: int, now: datetime) -> datetime:
    steps = int((now - since).total_seconds() // ageing) + 1
    return since + timedelta(seconds=steps * ageing)
