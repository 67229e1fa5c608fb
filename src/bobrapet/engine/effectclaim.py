"""The EffectClaim: the lock of a side effect, which lives as long as its StepRun (spec runs 23).

Holders renew and complete claims themselves; the controller summarises, ties the claim to its StepRun, and removes
claims whose StepRun is gone. A lease that ran out is taken over by the next holder, not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api.conditions import ConditionType, set_condition
from bobrapet.api.enums import EffectClaimCompletionStatus, EffectClaimPhase
from bobrapet.engine.merge import merge_patch

if TYPE_CHECKING:
    from bobrapet.api import EffectClaim, StepRun
    from bobrapet.engine.plans import Patch


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimSnapshot:
    claim: EffectClaim
    step: StepRun | None
    """The StepRun that the claim names, in the claim's namespace."""
    absence_confirmed: bool = False
    """Whether an authoritative read just found no such StepRun (asked for by `ClaimPlan.confirm`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimPlan:
    """What to do for an EffectClaim. Apply in the order of the fields."""

    confirm: bool = False
    """The cache shows no StepRun: read it from the API server and plan again. Nothing else is set."""
    delete: str = ""
    """Why the claim is to be deleted; empty: it is not."""
    metadata: Patch | None = None
    status: Patch | None = None


_PHASES: Final = {
    None: EffectClaimPhase.RESERVED,
    EffectClaimCompletionStatus.COMPLETED: EffectClaimPhase.COMPLETED,
    EffectClaimCompletionStatus.RELEASED: EffectClaimPhase.RELEASED,
    EffectClaimCompletionStatus.ABANDONED: EffectClaimPhase.ABANDONED,
}


def plan(snapshot: ClaimSnapshot, now: datetime) -> ClaimPlan:
    """Decides what to do for an EffectClaim at `now`."""
    claim, step = snapshot.claim, snapshot.step
    if claim.metadata.deletion_timestamp:
        return ClaimPlan()
    reference = claim.spec.step_run_ref
    namespace = (reference.namespace or "").strip()
    if namespace and namespace != claim.metadata.namespace:
        return ClaimPlan(delete="it names a StepRun of another namespace")
    if step is None:
        if not snapshot.absence_confirmed:
            return ClaimPlan(confirm=True)
        return ClaimPlan(delete=f'StepRun "{reference.name}" does not exist')
    if reference.uid and reference.uid != step.metadata.uid:
        return ClaimPlan(delete=f'StepRun "{reference.name}" was deleted and created anew')
    return ClaimPlan(metadata=_ownership(claim, step), status=_status(claim, now))


def _ownership(claim: EffectClaim, step: StepRun) -> Patch | None:
    owners = claim.metadata.owner_references
    if any(owner.uid == step.metadata.uid for owner in owners):
        return None
    owner = {
        "apiVersion": step.API_VERSION,
        "kind": step.KIND,
        "name": step.metadata.name or "",
        "uid": step.metadata.uid or "",
    }
    return {"metadata": {"ownerReferences": [*(other.to_wire() for other in owners), owner]}}


def _status(claim: EffectClaim, now: datetime) -> Patch | None:
    phase = _PHASES[claim.spec.completion_status]
    generation = claim.metadata.generation
    conditions = list(claim.status.conditions)
    for type, holds in (
        (ConditionType.READY, phase is EffectClaimPhase.COMPLETED),
        (ConditionType.PROGRESSING, phase is EffectClaimPhase.RESERVED),
        (ConditionType.DEGRADED, phase is EffectClaimPhase.ABANDONED),
    ):
        conditions = set_condition(conditions, type, holds, phase.value, "", now=now, generation=generation)
    old = claim.status.to_wire()
    new: dict[str, Any] = {
        **old,
        "phase": phase.value,
        "conditions": [condition.to_wire() for condition in conditions],
    }
    if generation is not None:
        new["observedGeneration"] = generation
    difference = merge_patch(old, new)
    return {"status": difference} if difference else None
