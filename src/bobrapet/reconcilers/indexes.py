"""Field indexes of the cache (spec workloads 23.4): how reconcilers find objects without walking through all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bobrapet.api import Engram, Impulse, Story, labels
from bobrapet.reconcilers import glance
from bobrapet.reconcilers.builtin import Pod
from bobrapet.reconcilers.glance import RawStepRun, RawStoryRun, RawStoryTrigger
from bobrapet.reconcilers.references import engram_keys, story_keys, transport_names
from bobrapet.runtime.client.interfaces import FieldIndexer
from bobrapet.runtime.client.object import Unstructured

ENGRAM_TEMPLATE: Final = "spec.templateRef.name"
STEPRUN_ENGRAM: Final = "spec.engramRef.key"
STEPRUN_RUN: Final = "spec.storyRunRef.key"
IMPULSE_TEMPLATE: Final = "spec.templateRef.name"
IMPULSE_STORY: Final = "spec.storyRef.key"
STORYRUN_STORY: Final = "spec.storyRef.key"
STORYRUN_IMPULSE: Final = "spec.impulseRef.key"
STORYRUN_PARENT: Final = "metadata.ownerReferences.storyrun"
STORYTRIGGER_RUN: Final = "status.storyRunRef.key"
STORY_ENGRAMS: Final = "spec.steps.ref.key"
STORY_STORIES: Final = "spec.steps.storyRef.key"
STORY_TRANSPORTS: Final = "spec.transports.transportRef"
STEPRUN_SLOT: Final = "slot"
STORYRUN_LINE: Final = "line"
POD_STEPRUN: Final = "metadata.labels.steprun"


def _engram_template(engram: Engram) -> list[str]:
    return [engram.spec.template_ref.name]


def _named(member: str) -> Callable[[Unstructured], list[str]]:
    def key(obj: Unstructured) -> list[str]:
        found = glance.reference(obj, member)
        return [found] if found else []

    return key


def _pod_steprun(pod: Unstructured) -> list[str]:
    name = (pod.metadata.labels or {}).get(labels.STEPRUN)
    return [name] if name else []


INDEXES: Final[tuple[tuple[type[Any], str, Callable[[Any], list[str]]], ...]] = (
    (Engram, ENGRAM_TEMPLATE, _engram_template),
    (Impulse, IMPULSE_TEMPLATE, lambda impulse: [impulse.spec.template_ref.name]),
    (Impulse, IMPULSE_STORY, lambda impulse: [impulse.spec.story_ref.key(impulse.metadata.namespace)]),
    (RawStepRun, STEPRUN_ENGRAM, _named("engramRef")),
    (RawStepRun, STEPRUN_RUN, _named("storyRunRef")),
    (RawStoryRun, STORYRUN_STORY, _named("storyRef")),
    (RawStoryRun, STORYRUN_IMPULSE, _named("impulseRef")),
    (RawStoryRun, STORYRUN_PARENT, glance.parents),
    (RawStoryTrigger, STORYTRIGGER_RUN, glance.trigger_runs),
    (Story, STORY_ENGRAMS, lambda story: sorted(engram_keys(story))),
    (Story, STORY_STORIES, lambda story: sorted(story_keys(story))),
    (Story, STORY_TRANSPORTS, lambda story: sorted(transport_names(story))),
    (RawStepRun, STEPRUN_SLOT, glance.slots),
    (RawStoryRun, STORYRUN_LINE, glance.lines),
    (Pod, POD_STEPRUN, _pod_steprun),
)


async def register(indexer: FieldIndexer) -> None:
    """Adds all indexes. Before the cache starts."""
    for kind, field, extract in INDEXES:
        await indexer.index_field(kind, field, extract)
