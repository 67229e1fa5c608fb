"""The StoryTrigger: one request to run a Story, decided once (spec runs 21; B-39, B-40).

The name of the run is derived from the request, so that asking twice, or crashing between creating and recording,
finds the same run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bobrapet.api import StoryRun, labels
from bobrapet.api.conditions import ConditionType, set_condition
from bobrapet.api.enums import StoryTriggerDecision, TriggerDedupeMode
from bobrapet.api.names import input_hash, storyrun_name, storytrigger_name
from bobrapet.api.timestamps import format_time
from bobrapet.config.operator import OperatorConfig
from bobrapet.engine.merge import merge_patch
from bobrapet.engine.plans import wait_seconds
from bobrapet.engine.states import moment
from bobrapet.validation.references import CORE, RUNS, Referrer, Target, refusal

if TYPE_CHECKING:
    from bobrapet.api import ReferenceGrant, Story, StoryTrigger
    from bobrapet.engine.plans import Patch

_FINAL: Final = frozenset({StoryTriggerDecision.CREATED, StoryTriggerDecision.REUSED, StoryTriggerDecision.REJECTED})


@dataclass(frozen=True, kw_only=True, slots=True)
class TriggerSnapshot:
    """Everything that `plan` looks at."""

    trigger: StoryTrigger
    story: Story | None
    run: StoryRun | None = None
    """The StoryRun with the derived name (`run_name`); None when there is none."""
    refused: str = ""
    """What the API server said when it refused the StoryRun for good (Invalid, or denied by admission)."""
    grants: Sequence[ReferenceGrant] = ()
    config: OperatorConfig = field(default_factory=OperatorConfig)
    has_storage: bool = False
    """Whether inputs that are too large to be inline can be stored."""
    authoritative: bool = False
    """Whether story and run were just read from the API server (asked for by `TriggerPlan.confirm`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TriggerPlan:
    """What to do for a StoryTrigger. Apply in the order of the fields."""

    confirm: bool = False
    """The plan says a last word: read Story and run from the API server (not the cache) and plan again. Nothing else
    is set."""

    status: Patch | None = None
    """Merge patch of the status subresource; its resourceVersion is the fence for what follows."""

    create: StoryRun | None = None
    """The StoryRun to create. Then, whether it was created or existed, plan again with what is there."""

    offload: bool = False
    """The inputs of `create` are too large to be inline: put them into storage first, under the run's name."""

    delete: bool = False
    """The trigger is past its time: delete it."""
    wake_at: datetime | None = None

    def wait_seconds(self, now: datetime) -> float | None:
        """Seconds until `wake_at`, never negative; None when no clock decides."""
        return wait_seconds(self.wake_at, now)


@dataclass(frozen=True, slots=True)
class _Verdict:
    decision: StoryTriggerDecision
    reason: str
    message: str
    run: StoryRun | None = None


def run_name(trigger: StoryTrigger) -> str:
    """The name of the StoryRun that a trigger asks for."""
    identity, reference = trigger.spec.delivery_identity, trigger.spec.story_ref
    token = (identity.key or "").strip() or identity.submission_id
    return storyrun_name(_story_namespace(trigger), reference.name.strip(), token)


def plan(snapshot: TriggerSnapshot, now: datetime) -> TriggerPlan:
    """Decides a StoryTrigger at `now`."""
    trigger = snapshot.trigger
    if trigger.metadata.deletion_timestamp:
        return TriggerPlan()
    if is_decided(trigger):
        return _expiry(snapshot, now)
    verdict = _rejected(snapshot)
    if verdict is None and snapshot.run is not None:
        verdict = _existing(trigger, snapshot.run)
    if verdict is None:
        accepted = _status(trigger, _Verdict(StoryTriggerDecision.PENDING, "Pending", "creates its StoryRun"), now)
        return TriggerPlan(status=accepted, create=_run(trigger), offload=_is_too_large(snapshot))
    is_final_word = verdict.decision is StoryTriggerDecision.REJECTED
    if is_final_word and not snapshot.authoritative:
        return TriggerPlan(confirm=True)
    return TriggerPlan(status=_status(trigger, verdict, now))


def is_decided(trigger: StoryTrigger) -> bool:
    """Whether nothing but its own end is left to happen to a trigger."""
    return trigger.status.decision in _FINAL and trigger.status.observed_generation == trigger.metadata.generation


def _rejected(snapshot: TriggerSnapshot) -> _Verdict | None:
    trigger, story = snapshot.trigger, snapshot.story
    if fault := _identity_fault(trigger):
        return _reject("ValidationFailed", fault)
    namespace, reference = _story_namespace(trigger), trigger.spec.story_ref
    refused = refusal(
        Referrer(RUNS, "StoryTrigger", trigger.metadata.namespace or ""),
        Target(CORE, "Story", namespace, reference.name),
        snapshot.config.references.cross_namespace_policy,
        snapshot.grants,
    )
    if refused is not None:
        return _reject("ValidationFailed", str(refused))
    if story is None:
        return _reject("StoryNotFound", f'Story "{namespace}/{reference.name}" does not exist')
    wanted, found = (reference.version or "").strip(), (story.spec.version or "").strip()
    if wanted and wanted != found:
        return _reject("StoryVersionMismatch", f'the trigger wants version "{wanted}" of the Story, it has "{found}"')
    given = (trigger.spec.delivery_identity.input_hash or "").strip()
    if given and given != input_hash(trigger.spec.inputs):
        return _reject("InputHashMismatch", "deliveryIdentity.inputHash is not the hash of spec.inputs")
    if snapshot.run is None and not snapshot.has_storage and _is_too_large(snapshot):
        limit = snapshot.config.storyruns.max_inline_inputs_size
        return _reject("InputTooLarge", f"inputs have {_size(trigger)} bytes, the limit is {limit} without storage")
    if snapshot.refused:
        return _reject("ValidationFailed", snapshot.refused)
    return None


def _is_too_large(snapshot: TriggerSnapshot) -> bool:
    return _size(snapshot.trigger) > snapshot.config.storyruns.max_inline_inputs_size


def _size(trigger: StoryTrigger) -> int:
    return len(msgspec.json.encode(trigger.spec.inputs or {}))


def _reject(reason: str, message: str) -> _Verdict:
    return _Verdict(StoryTriggerDecision.REJECTED, reason, message)


def _identity_fault(trigger: StoryTrigger) -> str:
    identity = trigger.spec.delivery_identity
    key, mode = (identity.key or "").strip(), identity.mode or TriggerDedupeMode.NONE
    if not identity.submission_id.strip():
        return "deliveryIdentity.submissionId is required"
    if mode is TriggerDedupeMode.NONE and key:
        return "deliveryIdentity.key needs mode token or key"
    if mode is not TriggerDedupeMode.NONE and not key:
        return f"deliveryIdentity.key is required with mode {mode.value}"
    if key and not (identity.input_hash or "").strip():
        return "deliveryIdentity.inputHash is required with a key"
    name = storytrigger_name(
        _story_namespace(trigger), trigger.spec.story_ref.name.strip(), key, identity.submission_id
    )
    if trigger.metadata.name != name:
        return f'the name of this trigger must be "{name}", so that the same request has the same name'
    return ""


def _run(trigger: StoryTrigger) -> StoryRun:
    key = (trigger.spec.delivery_identity.key or "").strip()
    annotations = {
        labels.ANNOTATION_TRIGGER_REQUEST_NAME: trigger.metadata.name or "",
        labels.ANNOTATION_TRIGGER_REQUEST_UID: trigger.metadata.uid or "",
        # Always, not only with a key: a recovery must be able to compare inputs that were offloaded (B-39).
        labels.ANNOTATION_TRIGGER_INPUT_HASH: input_hash(trigger.spec.inputs),
    }
    if key:
        annotations[labels.ANNOTATION_TRIGGER_TOKEN] = key
    spec: dict[str, Any] = {"storyRef": trigger.spec.story_ref.to_wire()}
    if trigger.spec.impulse_ref is not None:
        spec["impulseRef"] = trigger.spec.impulse_ref.to_wire()
    if trigger.spec.inputs:
        spec["inputs"] = trigger.spec.inputs
    metadata = {
        "name": run_name(trigger),
        "namespace": trigger.metadata.namespace or "",
        "annotations": annotations,
    }
    return StoryRun.model_validate(
        {"apiVersion": StoryRun.API_VERSION, "kind": StoryRun.KIND, "metadata": metadata, "spec": spec}
    )


def _existing(trigger: StoryTrigger, run: StoryRun) -> _Verdict:
    """The run is there: made by us, made for the same request, or something else."""
    if fault := _difference(trigger, run):
        return _reject("StoryRunConflict", f'StoryRun "{run.metadata.name}" exists, but {fault}')
    annotations = run.metadata.annotations
    is_ours = (
        annotations.get(labels.ANNOTATION_TRIGGER_REQUEST_NAME) == trigger.metadata.name
        and annotations.get(labels.ANNOTATION_TRIGGER_REQUEST_UID) == trigger.metadata.uid
    )
    name = run.metadata.name
    if is_ours:
        return _Verdict(StoryTriggerDecision.CREATED, "StoryRunCreated", f"created StoryRun {name}", run)
    return _Verdict(StoryTriggerDecision.REUSED, "StoryRunReused", f"StoryRun {name} serves the same request", run)


def _difference(trigger: StoryTrigger, run: StoryRun) -> str:
    namespace = run.metadata.namespace
    wanted, found = trigger.spec.story_ref, run.spec.story_ref
    if found.key(namespace) != wanted.key(trigger.metadata.namespace):
        return f'it runs Story "{found.key(namespace)}"'
    if (found.version or "").strip() != (wanted.version or "").strip():
        return f'it is for version "{found.version or ""}" of the Story'
    if _impulse(run.spec.impulse_ref, namespace) != _impulse(trigger.spec.impulse_ref, trigger.metadata.namespace):
        return "it comes from another Impulse"
    recorded = run.metadata.annotations.get(labels.ANNOTATION_TRIGGER_INPUT_HASH) or input_hash(run.spec.inputs)
    return "" if recorded == input_hash(trigger.spec.inputs) else "it has other inputs"


def _impulse(reference: Any, namespace: str | None) -> tuple[str, str, str] | None:
    if reference is None:
        return None
    return reference.key(namespace), (reference.version or "").strip(), reference.uid or ""


def _status(trigger: StoryTrigger, verdict: _Verdict, now: datetime) -> Patch | None:
    old = trigger.status.to_wire()
    is_final = verdict.decision in _FINAL
    is_rejected = verdict.decision is StoryTriggerDecision.REJECTED
    conditions = list(trigger.status.conditions)
    for type, status in (
        (ConditionType.READY, is_final and not is_rejected),
        (ConditionType.PROGRESSING, not is_final),
        (ConditionType.DEGRADED, is_rejected),
    ):
        conditions = set_condition(
            conditions,
            type,
            status,
            verdict.reason,
            verdict.message,
            now=now,
            generation=trigger.metadata.generation,
        )
    new: dict[str, Any] = {
        **old,
        "decision": verdict.decision.value,
        "reason": verdict.reason,
        "message": verdict.message,
        "acceptedAt": old.get("acceptedAt") or format_time(now),
        "conditions": [condition.to_wire() for condition in conditions],
    }
    if trigger.metadata.generation is not None:
        new["observedGeneration"] = trigger.metadata.generation
    if is_final:
        new["completedAt"] = format_time(now)
    new.pop("storyRunRef", None)
    if verdict.run is not None:
        metadata = verdict.run.metadata
        new["storyRunRef"] = {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}
    difference = merge_patch(old, new)
    return {"status": difference} if difference else None


def _expiry(snapshot: TriggerSnapshot, now: datetime) -> TriggerPlan:
    """A decided trigger goes after the retention of runs, but never before its run: it keeps repeats from running."""
    seconds = snapshot.config.storyruns.retention_seconds
    completed = moment(snapshot.trigger.status.completed_at)
    if seconds == 0 or completed is None:
        return TriggerPlan()
    expiry = completed + timedelta(seconds=max(seconds, 0))
    if now < expiry:
        return TriggerPlan(wake_at=expiry)
    if snapshot.trigger.status.decision is StoryTriggerDecision.REJECTED:
        return TriggerPlan(delete=True)
    if snapshot.run is not None:
        return TriggerPlan()  # the deletion of the run is what wakes it
    return TriggerPlan(delete=True) if snapshot.authoritative else TriggerPlan(confirm=True)


def _story_namespace(trigger: StoryTrigger) -> str:
    return (trigger.spec.story_ref.namespace or "").strip() or trigger.metadata.namespace or ""
