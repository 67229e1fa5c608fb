"""Drives StoryRuns towards their end (seed: controller ownership map, row StoryRun)."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from bobrapet.api import KubernetesObject, StepRun, Story, StoryRun, labels
from bobrapet.engine.graph import find_step
from bobrapet.engine.plans import Annotate, Delete, Event, RunPlan
from bobrapet.engine.reasons import Wake
from bobrapet.engine.snapshot import RunSnapshot
from bobrapet.reconcilers import apply
from bobrapet.reconcilers.identity import ForeignIdentity, ensure_identity
from bobrapet.reconcilers.metrics import Meter
from bobrapet.reconcilers.occupancy import is_limited, occupancy
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.payloads import PlannedRun, plan_run
from bobrapet.reconcilers.rbac import PATCH_STATUS, READ, Rule
from bobrapet.reconcilers.references import all_steps
from bobrapet.reconcilers.snapshots import run_snapshot
from bobrapet.runtime.client.interfaces import get_or_none, ignore_not_found
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.client.options import Preconditions
from bobrapet.runtime.errors import Conflict
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.reconcile import Request, Result
from bobrapet.workloads.identity import build_identity

RBAC: Final = (
    Rule("runs.bubustack.io", ("storyruns", "stepruns"), (*READ, "create", "patch", "delete")),
    Rule("runs.bubustack.io", ("storyruns/status",), PATCH_STATUS),
    Rule("runs.bubustack.io", ("storyruns/finalizers",), ("update",)),
    Rule("bubustack.io", ("stories", "engrams"), READ),
    Rule("bubustack.io", ("engrams",), ("create",)),  # the one that evaluates templates, where it is missing
    Rule("catalog.bubustack.io", ("engramtemplates",), READ),
    Rule("policy.bubustack.io", ("referencegrants",), READ),
)

log = get_logger("storyrun")


class StoryRunReconciler:
    """Gathers a run with everything around it, lets the engine plan, and applies the plan."""

    def __init__(self, operator: Operator, recorder: Any) -> None:
        self._operator = operator
        self._recorder = recorder
        self._taking_slots = asyncio.Lock()
        self._meter = Meter(operator.config)

    async def reconcile(self, request: Request) -> Result:
        run = await get_or_none(self._operator.client, StoryRun, request.key)
        if run is None:
            self._meter.run_gone(request)
            return Result()
        self._operator.echoes.looked_at(run)
        try:
            plan = await self._drive(run)
        except Conflict:
            return apply.AGAIN
        return apply.woken(plan, self._operator.clock.now())

    async def _drive(self, run: StoryRun) -> RunPlan:
        planned = await self._plan(await run_snapshot(self._operator, run))
        if planned is None:
            return RunPlan()
        snapshot = planned.snapshot
        if not planned.plan.starts or not is_limited(snapshot.config, run, snapshot.story):
            return await self._carry_out(planned)
        # Between counting the slots and taking them, nobody else may take them (B-28).
        async with self._taking_slots:
            found = await occupancy(self._operator.client, snapshot.config, snapshot.run, snapshot.story)
            again = await self._plan(dataclasses.replace(snapshot, occupancy=found))
            return await self._carry_out(again) if again is not None else RunPlan()

    async def _plan(self, snapshot: RunSnapshot) -> PlannedRun | None:
        """The plan on a snapshot, or on the objects of the API server where the engine wants to be certain.

        None: the API server says that the run is gone.
        """
        planned = await plan_run(self._operator, snapshot)
        if planned.plan.confirm:
            fresh = await get_or_none(self._operator.live, StoryRun, ObjectKey.of(snapshot.run))
            if fresh is None:
                return None
            planned = await plan_run(self._operator, await run_snapshot(self._operator, fresh, live=True))
        return planned

    async def _carry_out(self, planned: PlannedRun) -> RunPlan:
        plan = planned.plan
        try:
            is_as_planned = await self._apply(planned.snapshot, plan)
        except ForeignIdentity as error:
            # It is tried again, but until somebody makes room for the account, others shall have the slots.
            held = await plan_run(self._operator, dataclasses.replace(planned.snapshot, identity_fault=str(error)))
            await self._apply(held.snapshot, held.plan)
            raise
        if planned.trouble:
            told = Event("Warning", "StorageUnavailable", planned.trouble)
            apply.record(self._recorder, planned.snapshot.run, [told])
        if is_as_planned:
            return plan
        # The plan did not count with that, and its own status wakes nobody (`echoes`).
        again = Wake(self._operator.clock.now(), "it looks at who has the name of a child")
        return dataclasses.replace(plan, wakes=(*plan.wakes, again))

    async def _apply(self, snapshot: RunSnapshot, plan: RunPlan) -> bool:
        """Says whether every child was created here; a name that was taken is a child of ours, or somebody else's."""
        client, run = self._operator.client, snapshot.run
        created: list[bool] = []
        namespace = run.metadata.namespace or ""
        if plan.ensure_identity and snapshot.story is not None:
            await self._ensure_identity(snapshot, snapshot.story)
        # What a plan with a new child run writes is looked at again at once: the child's name goes into the state.
        fence = apply.Fence(client, run, self._operator.echoes if not plan.children else None)
        await fence.patch(plan.metadata)
        await fence.patch_status(plan.status)
        await apply.each(plan.engrams, lambda needed: apply.create(client, needed))

        async def make(child: KubernetesObject) -> None:
            with self._executing(snapshot, child):
                created.append(await apply.create(client, child))

        await apply.each([*plan.starts, *plan.children], make)

        async def ask_to_end(change: Annotate) -> None:
            await apply.annotate(client, namespace, change)

        async def remove(target: Delete) -> None:
            await apply.delete(client, namespace, target)

        await apply.each(plan.cancels, ask_to_end)
        await apply.each(plan.deletes, remove)
        apply.record(self._recorder, run, plan.events)
        self._meter.run_applied(snapshot, plan, self._operator.clock.now())
        if self._operator.tracer is not None:
            self._operator.tracer.run_applied(snapshot, plan)
        if plan.delete_run:
            with ignore_not_found():
                await client.delete(
                    run, preconditions=Preconditions(uid=run.metadata.uid), propagation_policy="Background"
                )
        return all(created)

    def _executing(self, snapshot: RunSnapshot, child: KubernetesObject) -> AbstractContextManager[None]:
        """A span of tracing around the creation of a child."""
        tracer = self._operator.tracer
        if tracer is None:
            return nullcontext()
        kind, name = "executeStory", child.metadata.labels.get(labels.STEP, "")
        if isinstance(child, StepRun):
            kind, name = "engram", child.spec.step_id
        parent = child.metadata.labels.get(labels.PARENT_STEP, "")
        step = find_step(snapshot.story, name, parent) if snapshot.story is not None else None
        return tracer.executing(snapshot.run, name, kind, len(step.needs or ()) if step is not None else 0)

    async def _ensure_identity(self, snapshot: RunSnapshot, story: Story) -> None:
        """The account that the steps run under. Raises ForeignIdentity, and tells it in an Event of the run."""
        run = snapshot.run
        steps = all_steps(story)
        namespace = run.metadata.namespace or ""
        identity = build_identity(story, namespace, snapshot.engrams.values(), snapshot.templates, steps)
        for rule in identity.dropped:
            log.info("rule of a component is not granted", story=story.metadata.name, rule=rule)
        try:
            await ensure_identity(self._operator, story, identity, self._meter)
        except ForeignIdentity as error:
            apply.record(self._recorder, run, [Event("Warning", "IdentityRefused", str(error))])
            raise
