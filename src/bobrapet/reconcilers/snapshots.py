"""Gathers what the engine looks at: one object and everything around it, each read by key or by index."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from bobrapet.api import Engram, EngramTemplate, ReferenceGrant, StepRun, Story, StoryRun, labels
from bobrapet.api.enums import CrossNamespacePolicy
from bobrapet.api.names import compose, label
from bobrapet.engine.snapshot import RunSnapshot, StepSnapshot
from bobrapet.reconcilers import indexes
from bobrapet.reconcilers.builtin import Job, Pod
from bobrapet.reconcilers.occupancy import occupancy
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.references import engram_keys, story_keys
from bobrapet.runtime.client.interfaces import Reader, get_or_none
from bobrapet.runtime.client.object import ObjectKey

T = TypeVar("T")


async def run_snapshot(operator: Operator, run: StoryRun, *, live: bool = False) -> RunSnapshot:
    """`live`: the run's children come from the API server, since the plan must not be wrong about what exists; so do
    the Story, the objects that it names and the grants, unless the run has ended and nothing is judged by them."""
    namespace, name = run.metadata.namespace or "", run.metadata.name or ""
    config = operator.config()
    has_ended = run.status.phase is not None and run.status.phase.is_terminal
    definitions = operator.live if live and not has_ended else operator.client
    story = await _referenced(definitions, Story, run.spec.story_ref.key(namespace))
    steps = await operator.client.list(
        StepRun, namespace=namespace, fields={indexes.STEPRUN_RUN: f"{namespace}/{name}"}
    )
    children = await operator.client.list(StoryRun, namespace=namespace, fields={indexes.STORYRUN_PARENT: name})
    lagging: frozenset[str] = frozenset()
    if live:
        mine = label(name)
        cached = {
            item.metadata.uid: item.metadata.name or ""
            for item in (*steps, *children)
            if mine in (item.metadata.labels.get(labels.STORYRUN), item.metadata.labels.get(labels.PARENT_STORYRUN))
        }
        steps = await operator.live.list(StepRun, namespace=namespace, labels={labels.STORYRUN: mine})
        children = await operator.live.list(StoryRun, namespace=namespace, labels={labels.PARENT_STORYRUN: mine})
        there = {item.metadata.uid for item in (*steps, *children)}
        lagging = frozenset(child for uid, child in cached.items() if uid not in there)
    step_runs, child_runs = _by_name(steps.items), _by_name(children.items)
    if live:
        await _add_foreign(operator.live, run, step_runs, child_runs)
    engrams = await _all(definitions, Engram, engram_keys(story) if story else ())
    templates = await _all(definitions, EngramTemplate, {engram.spec.template_ref.name for engram in engrams.values()})
    stories = await _all(definitions, Story, story_keys(story) if story else ())
    return RunSnapshot(
        run=run,
        story=story,
        steps=step_runs,
        children=child_runs,
        engrams=engrams,
        templates=templates,
        stories=stories,
        ancestors=await _ancestors(operator.client, run),
        grants=await reference_grants(operator, definitions),
        config=config,
        occupancy=await occupancy(operator.client, config, run, story),
        authoritative=live,
        lagging=lagging,
    )


async def step_snapshot(operator: Operator, step: StepRun) -> StepSnapshot:
    client = operator.client
    namespace, name = step.metadata.namespace or "", step.metadata.name or ""
    run_key = step.spec.story_run_ref.key(namespace)
    run = await _referenced(client, StoryRun, run_key)
    story, engram, template = await _definitions(client, step, run)
    siblings = await client.list(StepRun, namespace=namespace, fields={indexes.STEPRUN_RUN: run_key})
    run_name = step.spec.story_run_ref.name
    children = await client.list(StoryRun, namespace=namespace, fields={indexes.STORYRUN_PARENT: run_name})
    job = await get_or_none(client, Job, ObjectKey(namespace, name))
    pods = await client.list(Pod, namespace=namespace, fields={indexes.POD_STEPRUN: label(name)})
    return StepSnapshot(
        step=step,
        run=run,
        story=story,
        engram=engram,
        template=template,
        siblings=_by_name(siblings.items),
        children=_by_name(children.items),
        job=job.object if job is not None else None,
        pods=[pod.object for pod in pods.items],
        grants=await reference_grants(operator, client),
        config=operator.config(),
        has_cache=operator.outputs is not None,
    )


async def with_confirmed_references(operator: Operator, snapshot: StepSnapshot) -> StepSnapshot:
    """The snapshot with Story, Engram, EngramTemplate and grants as the API server has them."""
    story, engram, template = await _definitions(operator.live, snapshot.step, snapshot.run)
    grants = await reference_grants(operator, operator.live)
    return dataclasses.replace(
        snapshot, story=story, engram=engram, template=template, grants=grants, references_confirmed=True
    )


async def _definitions(
    reader: Reader, step: StepRun, run: StoryRun | None
) -> tuple[Story | None, Engram | None, EngramTemplate | None]:
    """What says how a step is executed; None for what is not there."""
    story = await _referenced(reader, Story, run.spec.story_ref.key(run.metadata.namespace)) if run else None
    reference = step.spec.engram_ref
    engram = await _referenced(reader, Engram, reference.key(step.metadata.namespace)) if reference else None
    template = await _referenced(reader, EngramTemplate, engram.spec.template_ref.name) if engram else None
    return story, engram, template


async def _add_foreign(reader: Reader, run: StoryRun, steps: dict[str, StepRun], children: dict[str, StoryRun]) -> None:
    """Objects that bear the name of a child of the run but are somebody else's: no list of the run's children has
    them, yet they keep the child from being created."""
    for step, state in run.status.step_states.items():
        name = compose(run.metadata.name or "", step)
        if state.phase.is_terminal or name in steps or name in children:
            continue
        key = ObjectKey(run.metadata.namespace or "", name)
        if (foreign_step := await get_or_none(reader, StepRun, key)) is not None:
            steps[name] = foreign_step
        if (foreign_run := await get_or_none(reader, StoryRun, key)) is not None:
            children[name] = foreign_run


async def _ancestors(reader: Reader, run: StoryRun) -> list[StoryRun]:
    """The runs above, nearest first. A circle, which only a hand-made owner could cause, ends the walk."""
    found: list[StoryRun] = []
    seen = {run.metadata.uid}
    current: StoryRun | None = run
    while current is not None:
        owner = next((o for o in current.metadata.owner_references if o.kind == StoryRun.KIND), None)
        if owner is None or owner.uid in seen:
            break
        seen.add(owner.uid)
        current = await get_or_none(reader, StoryRun, ObjectKey(run.metadata.namespace or "", owner.name))
        if current is not None:
            found.append(current)
    return found


async def reference_grants(operator: Operator, reader: Reader) -> list[ReferenceGrant]:
    """All grants; none where the policy does not ask for them."""
    if operator.config().references.cross_namespace_policy != CrossNamespacePolicy.GRANT:
        return []
    return (await reader.list(ReferenceGrant)).items


async def _referenced(reader: Reader, kind: type[T], key: str) -> T | None:
    return await get_or_none(reader, kind, ObjectKey.parse(key))


async def _all(reader: Reader, kind: type[T], keys: Iterable[str]) -> Mapping[str, T]:
    """The objects by key; a missing key is not there."""
    wanted = sorted(set(keys))
    objects = await asyncio.gather(*(_referenced(reader, kind, key) for key in wanted))
    return {key: obj for key, obj in zip(wanted, objects, strict=True) if obj is not None}


def _by_name(items: Iterable[Any]) -> dict[str, Any]:
    return {item.metadata.name or "": item for item in items}
