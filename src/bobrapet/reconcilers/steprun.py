"""Executes StepRuns as Jobs and judges what comes back (seed: controller ownership map, row StepRun)."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from bobrapet.api import StepRun
from bobrapet.engine import steprun as engine
from bobrapet.engine.plans import Delete, Event, JobStart, StepPlan
from bobrapet.engine.snapshot import StepSnapshot
from bobrapet.reconcilers import apply
from bobrapet.reconcilers.builtin import Job, Secret
from bobrapet.reconcilers.metrics import Meter
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.rbac import PATCH_STATUS, READ, Rule
from bobrapet.reconcilers.snapshots import step_snapshot
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.errors import ApiError, Conflict, RequestEntityTooLarge
from bobrapet.runtime.reconcile import Request, Result
from bobrapet.workloads.job import Workload, build_job

RBAC: Final = (
    Rule("runs.bubustack.io", ("stepruns",), (*READ, "patch")),
    Rule("runs.bubustack.io", ("stepruns/status",), PATCH_STATUS),
    Rule("runs.bubustack.io", ("stepruns/finalizers",), ("update",)),
    Rule("batch", ("jobs",), (*READ, "create", "delete")),
    Rule("", ("pods",), READ),
    Rule("", ("secrets",), ("create", "patch")),
)


class JobTooLarge(Exception):
    """The API server does not take the Job because of its size."""


class StepRunReconciler:
    """Gathers a step with its Job and pods, lets the engine plan, and applies the plan."""

    def __init__(self, operator: Operator, recorder: Any) -> None:
        self._operator = operator
        self._recorder = recorder
        self._meter = Meter(operator.config)

    async def reconcile(self, request: Request) -> Result:
        step = await get_or_none(self._operator.client, StepRun, request.key)
        if step is None:
            return Result()
        try:
            plan = await self._drive(step)
        except Conflict:
            return apply.AGAIN
        return apply.woken(plan, self._operator.clock.now())

    async def _drive(self, step: StepRun) -> StepPlan:
        snapshot = await step_snapshot(self._operator, step)
        plan = engine.plan(snapshot, self._operator.clock.now())
        if plan.confirm_job:
            key = ObjectKey.of(step)
            fresh = await get_or_none(self._operator.live, StepRun, key)
            job = await get_or_none(self._operator.live, Job, key)
            if fresh is None:
                return StepPlan()
            snapshot = dataclasses.replace(
                snapshot, step=fresh, job=job.object if job is not None else None, job_confirmed_absent=job is None
            )
            plan = engine.plan(snapshot, self._operator.clock.now())
        return await self._apply(snapshot, plan)

    async def _apply(self, snapshot: StepSnapshot, plan: StepPlan) -> StepPlan:
        """Applies the plan, and returns the one that counts in the end."""
        client, step = self._operator.client, snapshot.step
        namespace = step.metadata.namespace or ""
        fence = apply.Fence(client, step)
        await fence.patch(plan.metadata)
        await fence.patch_status(plan.status)
        if plan.start is not None:
            try:
                is_new = await self._start(snapshot, plan.start)
            except JobTooLarge:
                plan = engine.too_large(snapshot, self._operator.clock.now())
                await fence.patch(plan.metadata)
                await fence.patch_status(plan.status)
            else:
                if is_new and plan.after_start is not None:
                    await apply.annotate(client, namespace, plan.after_start)

        async def remove(target: Delete) -> None:
            await apply.delete(client, namespace, target)

        await apply.each(plan.deletes, remove)
        apply.record(self._recorder, step, plan.events)
        self._meter.step_applied(snapshot, plan, self._operator.clock.now())
        return plan

    async def _start(self, snapshot: StepSnapshot, start: JobStart) -> bool:
        """Creates the Job, and before it the Secret for large inputs. Says whether the Job is new."""
        workload = self._workload(snapshot, start)
        try:
            if workload.secret is not None:
                await self._put_secret(workload.secret)
            return await apply.create(self._operator.client, Job(workload.job))
        except RequestEntityTooLarge as error:
            raise JobTooLarge from error
        except ApiError as error:
            if "request is too large" in error.message:  # etcd's own limit, which the API server passes on as 500
                raise JobTooLarge from error
            # A quota or an admission policy: it may be lifted, so the step waits, and its Event says for what.
            refused = Event("Warning", "JobCreateFailed", error.message)
            apply.record(self._recorder, snapshot.step, [refused])
            raise

    async def _put_secret(self, wanted: dict[str, Any]) -> None:
        """Creates or replaces: an earlier attempt may have had other inputs."""
        secret = Secret(wanted)
        if not await apply.create(self._operator.client, secret):
            metadata = {key: wanted["metadata"][key] for key in ("labels", "annotations", "ownerReferences")}
            body = {"metadata": metadata, "stringData": wanted["stringData"]}
            await self._operator.client.patch(secret, apply.merge_patch(body))

    def _workload(self, snapshot: StepSnapshot, start: JobStart) -> Workload:
        run, story, engram, template = snapshot.run, snapshot.story, snapshot.engram, snapshot.template
        if run is None or story is None or engram is None or template is None:
            raise AssertionError("the engine starts a step only when everything that it names is there")
        return build_job(
            step=snapshot.step,
            run=run,
            story=story,
            engram=engram,
            template=template,
            config=snapshot.config,
            policy=start.policy,
            inputs=start.inputs,
            configuration=start.configuration,
            context=start.context,
            skip_templating=start.skip_templating,
            attempt=start.attempt,
            started_at=start.started_at,
            step_secrets=start.secrets,
        )
