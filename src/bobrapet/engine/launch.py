"""The StepRun of a step: what is created for it, and whether one that exists is the right one (spec runs 12.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bobrapet.api import StepRun, duration, labels
from bobrapet.api.names import MAX_IDEMPOTENCY_KEY, compose, idempotency_key, label
from bobrapet.config import policy as execution_policy
from bobrapet.engine.merge import deep_merge
from bobrapet.validation.references import CORE, Referrer, Target, refusal

if TYPE_CHECKING:
    from bobrapet.api import Engram, EngramTemplate, Story, StoryRun
    from bobrapet.api.story import Step
    from bobrapet.engine.scheduling import QueuePlace
    from bobrapet.engine.snapshot import RunSnapshot

MAX_WRITTEN_RETRIES: Final = 10  # what the StepRun CRD accepts


@dataclass(frozen=True, slots=True)
class Refused:
    """The step can never start; it fails."""

    reason: str
    message: str
    event: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """An object that the step names is not there (yet)."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The StepRun to create."""

    steprun: StepRun
    near_limit: str = ""
    """A warning that the input is close to its limit; empty: it is not."""


def steprun_name(run: StoryRun, step: str, parent: str = "") -> str:
    """The name of the StepRun of a step, or of a branch of the parallel step `parent`."""
    return _name(run.metadata.name or "", parent, step)


@lru_cache(maxsize=32_768)  # asked for every step in every pass
def _name(run: str, parent: str, step: str) -> str:
    return compose(run, parent, step) if parent else compose(run, step)


def engram_key(story: Story, step: Step) -> str:
    """`<namespace>/<name>` of the Engram that a step names, seen from its Story."""
    return step.ref.key(story.metadata.namespace) if step.ref is not None else ""


def prepare(
    snapshot: RunSnapshot, story: Story, step: Step, *, parent: str = "", key: str, place: QueuePlace
) -> Ready | Missing | Refused:
    """Decides whether `step` may be created, and builds its StepRun.

    Args:
        key: result of the step's idempotencyKeyTemplate; empty: the derived key.
        place: queue and priority of the run.
    """
    run = snapshot.run
    engram_name = engram_key(story, step)
    namespace, _, name = engram_name.rpartition("/")
    refused = refusal(
        Referrer(CORE, "Story", story.metadata.namespace or ""),
        Target(CORE, "Engram", namespace, name),
        snapshot.config.references.cross_namespace_policy,
        snapshot.grants,
    )
    if refused is not None:
        return Refused("EngramReferenceInvalid", str(refused))
    engram = snapshot.engrams.get(engram_name)
    if engram is None:
        return Missing("Engram", engram_name)
    template = snapshot.templates.get(engram.spec.template_ref.name)
    if template is None:
        return Missing("EngramTemplate", engram.spec.template_ref.name)
    pinned = (step.ref.version or "").strip() if step.ref is not None else ""
    if pinned and pinned != (engram.spec.version or "").strip():
        return Refused(
            "EngramReferenceInvalid",
            f'step wants version "{pinned}" of Engram "{engram_name}", which has "{engram.spec.version or ""}"',
        )
    merged = deep_merge(engram.spec.with_ or {}, step.with_ or {})
    settings = execution_policy.resolve(snapshot.config, template=template, engram=engram, story=story, step=step)
    if settings.problems:
        return Refused("InvalidConfiguration", "; ".join(settings.problems))
    size, limit = len(msgspec.json.encode(merged)), settings.max_inline_size.value
    if 0 < limit < size:
        return Refused(
            "InputTooLarge",
            f"`with` has {size} bytes, the limit is {limit} ({settings.max_inline_size.source}); "
            "raise execution.maxInlineSize of the step or pass data by reference",
        )
    near = f"`with` of step {step.name} has {size} of {limit} bytes" if limit > 0 and size >= limit * 0.8 else ""
    return Ready(_build(run, story, step, parent, engram, template, settings, merged, key, place), near)


