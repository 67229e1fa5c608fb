"""Which keys to look at again when something else changed: each function maps an object to requests.

A key too many costs a pass without writes, a key too few a run that hangs; so these err on the generous side.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from bobrapet.api import Engram, EngramTemplate, Impulse, ImpulseTemplate, Story, StoryRun, Transport, labels
from bobrapet.engine.steprun.observed import attempt_of
from bobrapet.reconcilers import glance, indexes
from bobrapet.reconcilers.builtin import JOB_NAME_LABEL
from bobrapet.reconcilers.glance import RawStepRun, RawStoryRun, RawStoryTrigger
from bobrapet.reconcilers.references import engram_keys, story_keys, transport_names
from bobrapet.runtime.client.interfaces import Reader, get_or_none
from bobrapet.runtime.client.object import ObjectKey, PartialObjectMetadata, Unstructured
from bobrapet.runtime.reconcile import Request

Map = Callable[[Any], Awaitable[list[Request]]]
LEGACY_JOB_NAME_LABEL: Final = "job-name"
StoryRunMetadata: Final = PartialObjectMetadata.of(StoryRun.API_VERSION, StoryRun.KIND)


def step_of_pod(pod: Any) -> list[Request]:
    """A pod's Job has the name of its StepRun."""
    found = pod.metadata.labels or {}
    name = found.get(JOB_NAME_LABEL) or found.get(LEGACY_JOB_NAME_LABEL)
    return [Request(pod.metadata.namespace or "", name)] if name and labels.STEPRUN in found else []


def step_of_answer(step: Any) -> list[Request]:
    """The StepRun that waits for one that evaluates its templates."""
    name = (step.metadata.annotations or {}).get(labels.ANNOTATION_MATERIALIZE_FOR)
    return [Request(step.metadata.namespace or "", name)] if name else []


