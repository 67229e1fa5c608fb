"""Summarises EffectClaims and removes those whose StepRun is gone (spec runs 23, workloads 19.2)."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from bobrapet.api import EffectClaim, StepRun
from bobrapet.engine import effectclaim as engine
from bobrapet.engine.effectclaim import ClaimPlan, ClaimSnapshot
from bobrapet.engine.plans import Delete, Event
from bobrapet.reconcilers import apply
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.rbac import PATCH_STATUS, READ, Rule
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import Conflict
from bobrapet.runtime.reconcile import Request, Result

RBAC: Final = (
    Rule("runs.bubustack.io", ("effectclaims",), (*READ, "patch", "delete")),
    Rule("runs.bubustack.io", ("effectclaims/status",), PATCH_STATUS),
    Rule("runs.bubustack.io", ("stepruns",), READ),
    # The claim's owner reference blocks no deletion, but admission plugins ask for this right all the same.
    Rule("runs.bubustack.io", ("stepruns/finalizers",), ("update",)),
)


class EffectClaimReconciler:
    """Gathers a claim with the StepRun that it names, lets the engine plan, and applies the plan."""

    def __init__(self, operator: Operator, recorder: Any) -> None:
        self._operator = operator
        self._recorder = recorder

    async def reconcile(self, request: Request) -> Result:
        claim = await get_or_none(self._operator.client, EffectClaim, request.key)
        if claim is None:
            return Result()
        key = ObjectKey(request.namespace, claim.spec.step_run_ref.name)
        snapshot = ClaimSnapshot(claim=claim, step=await get_or_none(self._operator.client, StepRun, key))
        plan = engine.plan(snapshot, self._operator.clock.now())
        if plan.confirm:
            step = await get_or_none(self._operator.live, StepRun, key)
            snapshot = dataclasses.replace(snapshot, step=step, absence_confirmed=step is None)
            plan = engine.plan(snapshot, self._operator.clock.now())
        try:
            await self._apply(claim, plan)
        except Conflict:
            return apply.AGAIN
        return Result()

    async def _apply(self, claim: EffectClaim, plan: ClaimPlan) -> None:
        if plan.delete:
            target = Delete("EffectClaim", claim.metadata.name or "", claim.metadata.uid)
            await apply.delete(self._operator.client, claim.metadata.namespace or "", target)
            told = f"EffectClaim {claim.metadata.name} was deleted: {plan.delete}"
            apply.record(self._recorder, claim, [Event("Normal", "ClaimDeleted", told)])
            return
        fence = apply.Fence(self._operator.client, claim)
        await fence.patch(plan.metadata)
        await fence.patch_status(plan.status)
