"""Which objects a Story names, in any of its steps and branches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bobrapet.api import Story
from bobrapet.api.enums import StepType
from bobrapet.api.story import Step
from bobrapet.engine.graph import branches_of


def engram_keys(story: Story) -> set[str]:
    """`<namespace>/<name>` of every Engram that a step names."""
    namespace = story.metadata.namespace
    return {step.ref.key(namespace) for step in all_steps(story) if step.ref is not None}


def story_keys(story: Story) -> set[str]:
    """`<namespace>/<name>` of every Story that an executeStory step names."""
    keys = set()
    for step in all_steps(story):
        reference = (step.with_ or {}).get("storyRef") if step.type is StepType.EXECUTE_STORY else None
        if isinstance(reference, Mapping) and isinstance(reference.get("name"), str):
            namespace = reference.get("namespace") or story.metadata.namespace or ""
            keys.add(f"{namespace}/{reference['name']}")
    return keys


def transport_names(story: Story) -> set[str]:
    """Names of the Transports that a Story declares."""
    return {name for transport in story.spec.transports if (name := transport.transport_ref.strip())}


def all_steps(story: Story) -> Iterator[Step]:
    for step in (*story.spec.steps, *story.spec.compensations, *story.spec.finally_):
        yield step
        if step.type is StepType.PARALLEL:
            yield from branches_of(step)
