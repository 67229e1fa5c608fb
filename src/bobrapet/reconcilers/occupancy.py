"""How full the operator is: counted from indexes of the cache, and only when something limits it (spec runs 14)."""

from __future__ import annotations

from typing import Final

from bobrapet.api import StepRun, Story, StoryRun, labels
from bobrapet.api.names import label
from bobrapet.config.operator import OperatorConfig
from bobrapet.engine.scheduling import place_of
from bobrapet.engine.snapshot import Occupancy
from bobrapet.reconcilers import indexes
from bobrapet.reconcilers.glance import ANY
from bobrapet.reconcilers.waiting import rivals
from bobrapet.runtime.client.interfaces import Reader
from bobrapet.runtime.client.object import PartialObjectMetadata

StepRunMetadata: Final = PartialObjectMetadata.of(StepRun.API_VERSION, StepRun.KIND)


def is_limited(config: OperatorConfig, run: StoryRun, story: Story | None) -> bool:
    """Whether anything limits how many steps of a run may be active."""
    if story is None:
        return False
    policy = story.spec.policy
    return bool(
        config.storyruns.global_concurrency
        or config.storyruns.queue(place_of(run, story, config).queue).concurrency
        or (policy is not None and policy.concurrency)
    )


async def occupancy(reader: Reader, config: OperatorConfig, run: StoryRun, story: Story | None) -> Occupancy:
    """The slots that others hold, and who else waits for one."""
    if story is None or not is_limited(config, run, story):
        return Occupancy()
    place = place_of(run, story, config)
    return Occupancy(
        story=await _held(reader, run, f"story/{run.metadata.namespace}/{label(story.metadata.name or '')}"),
        queue=await _held(reader, run, f"queue/{label(place.queue)}"),
        total=await _held(reader, run, ANY),
        rivals=await rivals(reader, config, label(place.queue), but=run.metadata.uid),
    )


async def _held(reader: Reader, run: StoryRun, slot: str) -> int:
    mine = (run.metadata.namespace, label(run.metadata.name or ""))
    held = await reader.list(StepRunMetadata, fields={indexes.STEPRUN_SLOT: slot})
    return sum(
        (step.metadata.namespace, (step.metadata.labels or {}).get(labels.STORYRUN)) != mine for step in held.items
    )
