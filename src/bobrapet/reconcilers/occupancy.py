"""How full the operator is: counted from indexes of the cache, and only when something limits it (spec runs 14)."""

from __future__ import annotations

from typing import Final

from bobrapet.api import StepRun, Story, StoryRun, labels
from bobrapet.api.names import label
from bobrapet.config.operator import OperatorConfig
from bobrapet.engine.scheduling import place_of
from bobrapet.engine.snapshot import Occupancy, Rival
from bobrapet.engine.states import from_api
from bobrapet.reconcilers import indexes
from bobrapet.reconcilers.glance import ANY
from bobrapet.runtime.client.interfaces import Reader
from bobrapet.runtime.client.object import ObjectKey, PartialObjectMetadata

StepRunMetadata: Final = PartialObjectMetadata.of(StepRun.API_VERSION, StepRun.KIND)


def is_limited(config: OperatorConfig, story: Story | None) -> bool:
    """Whether anything limits how many steps of this Story's runs may be active."""
    runs = config.storyruns
    policy = story.spec.policy if story is not None else None
    return bool(
        runs.global_concurrency
        or any(queue.concurrency for queue in runs.queues.values())
        or (policy is not None and policy.concurrency)
    )


async def occupancy(reader: Reader, config: OperatorConfig, run: StoryRun, story: Story | None) -> Occupancy:
    """The slots that others hold, and who else waits for one."""
    if story is None or not is_limited(config, story):
        return Occupancy()
    place = place_of(run, story, config)
    return Occupancy(
        story=await _held(reader, run, f"story/{run.metadata.namespace}/{label(story.metadata.name or '')}"),
        queue=await _held(reader, run, f"queue/{label(place.queue)}"),
        total=await _held(reader, run, ANY),
        rivals=await _rivals(reader, config, run, label(place.queue)),
    )


async def _held(reader: Reader, run: StoryRun, slot: str) -> int:
    mine = (run.metadata.namespace, label(run.metadata.name or ""))
    held = await reader.list(StepRunMetadata, fields={indexes.STEPRUN_SLOT: slot})
    return sum(
        (step.metadata.namespace, (step.metadata.labels or {}).get(labels.STORYRUN)) != mine for step in held.items
    )


async def _rivals(reader: Reader, config: OperatorConfig, run: StoryRun, queue: str) -> list[Rival]:
    rivals = []
    for other in await reader.list(StoryRun, fields={indexes.STORYRUN_QUEUE: queue}):
        waiting = [state for state in map(from_api, other.status.step_states.values()) if state.is_queued]
        since = [state.started_at for state in waiting if state.started_at is not None]
        if other.metadata.uid == run.metadata.uid or not since:
            continue
        text = other.metadata.labels.get(labels.QUEUE_PRIORITY, "")
        priority = int(text) if text.isdecimal() else config.storyruns.queue(queue).default_priority
        rivals.append(Rival(key=str(ObjectKey.of(other)), priority=priority, queued_since=min(since)))
    return rivals
