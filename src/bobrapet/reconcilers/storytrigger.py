"""Decides StoryTriggers: each request for a run is answered once (seed: controller ownership map; spec runs 21)."""

from __future__ import annotations

import dataclasses
from typing import Final

from bobrapet.api import Story, StoryRun, StoryTrigger
from bobrapet.config.policy import storage_of
from bobrapet.engine import trigger as engine
from bobrapet.engine.trigger import TriggerPlan, TriggerSnapshot
from bobrapet.reconcilers import apply
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.payloads import offload_run_inputs
from bobrapet.reconcilers.rbac import PATCH_STATUS, READ, Rule
from bobrapet.reconcilers.snapshots import reference_grants
from bobrapet.runtime.client.interfaces import Reader, get_or_none, ignore_not_found
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.client.options import Preconditions
from bobrapet.runtime.errors import AlreadyExists, ApiError, Conflict, Invalid
from bobrapet.runtime.reconcile import Request, Result

RBAC: Final = (
    Rule("runs.bubustack.io", ("storytriggers",), (*READ, "delete")),
    Rule("runs.bubustack.io", ("storytriggers/status",), PATCH_STATUS),
    Rule("runs.bubustack.io", ("storyruns",), (*READ, "create")),
    Rule("bubustack.io", ("stories",), READ),
    Rule("policy.bubustack.io", ("referencegrants",), READ),
)

MAX_PLANS: Final = 6
"""Accepted and created, confirmed, decided: each is planned once. More means that two writers disagree."""


class StoryTriggerReconciler:
    """Gathers a trigger with its Story and run, lets the engine plan, and applies the plan until it is decided."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def reconcile(self, request: Request) -> Result:
        trigger = await get_or_none(self._operator.client, StoryTrigger, request.key)
        if trigger is None:
            return Result()
        try:
            plan = await self._drive(trigger)
        except Conflict:
            return apply.AGAIN
        return apply.woken(plan, self._operator.clock.now())

    async def _drive(self, trigger: StoryTrigger) -> TriggerPlan:
        operator = self._operator
        fence = apply.Fence(operator.client, trigger)
        snapshot = await self._snapshot(trigger, operator.client)
        for _ in range(MAX_PLANS):
            plan = engine.plan(snapshot, operator.clock.now())
            if plan.confirm:
                live = await self._snapshot(trigger, operator.live)
                snapshot = dataclasses.replace(
                    snapshot, story=live.story, run=live.run, grants=live.grants, authoritative=True
                )
                continue
            await fence.patch_status(plan.status)
            if plan.create is None:
                if plan.delete:
                    await self._delete(trigger)
                return plan
            run = await self._offloaded(snapshot, plan.create) if plan.offload else plan.create
            snapshot = dataclasses.replace(await self._create(snapshot, run), trigger=fence.obj)
        raise Conflict(f"StoryTrigger {trigger.metadata.name} does not settle")

    async def _snapshot(self, trigger: StoryTrigger, reader: Reader) -> TriggerSnapshot:
        namespace = trigger.metadata.namespace
        story = ObjectKey.parse(trigger.spec.story_ref.key(namespace))
        run = ObjectKey(namespace or "", engine.run_name(trigger))
        config, found = self._operator.config(), await get_or_none(reader, Story, story)
        return TriggerSnapshot(
            trigger=trigger,
            story=found,
            run=await get_or_none(reader, StoryRun, run),
            grants=await reference_grants(self._operator, reader),
            config=config,
            has_storage=self._operator.stores.reach(storage_of(config, story=found)),
        )

    async def _offloaded(self, snapshot: TriggerSnapshot, run: StoryRun) -> StoryRun:
        """The run with its inputs in storage. Raises Retriable; nothing is decided then, and it is tried again."""
        settings = storage_of(snapshot.config, story=snapshot.story)
        assert settings is not None
        limit = snapshot.config.storyruns.max_inline_inputs_size
        return await offload_run_inputs(self._operator, run, settings, limit)

    async def _create(self, snapshot: TriggerSnapshot, run: StoryRun) -> TriggerSnapshot:
        """The snapshot with the run that is there now, whoever created it, or with why there is none."""
        try:
            created = await self._operator.client.create(run)
        except AlreadyExists:
            found = await get_or_none(self._operator.live, StoryRun, ObjectKey.of(run))
            return dataclasses.replace(snapshot, run=found)
        except ApiError as error:
            if not is_final_refusal(error):
                raise
            return dataclasses.replace(snapshot, refused=error.message)
        return dataclasses.replace(snapshot, run=created)

    async def _delete(self, trigger: StoryTrigger) -> None:
        with ignore_not_found():
            await self._operator.client.delete(trigger, preconditions=Preconditions(uid=trigger.metadata.uid))


def is_final_refusal(error: ApiError) -> bool:
    """Whether the object itself is wrong, so that sending it again changes nothing.

    A denial of a webhook arrives with the code that the webhook gave it; one that could not decide gives 500 or more.
    Missing rights and quotas are `Forbidden` too, but an administrator lifts them, so they are tried again.
    """
    is_denied = error.message.startswith("admission webhook") and "denied the request" in error.message
    return isinstance(error, Invalid) or (is_denied and 400 <= error.status < 429)