def _build(
    run: StoryRun,
    story: Story,
    step: Step,
    parent: str,
    engram: Engram,
    template: EngramTemplate,
    settings: execution_policy.StepPolicy,
    merged: dict[str, Any],
    key: str,
    place: QueuePlace,
) -> StepRun:
    name, namespace = steprun_name(run, step.name, parent), run.metadata.namespace or ""
    found_labels = {
        labels.STORYRUN: label(run.metadata.name or ""),
        labels.STORY_NAME: label(story.metadata.name or ""),
        labels.QUEUE: label(place.queue),
        labels.QUEUE_PRIORITY: str(place.priority),
    }
    if parent:
        found_labels[labels.PARENT_STEP] = label(parent)
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": found_labels,
        "ownerReferences": [owner_reference(run)],
    }
    correlation = run.metadata.annotations.get(labels.ANNOTATION_CORRELATION_ID, "").strip()
    if correlation:
        found_labels[labels.CORRELATION_ID] = label(correlation)
        metadata["annotations"] = {labels.ANNOTATION_CORRELATION_ID: correlation}
    spec: dict[str, Any] = {
        "storyRunRef": {"name": run.metadata.name or ""},
        "stepId": step.name,
        "engramRef": {
            "name": engram.metadata.name or "",
            "namespace": engram.metadata.namespace or namespace,
        },
        "idempotencyKey": key[:MAX_IDEMPOTENCY_KEY]
        or idempotency_key(namespace, run.metadata.name or "", f"{parent}/{step.name}" if parent else step.name),
    }
    if step.ref is not None and step.ref.version:
        spec["engramRef"]["version"] = step.ref.version
    if template.metadata.generation:
        spec["templateGeneration"] = template.metadata.generation
    if merged:
        spec["input"] = merged
    if step.execution is not None and step.execution.timeout:
        spec["timeout"] = step.execution.timeout
    if retry := _retry(story, step, template, settings):
        spec["retry"] = retry
    return StepRun.model_validate(
        {"apiVersion": StepRun.API_VERSION, "kind": StepRun.KIND, "metadata": metadata, "spec": spec}
    )


def _retry(story: Story, step: Step, template: EngramTemplate, settings: execution_policy.StepPolicy) -> dict[str, Any]:
    """The effective retry policy, when anybody but the operator says something about it."""
    if not execution_policy.recommends_retry(story, step, template):
        return {}
    retry = settings.retry
    wire: dict[str, Any] = {
        "maxRetries": min(retry.max_retries.value, MAX_WRITTEN_RETRIES),
        "delay": duration.from_timedelta(retry.delay.value),
        "backoff": retry.backoff.value,
    }
    if retry.max_delay.value is not None:
        wire["maxDelay"] = duration.from_timedelta(retry.max_delay.value)
    if retry.jitter.value:
        wire["jitter"] = retry.jitter.value
    return wire


def owner_reference(run: StoryRun) -> dict[str, Any]:
    """The reference that makes an object go when its run goes."""
    return {
        "apiVersion": run.API_VERSION,
        "kind": run.KIND,
        "name": run.metadata.name or "",
        "uid": run.metadata.uid or "",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_owned(child: StepRun | StoryRun, run: StoryRun) -> bool:
    """Whether `run` controls `child`; by uid, since names come again (B-38)."""
    return any(owner.uid == run.metadata.uid and owner.controller for owner in child.metadata.owner_references)


def is_left_over(child: StepRun | StoryRun, run: StoryRun) -> bool:
    """Whether `child` belongs to an earlier run of the same name and is about to be collected."""
    return any(
        owner.kind == run.KIND and owner.name == run.metadata.name and owner.uid != run.metadata.uid
        for owner in child.metadata.owner_references
    )


def drift(existing: StepRun, run: StoryRun, step: Step, parent: str = "") -> str:
    """What makes an existing StepRun another one than this step's; empty when it is the right one.

    Its Engram is not compared: a StepRun that is ours and names another one was made before the Story was edited.
    """
    if not is_owned(existing, run):
        return "it does not belong to this StoryRun"
    if existing.spec.story_run_ref.name != run.metadata.name:
        return f'its storyRunRef is "{existing.spec.story_run_ref.name}"'
    if existing.spec.step_id != step.name:
        return f'its stepId is "{existing.spec.step_id}"'
    if existing.metadata.labels.get(labels.PARENT_STEP, "") != (label(parent) if parent else ""):
        return "it belongs to another step"
    return ""
