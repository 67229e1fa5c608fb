"""Templates over offloaded data that the controller does not evaluate itself: a component does (spec runs 22).

A StepRun of its own, beside the steps of the Story, gets the template and the values that it reads, as references;
the component reads the data and answers with what the template gives. The StepRun is named after the place of the
template, the template and the values, so the same question is asked once, and another one is another StepRun.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from bobrapet.api import Engram, StepRun, labels
from bobrapet.api.enums import Phase, WorkloadMode
from bobrapet.api.env import STORAGE_PATH_KEY
from bobrapet.api.names import compose, idempotency_key, label
from bobrapet.api.payloads import PayloadReference
from bobrapet.engine.evaluation import Failed, Value
from bobrapet.engine.launch import is_owned, owner_reference
from bobrapet.engine.outcome import final_phase, has_succeeded

if TYPE_CHECKING:
    from bobrapet.api import StoryRun

Mode = Literal["condition", "object"]

RESULT: Final = "result"
_DIGEST_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class Site:
    """The place of a template."""

    purpose: str
    """`if`, `until`, `with`, `execute-story`, `story-output`."""
    step: str = ""
    node: str = ""
    """The step of the Story, when `step` names a branch of it."""
    waiting: str = ""
    """The StepRun that waits for the answer; empty: the run itself does."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A StepRun that evaluates a template, and the Engram that it needs."""

    steprun: StepRun
    engram: Engram

    @property
    def name(self) -> str:
        return self.steprun.metadata.name or ""


def is_materialize(steprun: StepRun) -> bool:
    """Whether a StepRun evaluates a template for others, so that the Story has no step for it."""
    return steprun.metadata.labels.get(labels.MATERIALIZE) == "true"


def wanted(
    run: StoryRun,
    site: Site,
    mode: Mode,
    template: Any,
    variables: Mapping[str, Any],
    *,
    engram: str,
    sources: Mapping[str, StepRun],
) -> Wanted:
    """What answers the template.

    Args:
        variables: the values that it reads, offloaded ones as references.
        engram: name of the Engram and EngramTemplate that evaluate templates.
        sources: StepRuns that the values come from; one that ran anew gives other values under the same references.
    """
    namespace = run.metadata.namespace or ""
    question = {"mode": mode, "template": template, "vars": variables}
    origins = {name: source.metadata.uid for name, source in sorted(sources.items())}
    digest = sha256(msgspec.json.encode([question, origins], order="sorted")).hexdigest()[:_DIGEST_LENGTH]
    step_id = compose("materialize", site.purpose, site.step, digest)
    annotations = {
        labels.ANNOTATION_MATERIALIZE_PURPOSE: site.purpose,
        labels.ANNOTATION_MATERIALIZE_TARGET_STEP: site.step,
        labels.ANNOTATION_MATERIALIZE_MODE: WorkloadMode.JOB.value,
    }
    if site.waiting:
        annotations[labels.ANNOTATION_MATERIALIZE_FOR] = site.waiting
    run_labels = run.metadata.labels
    story = run.spec.story_ref.name
    metadata = {
        "name": compose(run.metadata.name or "", step_id),
        "namespace": namespace,
        "labels": {
            labels.STORYRUN: label(run.metadata.name or ""),
            labels.STORY_NAME: label(story),
            labels.MATERIALIZE: "true",
            **{key: run_labels[key] for key in (labels.QUEUE, labels.QUEUE_PRIORITY) if key in run_labels},
        },
        "annotations": annotations,
        "ownerReferences": [owner_reference(run)],
    }
    spec = {
        "storyRunRef": {"name": run.metadata.name or ""},
        "stepId": step_id,
        "engramRef": {"name": engram, "namespace": namespace},
        "idempotencyKey": idempotency_key(namespace, run.metadata.name or "", step_id),
        "input": question,
    }
    steprun = StepRun.model_validate(
        {"apiVersion": StepRun.API_VERSION, "kind": StepRun.KIND, "metadata": metadata, "spec": spec}
    )
    return Wanted(steprun, _engram(namespace, engram))


def answer(existing: StepRun, run: StoryRun, mode: Mode) -> Value | Failed | None:
    """What the StepRun found; None while it has not ended."""
    name = existing.metadata.name
    if not is_owned(existing, run) or not is_materialize(existing):
        return Failed(f'StepRun "{name}" has the name of one that evaluates a template, but is another', is_final=True)
    phase = final_phase(existing)
    if phase is None:
        return None
    if not has_succeeded(existing):
        status = existing.status
        why = status.last_failure_msg or (status.phase or Phase.FAILED).value
        return Failed(f'its offloaded data was read by StepRun "{name}", which failed: {why}')
    output = existing.status.output or {}
    if PayloadReference.parse(output) is not None:
        output = {RESULT: {**output, STORAGE_PATH_KEY: RESULT}}
    if RESULT not in output:
        return Failed(f'StepRun "{name}" gave no `{RESULT}`; is Engram "materialize" the right component?')
    found = output[RESULT]
    if mode == "condition" and not isinstance(found, bool):
        return Failed(f'StepRun "{name}" gave no condition, but {type(found).__name__}')
    return Value(found)


def _engram(namespace: str, name: str) -> Engram:
    """Made where it is needed first; one that is there already stays as it is."""
    return Engram.model_validate(
        {
            "apiVersion": Engram.API_VERSION,
            "kind": Engram.KIND,
            "metadata": {"name": name, "namespace": namespace, "labels": {labels.MATERIALIZE: "true"}},
            "spec": {"templateRef": {"name": name}, "mode": WorkloadMode.JOB.value},
        }
    )
