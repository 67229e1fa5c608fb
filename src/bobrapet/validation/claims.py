"""Every check of a StoryTrigger and an EffectClaim beyond their CRDs (spec admission A8; api 6.3, D22)."""

from __future__ import annotations

from datetime import datetime

from bobrapet.api import EffectClaim, StepRun, StoryTrigger, names
from bobrapet.api.enums import EffectClaimCompletionStatus, TriggerDedupeMode
from bobrapet.api.timestamps import TimeError, parse_time
from bobrapet.validation.faults import Findings, quoted
from bobrapet.validation.references import CORE, RUNS, Referrer, Target
from bobrapet.validation.runs import check_input_hash, existing_story
from bobrapet.validation.scene import Scene
from bobrapet.validation.values import same_json


def check_story_trigger(trigger: StoryTrigger, scene: Scene, findings: Findings) -> None:
    """Adds to `findings` what is wrong with `trigger`."""
    reference, identity = trigger.spec.story_ref, trigger.spec.delivery_identity
    own = trigger.metadata.namespace or ""
    name = reference.name.strip()
    namespace = (reference.namespace or "").strip() or own
    if not name:
        findings.required("spec.storyRef.name", "required; the name of a Story")
    else:
        target = Target(CORE, "Story", namespace, name)
        existing_story(findings, scene, "spec.storyRef", Referrer(RUNS, "StoryTrigger", own), target, reference.version)

    path = "spec.deliveryIdentity"
    submission, key = identity.submission_id.strip(), (identity.key or "").strip()
    if not submission:
        findings.required(f"{path}.submissionId", "required; the same when a submission is repeated")
    mode = identity.mode or TriggerDedupeMode.NONE
    if mode is TriggerDedupeMode.NONE and key:
        findings.forbidden(f"{path}.key", "mode none has no key; set mode to token or key")
    elif mode is not TriggerDedupeMode.NONE and not key:
        findings.required(f"{path}.key", f"required with mode {mode}")
    if key and not (identity.input_hash or "").strip():
        findings.required(f"{path}.inputHash", "required with a key: the hash of the inputs")
    elif identity.input_hash:
        check_input_hash(findings, f"{path}.inputHash", identity.input_hash.strip(), trigger.spec.inputs, scene)
    if name and (key or submission):
        derived = names.storytrigger_name(namespace, name, key, submission)
        _check_name(findings, trigger.metadata.name, trigger.metadata.generate_name, derived)


def check_story_trigger_update(new: StoryTrigger, old: StoryTrigger, findings: Findings) -> None:
    """A StoryTrigger's spec does not change."""
    if not same_json(new.to_wire()["spec"], old.to_wire()["spec"]):
        findings.forbidden("spec", "spec is immutable for StoryTrigger; send a new one instead")


def check_effect_claim(claim: EffectClaim, scene: Scene, findings: Findings) -> None:
    """Adds to `findings` what is wrong with `claim`."""
    spec, own = claim.spec, claim.metadata.namespace or ""
    step, key = spec.step_run_ref.name.strip(), spec.effect_key.strip()
    if not step:
        findings.required("spec.stepRunRef.name", "required; the name of a StepRun")
    if not key:
        findings.required("spec.effectKey", "required; the key of the effect")
    namespace = (spec.step_run_ref.namespace or "").strip() or own
    if namespace != own:
        findings.forbidden(
            "spec.stepRunRef.namespace",
            f"the StepRun must be in the claim's namespace {quoted(own)}, whatever the policy",
        )
    elif step:
        _check_step_run(findings, scene, claim, namespace, step)
    _check_times(findings, claim)
    if step and key:
        derived = names.effectclaim_name(namespace, step, key)
        _check_name(findings, claim.metadata.name, claim.metadata.generate_name, derived)


def check_effect_claim_update(new: EffectClaim, old: EffectClaim, findings: Findings) -> None:
    """What may not change in an EffectClaim: its identity, and everything of the holder once it is completed."""
    after, before = new.spec, old.spec
    for path, now, then in (
        ("spec.stepRunRef.name", after.step_run_ref.name, before.step_run_ref.name),
        ("spec.stepRunRef.namespace", after.step_run_ref.namespace, before.step_run_ref.namespace),
        ("spec.stepRunRef.uid", after.step_run_ref.uid, before.step_run_ref.uid),
        ("spec.effectKey", after.effect_key, before.effect_key),
        ("spec.idempotencyKey", after.idempotency_key, before.idempotency_key),
    ):
        if (now or "") != (then or ""):
            findings.forbidden(path, "is immutable: it says which effect the claim is about")
    if before.completion_status is not EffectClaimCompletionStatus.COMPLETED:
        return
    for path, value, earlier in (
        ("spec.completionStatus", after.completion_status, before.completion_status),
        ("spec.holderIdentity", after.holder_identity, before.holder_identity),
        ("spec.leaseDurationSeconds", after.lease_duration_seconds, before.lease_duration_seconds),
        ("spec.leaseTransitions", after.lease_transitions, before.lease_transitions),
        ("spec.acquireTime", after.acquire_time, before.acquire_time),
        ("spec.renewTime", after.renew_time, before.renew_time),
    ):
        if value != earlier:
            findings.forbidden(path, "is frozen: the effect is completed")
    done, was = _second(after.completed_at), _second(before.completed_at)
    if was is not None and (done is None or done < was):
        findings.forbidden("spec.completedAt", "must not be cleared or go back: the effect is completed")


def _check_step_run(findings: Findings, scene: Scene, claim: EffectClaim, namespace: str, name: str) -> None:
    found = scene.lookup.find(StepRun, namespace, name)
    if found is None:
        findings.not_found("spec.stepRunRef.name", f"referenced steprun '{namespace}/{name}' not found", name)
        return
    wanted, actual = (claim.spec.step_run_ref.uid or "").strip(), found.metadata.uid or ""
    if wanted and actual and wanted != actual:
        findings.invalid(
            "spec.stepRunRef.uid", f"the StepRun {quoted(name)} has uid {actual}; it was deleted and made anew", wanted
        )


def _check_times(findings: Findings, claim: EffectClaim) -> None:
    spec = claim.spec
    # Seconds: completedAt has no finer digits, so a claim completed in the second of its renewal is in order (D22).
    acquired, renewed, completed = _second(spec.acquire_time), _second(spec.renew_time), _second(spec.completed_at)
    if spec.completion_status is EffectClaimCompletionStatus.COMPLETED and completed is None:
        findings.required("spec.completedAt", "required with completionStatus completed")
    if completed is not None and spec.completion_status is None:
        findings.required("spec.completionStatus", "required with completedAt")
    if renewed is not None and acquired is None:
        findings.required("spec.acquireTime", "required with renewTime")
    if renewed is not None and acquired is not None and renewed < acquired:
        findings.invalid("spec.renewTime", "must not be before acquireTime", spec.renew_time)
    if completed is not None and acquired is not None and completed < acquired:
        findings.invalid("spec.completedAt", "must not be before acquireTime", spec.completed_at)
    elif completed is not None and renewed is not None and completed < renewed:
        findings.invalid("spec.completedAt", "must not be before renewTime", spec.completed_at)


def _second(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return parse_time(text).replace(microsecond=0)
    except TimeError:
        return None  # the CRD refuses such text


def _check_name(findings: Findings, name: str | None, generate_name: str | None, derived: str) -> None:
    if generate_name:
        findings.forbidden("metadata.generateName", "the name follows from the spec and cannot be generated")
    if name != derived:
        findings.invalid("metadata.name", f"metadata.name must be {quoted(derived)}, which follows from the spec", name)
