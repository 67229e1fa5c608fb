"""Executes StepRuns as Jobs and judges what comes back (seed: controller ownership map, row StepRun)."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from bobrapet.api import StepRun
from bobrapet.engine import steprun as engine
from bobrapet.engine.plans import CacheRead, CacheWrite, Delete, JobStart, StepPlan
from bobrapet.engine.snapshot import StepSnapshot
from bobrapet.reconcilers import apply, payloads
from bobrapet.reconcilers.builtin import Job, Secret
from bobrapet.reconcilers.metrics import Meter
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.rbac import PATCH_STATUS, READ, Rule
from bobrapet.reconcilers.snapshots import step_snapshot, with_confirmed_references
from bobrapet.reconcilers.stepoutputs import log_output
from bobrapet.reconcilers.storagesecret import StorageSecrets
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey, PartialObjectMetadata
from bobrapet.runtime.errors import ApiError, Conflict, RequestEntityTooLarge
from bobrapet.runtime.log.log import get_logger
from bobrapet.runtime.reconcile import Request, Result
from bobrapet.storage import Retriable
from bobrapet.workloads.environment import encode
from bobrapet.workloads.job import Workload, build_job

RBAC: Final = (
    Rule("runs.bubustack.io", ("stepruns",), (*READ, "create", "patch")),
    Rule("bubustack.io", ("engrams",), ("create",)),  # the one that evaluates templates, where it is missing
    Rule("runs.bubustack.io", ("stepruns/status",), PATCH_STATUS),
    Rule("runs.bubustack.io", ("stepruns/finalizers",), ("update",)),
    Rule("batch", ("jobs",), (*READ, "create", "delete")),
    Rule("", ("pods",), READ),
    Rule("", ("secrets",), ("create", "get", "patch")),  # get: whether a TLS Secret is there
)


SecretMetadata: Final = PartialObjectMetadata.of("v1", "Secret")  # whether one is there, never what is in it

log = get_logger("steprun")


class JobTooLarge(Exception):
    """The API server does not take the Job because of its size."""

    def __init__(self, context_bytes: int) -> None:
        super().__init__(f"the template context has {context_bytes} bytes")
        self.context_bytes = context_bytes


class StepRunReconciler:
    """Gathers a step with its Job and pods, lets the engine plan, and applies the plan."""

    def __init__(self, operator: Operator, recorder: Any) -> None:
        self._operator = operator
        self._recorder = recorder
        self._meter = Meter(operator.config)
        self._storage_secrets = StorageSecrets()

    async def reconcile(self, request: Request) -> Result:
        step = await get_or_none(self._operator.client, StepRun, request.key)
        if step is None:
            return Result()
        self._operator.echoes.looked_at(step)
        try:
            plan = await self._drive(step)
        except Conflict:
            return apply.AGAIN
        return apply.woken(plan, self._operator.clock.now())

    async def _drive(self, step: StepRun) -> StepPlan:
        snapshot = await step_snapshot(self._operator, step)
        try:
            snapshot = await payloads.with_storage(self._operator, snapshot)
            plan = engine.plan(snapshot, self._operator.clock.now())
            while plan.is_question:
                answered = await self._answer(snapshot, plan)
                if answered is None:
                    return StepPlan()
                snapshot, asked = answered, plan
                plan = engine.plan(snapshot, self._operator.clock.now())
                if plan == asked:
                    raise AssertionError(f"the engine asks again what it was told: {plan}")
            if plan.start is not None:
                namespace = step.metadata.namespace or ""
                await self._storage_secrets.ensure(self._operator, plan.start.policy.storage.value, namespace)
            plan = await payloads.with_offloaded_inputs(self._operator, snapshot, plan)
        except Retriable as error:
            now = self._operator.clock.now()
            plan = engine.storage_unavailable(snapshot, now, str(error), now + payloads.RETRY_AFTER)
        return await self._apply(snapshot, plan)

    async def _answer(self, snapshot: StepSnapshot, plan: StepPlan) -> StepSnapshot | None:
        """The snapshot with what the plan asks for; None when the StepRun is gone. Raises Retriable."""
        namespace = snapshot.step.metadata.namespace or ""
        if plan.confirm_job:
            key = ObjectKey.of(snapshot.step)
            fresh = await get_or_none(self._operator.live, StepRun, key)
            job = await get_or_none(self._operator.live, Job, key)
            if fresh is None:
                return None
            return dataclasses.replace(
                snapshot,
                step=fresh,
                job=job.object if job is not None else None,
                job_confirmed_absent=job is None,
                job_confirmed=True,
            )
        if plan.confirm_references:
            return await with_confirmed_references(self._operator, snapshot)
        if plan.look_for:
            found = {
                name: await get_or_none(self._operator.live, SecretMetadata, ObjectKey(namespace, name)) is not None
                for name in plan.look_for
            }
            return dataclasses.replace(snapshot, secrets={**snapshot.secrets, **found})
        if plan.load:
            return await payloads.loaded(self._operator, snapshot, plan.load)
        assert plan.cache_read is not None
        body = await self._cached(plan.cache_read, namespace)
        return dataclasses.replace(snapshot, cached={**snapshot.cached, plan.cache_read.path: body})

    async def _apply(self, snapshot: StepSnapshot, plan: StepPlan) -> StepPlan:
        """Applies the plan, and returns the one that counts in the end."""
        client, step = self._operator.client, snapshot.step
        namespace = step.metadata.namespace or ""
        fence = apply.Fence(client, step, self._operator.echoes)
        await fence.patch(plan.metadata)
        await fence.patch_status(plan.status)
        if plan.materialize is not None:
            await apply.create(client, plan.materialize.engram)
            await apply.create(client, plan.materialize.steprun)
        if plan.start is not None:
            try:
                is_new = await self._start(snapshot, plan.start)
            except JobTooLarge as refused:
                snapshot = dataclasses.replace(snapshot, step=fence.current)
                plan = engine.too_large(snapshot, self._operator.clock.now(), context_bytes=refused.context_bytes)
                await fence.patch_status(plan.status)
            except ApiError as error:
                # A quota or an admission policy: it may be lifted, so the step waits, and says for what.
                snapshot = dataclasses.replace(snapshot, step=fence.current)
                refusal = engine.not_created(snapshot, error.message, self._operator.clock.now())
                await fence.patch_status(refusal.status)
                apply.record(self._recorder, step, refusal.events)
                raise
            else:
                if is_new and plan.after_start is not None:
                    await apply.annotate(client, namespace, plan.after_start)
        if plan.cache_write is not None:
            await self._store(plan.cache_write, namespace)

        async def remove(target: Delete) -> None:
            await apply.delete(client, namespace, target)

        await apply.each(plan.deletes, remove)
        apply.record(self._recorder, step, plan.events)
        self._meter.step_applied(snapshot, plan, self._operator.clock.now())
        log_output(snapshot, plan)
        if self._operator.tracer is not None:
            self._operator.tracer.step_applied(snapshot, plan)
        return plan

    async def _start(self, snapshot: StepSnapshot, start: JobStart) -> bool:
        """Creates the Job, and before it the Secret for large inputs. Says whether the Job is new."""
        workload = self._workload(snapshot, start)
        try:
            if workload.secret is not None:
                await self._put_secret(workload.secret)
            return await apply.create(self._operator.client, Job(workload.job))
        except ApiError as error:
            # etcd's own limit is passed on by the API server as 500.
            if isinstance(error, RequestEntityTooLarge) or "request is too large" in error.message:
                raise JobTooLarge(len(encode(start.context or {}))) from error
            raise

    async def _cached(self, wanted: CacheRead, namespace: str) -> bytes | None:
        assert self._operator.outputs is not None
        try:
            return await self._operator.outputs.read(wanted.store, namespace, wanted.path)
        except Exception as error:  # the cache never fails a step (workloads 17.4)
            log.warning("cached output cannot be read", path=wanted.path, error=str(error))
            return None

    async def _store(self, output: CacheWrite, namespace: str) -> None:
        assert self._operator.outputs is not None
        try:
            await self._operator.outputs.write(output.store, namespace, output.path, output.body)
        except Exception as error:  # the cache never fails a step (workloads 17.4)
            log.warning("output cannot be cached", path=output.path, error=str(error))
            return
        await apply.annotate(self._operator.client, namespace, output.mark)

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