class WakeUps:
    """Mappings that have to look something up in the cache."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def runs_of_story(self, story: Story) -> list[Request]:
        """Runs that go on, or wait for this Story to appear."""
        return await self._open_runs(str(ObjectKey.of(story)))

    async def ended_runs_of_story(self, story: Story) -> list[Request]:
        """Runs whose children the Story says how long to keep."""
        found = await self._reader.list(RawStoryRun, fields={indexes.STORYRUN_STORY: str(ObjectKey.of(story))})
        ended = (run for run in found if not glance.is_open(run))
        return [Request(*ObjectKey.of(run)) for run in ended if not run.get("status", "childrenCleanedAt")]

    async def ended_run_of_child(self, child: Unstructured) -> list[Request]:
        """The run that ended before the cache showed a step or child run of it: it could not ask that one to end, or
        says that its children are deleted."""
        owner = next((found for found in child.metadata.owner_references or [] if found.controller), None)
        if owner is None or owner.kind != StoryRun.KIND:
            return []
        run = await get_or_none(self._reader, RawStoryRun, ObjectKey(child.metadata.namespace or "", owner.name))
        if run is None or run.metadata.uid != owner.uid or glance.is_open(run):
            return []
        is_forgotten = glance.is_open(child) or run.get("status", "childrenCleanedAt")
        return [Request(child.metadata.namespace or "", owner.name)] if is_forgotten else []

    async def runs_of_engram(self, engram: Engram) -> list[Request]:
        """Runs of the Stories with a step that names the Engram: a step may be waiting for it."""
        key = str(ObjectKey.of(engram))
        stories = await self._reader.list(Story, fields={indexes.STORY_ENGRAMS: key})
        found = [request for story in stories for request in await self._open_runs(str(ObjectKey.of(story)))]
        return list(dict.fromkeys(found))

    async def runs_of_template(self, template: EngramTemplate) -> list[Request]:
        engrams = await self._engrams_of(template)
        found = [request for engram in engrams for request in await self.runs_of_engram(engram)]
        return list(dict.fromkeys(found))

    async def step_of_new_job(self, job: Unstructured) -> list[Request]:
        """The StepRun of a Job that shows up after the news that made it superfluous: the step has ended, or is at
        another attempt. Its pass could not delete what the cache did not show; of any other Job it has nothing to
        learn."""
        key = ObjectKey.of(job)
        step = await get_or_none(self._reader, RawStepRun, key)
        if step is None:
            return []
        number = attempt_of(job.object, ()).number
        is_expected = number is None or number == step.get("status", "retries", default=0)
        return [] if is_expected and glance.final_mark(step) is None else [Request(*key)]

    async def steps_of_run(self, run: Unstructured) -> list[Request]:
        """Steps that go on: one may have been looked at before the cache showed the run that it belongs to."""
        key = str(ObjectKey.of(run))
        return _open(await self._reader.list(RawStepRun, fields={indexes.STEPRUN_RUN: key}))

    async def steps_of_story(self, story: Story) -> list[Request]:
        """Steps that go on, of all runs of a Story."""
        runs = await self._reader.list(RawStoryRun, fields={indexes.STORYRUN_STORY: str(ObjectKey.of(story))})
        return [request for run in runs if glance.is_open(run) for request in await self.steps_of_run(run)]

    async def steps_of_engram(self, engram: Engram) -> list[Request]:
        """Steps that go on: they may be Blocked for want of the Engram."""
        key = str(ObjectKey.of(engram))
        return _open(await self._reader.list(RawStepRun, fields={indexes.STEPRUN_ENGRAM: key}))

    async def steps_of_template(self, template: EngramTemplate) -> list[Request]:
        engrams = await self._engrams_of(template)
        return [request for engram in engrams for request in await self.steps_of_engram(engram)]

    async def engrams_of_template(self, template: EngramTemplate) -> list[Request]:
        return [Request(*ObjectKey.of(engram)) for engram in await self._engrams_of(template)]

    async def stories_of_engram(self, engram: Engram) -> list[Request]:
        stories = await self._reader.list(Story, fields={indexes.STORY_ENGRAMS: str(ObjectKey.of(engram))})
        return [Request(*ObjectKey.of(story)) for story in stories]

    async def stories_of_template(self, template: EngramTemplate) -> list[Request]:
        """A Story is checked against the schemas of the templates behind its Engrams."""
        engrams = await self._engrams_of(template)
        found = [request for engram in engrams for request in await self.stories_of_engram(engram)]
        return list(dict.fromkeys(found))

    async def stories_of_story(self, story: Story) -> list[Request]:
        """Stories that start this one."""
        stories = await self._reader.list(Story, fields={indexes.STORY_STORIES: str(ObjectKey.of(story))})
        return [Request(*ObjectKey.of(other)) for other in stories]

    async def stories_of_transport(self, transport: Transport) -> list[Request]:
        stories = await self._reader.list(Story, fields={indexes.STORY_TRANSPORTS: transport.metadata.name or ""})
        return [Request(*ObjectKey.of(story)) for story in stories]

    async def impulses_of_template(self, template: ImpulseTemplate) -> list[Request]:
        impulses = await self._reader.list(Impulse, fields={indexes.IMPULSE_TEMPLATE: template.metadata.name or ""})
        return [Request(*ObjectKey.of(impulse)) for impulse in impulses]

    async def impulses_of_story(self, story: Story) -> list[Request]:
        impulses = await self._reader.list(Impulse, fields={indexes.IMPULSE_STORY: str(ObjectKey.of(story))})
        return [Request(*ObjectKey.of(impulse)) for impulse in impulses]

    async def triggers_of_run(self, run: Unstructured) -> list[Request]:
        """Triggers that were answered with this run: they may go when it is gone."""
        key = str(ObjectKey.of(run))
        answered = await self._reader.list(RawStoryTrigger, fields={indexes.STORYTRIGGER_RUN: key})
        return [Request(*ObjectKey.of(trigger)) for trigger in answered]

    async def _open_runs(self, story: str) -> list[Request]:
        return _open(await self._reader.list(RawStoryRun, fields={indexes.STORYRUN_STORY: story}))

    async def _engrams_of(self, template: EngramTemplate) -> list[Engram]:
        name = template.metadata.name or ""
        return (await self._reader.list(Engram, fields={indexes.ENGRAM_TEMPLATE: name})).items


def engrams_of_story(story: Story) -> list[Request]:
    """The Engrams that a Story uses: their usage counts."""
    return [_request(key) for key in sorted(engram_keys(story))]


def stories_started_by(story: Story) -> list[Request]:
    return [_request(key) for key in sorted(story_keys(story))]


def engram_of_step(step: Unstructured) -> list[Request]:
    key = glance.reference(step, "engramRef")
    return [_request(key)] if key else []


def story_of_run(run: Unstructured) -> list[Request]:
    key = glance.reference(run, "storyRef")
    return [_request(key)] if key else []


def story_of_impulse(impulse: Impulse) -> list[Request]:
    return [_request(impulse.spec.story_ref.key(impulse.metadata.namespace))]


def impulse_of_run(run: Unstructured) -> list[Request]:
    key = glance.reference(run, "impulseRef")
    return [_request(key)] if key else []


def template_of_impulse(impulse: Impulse) -> list[Request]:
    return [Request("", impulse.spec.template_ref.name)]


def transports_of_story(story: Story) -> list[Request]:
    return [Request("", name) for name in sorted(transport_names(story))]


def template_of_engram(engram: Engram) -> list[Request]:
    return [Request("", engram.spec.template_ref.name)]


def _request(key: str) -> Request:
    return Request(*ObjectKey.parse(key))


def _open(objects: Iterable[Unstructured]) -> list[Request]:
    return [Request(*ObjectKey.of(obj)) for obj in objects if glance.is_open(obj)]
