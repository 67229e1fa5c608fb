"""Field indexes of the cache (spec workloads 23.4): how reconcilers find objects without walking through all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bobrapet.api import Engram, StepRun, Story, StoryRun, labels
from bobrapet.reconcilers.builtin import Pod
from bobrapet.reconcilers.occupancy import RUN_QUEUED, STEP_SLOT, queues, slots
from bobrapet.reconcilers.references import engram_keys, story_keys
from bobrapet.runtime.client.interfaces import FieldIndexer
from bobrapet.runtime.client.object import Unstructured

ENGRAM_TEMPLATE: Final = "spec.templateRef.name"
STEPRUN_ENGRAM: Final = "spec.engramRef.key"
STEPRUN_RUN: Final = "spec.storyRunRef.key"
STORYRUN_STORY: Final = "spec.storyRef.key"
STORYRUN_PARENT: Final = "metadata.ownerReferences.storyrun"
STORY_ENGRAMS: Final = "spec.steps.ref.key"
STORY_STORIES: Final = "spec.steps.storyRef.key"
POD_STEPRUN: Final = "metadata.labels.steprun"


def _engram_template(engram: Engram) -> list[str]:
    return [engram.spec.template_ref.name]


def _steprun_engram(step: StepRun) -> list[str]:
    return [step.spec.engram_ref.key(step.metadata.namespace)] if step.spec.engram_ref else []


def _steprun_run(step: StepRun) -> list[str]:
    return [step.spec.story_run_ref.key(step.metadata.namespace)]


def _storyrun_story(run: StoryRun) -> list[str]:
    return [run.spec.story_ref.key(run.metadata.namespace)]


def _storyrun_parent(run: StoryRun) -> list[str]:
    return [owner.name for owner in run.metadata.owner_references if owner.kind == StoryRun.KIND]


def _pod_steprun(pod: Unstructured) -> list[str]:
    name = (pod.metadata.labels or {}).get(labels.STEPRUN)
    return [name] if name else []


INDEXES: Final[tuple[tuple[type[Any], str, Callable[[Any], list[str]]], ...]] = (
    (Engram, ENGRAM_TEMPLATE, _engram_template),
    (StepRun, STEPRUN_ENGRAM, _steprun_engram),
    (StepRun, STEPRUN_RUN, _steprun_run),
    (StoryRun, STORYRUN_STORY, _storyrun_story),
    (StoryRun, STORYRUN_PARENT, _storyrun_parent),
    (Story, STORY_ENGRAMS, lambda story: sorted(engram_keys(story))),
    (Story, STORY_STORIES, lambda story: sorted(story_keys(story))),
    (StepRun, STEP_SLOT, slots),
    (StoryRun, RUN_QUEUED, queues),
    (Pod, POD_STEPRUN, _pod_steprun),
)


async def register(indexer: FieldIndexer) -> None:
    """Adds all indexes. Before the cache starts."""
    for kind, field, extract in INDEXES:
        await indexer.index_field(kind, field, extract)
