"""executeStory and parallel: steps that consist of other runs or steps (spec runs 12.3, 12.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bobrapet.api import StoryReference, StoryRun, labels
from bobrapet.api.names import compose, input_hash, label
from bobrapet.engine.evaluation import Failed, Needs, Templates, Value
from bobrapet.engine.graph import Node, branch_of
from bobrapet.engine.launch import Missing, Refused, is_owned, owner_reference
from bobrapet.engine.merge import deep_merge
from bobrapet.engine.scheduling import place_for
from bobrapet.validation.references import CORE, RUNS, Referrer, Target, refusal

if TYPE_CHECKING:
    from bobrapet.api import Story
    from bobrapet.api.story import Step
    from bobrapet.engine.scheduling import QueuePlace
    from bobrapet.engine.snapshot import RunSnapshot


@dataclass(frozen=True, slots=True)
class Child:
    """The StoryRun to create."""

    run: StoryRun


def child_name(run: StoryRun, step: str) -> str:
    """The name of the StoryRun that an executeStory step starts."""
    return compose(run.metadata.name or "", step)


def waits(step: Step) -> bool:
    """Whether the step lasts as long as its child run; the default (B-25)."""
    return (step.with_ or {}).get("waitForCompletion") is not False


def target(step: Step, story: Story) -> StoryReference | None:
    """The Story that an executeStory step names; None when `with.storyRef` is malformed."""
    found = (step.with_ or {}).get("storyRef")
    if not isinstance(found, dict) or not isinstance(found.get("name"), str) or not found["name"].strip():
        return None
    reference = StoryReference.model_validate(
        {key: found[key] for key in ("name", "namespace", "version") if isinstance(found.get(key), str)}
    )
    reference.namespace = (reference.namespace or "").strip() or story.metadata.namespace
    return reference


def child(
    snapshot: RunSnapshot, story: Story, step: Step, place: QueuePlace, templates: Templates
) -> Child | Missing | Refused | Needs:
    """Builds the child run of an executeStory step, or says why there is none."""
    run = snapshot.run
    reference = target(step, story)
    if reference is None:
        return Refused("InvalidConfiguration", "with.storyRef.name is required: the Story to run")
    key = reference.key(None)
    policy, grants = snapshot.config.references.cross_namespace_policy, snapshot.grants
    aim = Target(CORE, "Story", reference.namespace or "", reference.name)
    for referrer in (
        Referrer(CORE, "Story", story.metadata.namespace or ""),
        Referrer(RUNS, "StoryRun", run.metadata.namespace or ""),
    ):
        if (refused := refusal(referrer, aim, policy, grants)) is not None:
            return Refused("StoryReferenceInvalid", str(refused))
    wanted = snapshot.stories.get(key)
    if wanted is None:
        return Missing("Story", key)
    version = (reference.version or "").strip()
    if version and version != (wanted.spec.version or "").strip():
        return Refused(
            "StoryReferenceInvalid",
            f'step wants version "{version}" of Story "{key}", which has "{wanted.spec.version or ""}"',
        )
    if fault := _recursion(snapshot, story, wanted, key):
        return Refused("StoryReferenceInvalid", fault)
    with_ = (step.with_ or {}).get("with")
    if with_ is not None and not isinstance(with_, dict):
        return Refused("InvalidConfiguration", "with.with must be an object: the inputs of the Story")
    defaults = wanted.spec.policy.with_ if wanted.spec.policy is not None else None
    resolved = templates.value(deep_merge(defaults or {}, with_ or {}))
    match resolved:
        case Value(value=inputs):
            own_place = place_for(wanted, snapshot.config, place)
            return Child(_build(run, step, wanted, reference, inputs, own_place))
        case Needs():
            return resolved
        case Failed(message=message):
            return Refused("ExpressionFailed", f"with.with: {message}")


def spoofed(existing: StoryRun, run: StoryRun, step: Step, story: Story) -> str:
    """What makes an existing StoryRun another one than this step's child; empty when it is the right one.

    Inputs are not compared: what they were rendered from may have moved on since (B-42); the owner's uid tells enough.
    """
    if not is_owned(existing, run):
        return "it does not belong to this StoryRun"
    reference = target(step, story)
    found = existing.spec.story_ref
    if reference is None or found.key(existing.metadata.namespace) != reference.key(None):
        return f'it runs Story "{found.key(existing.metadata.namespace)}"'
    return ""


def parallel_fault(node: Node) -> str:
    """What is wrong with a parallel step; empty when nothing is."""
    given = (node.step.with_ or {}).get("steps")
    if not isinstance(given, list) or not given:
        return "with.steps must list one branch or more"
    for index, entry in enumerate(given):
        if isinstance(fault := branch_of(entry), str):
            return f"with.steps[{index}]: {fault}"
    names = [branch.name for branch in node.branches]
    if len(set(names)) != len(names):
        return "two branches have the same name"
    for branch in node.branches:
        if branch.ref is None or branch.type is not None:
            return f'branch "{branch.name}" must name an Engram (ref); other step types cannot be branches'
        if branch.needs:
            return f'branch "{branch.name}" has needs; branches run side by side, put needs on the parallel step'
    return ""


def _recursion(snapshot: RunSnapshot, story: Story, wanted: Story, key: str) -> str:
    """Why the child would nest too deep or run a Story inside itself; empty when it does not (B-26)."""
    chain = [f"{story.metadata.namespace}/{story.metadata.name}"]
    chain += [run.spec.story_ref.key(run.metadata.namespace) for run in snapshot.ancestors]
    if key in chain:
        path = " -> ".join([*reversed(chain), key])
        return f"Story {key} would run inside itself: {path}"
    limit = snapshot.config.storyruns.max_story_depth
    if len(chain) > limit:
        return f"Stories nest {len(chain)} deep; at most {limit} are allowed (storyrun.max-story-depth)"
    return ""


def _build(
    run: StoryRun,
    step: Step,
    wanted: Story,
    reference: StoryReference,
    inputs: Any,
    place: QueuePlace,
) -> StoryRun:
    metadata: dict[str, Any] = {
        "name": child_name(run, step.name),
        "namespace": run.metadata.namespace or "",
        "labels": {
            labels.PARENT_STORYRUN: label(run.metadata.name or ""),
            labels.PARENT_STEP: label(step.name),
            labels.QUEUE: label(place.queue),
            labels.QUEUE_PRIORITY: str(place.priority),
        },
        "annotations": {labels.ANNOTATION_TRIGGER_INPUT_HASH: input_hash(inputs)},
        "ownerReferences": [owner_reference(run)],
    }
    if correlation := run.metadata.annotations.get(labels.ANNOTATION_CORRELATION_ID, "").strip():
        metadata["labels"][labels.CORRELATION_ID] = label(correlation)
        metadata["annotations"][labels.ANNOTATION_CORRELATION_ID] = correlation
    story_reference = {"name": reference.name, "namespace": reference.namespace}
    if wanted.metadata.uid:
        story_reference["uid"] = wanted.metadata.uid
    if reference.version:
        story_reference["version"] = reference.version
    spec: dict[str, Any] = {"storyRef": story_reference}
    if inputs:
        spec["inputs"] = inputs
    return StoryRun.model_validate(
        {"apiVersion": StoryRun.API_VERSION, "kind": StoryRun.KIND, "metadata": metadata, "spec": spec}
    )
