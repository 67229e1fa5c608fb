"""Carries out what `job.plan` says: reads a Job and its pods, and applies the plan."""

from __future__ import annotations

import logging
from typing import Any

from bobrapet.runtime.client.interfaces import Client, get_or_none, ignore_not_found
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.client.options import Preconditions
from bobrapet.runtime.clock import Clock
from bobrapet.runtime.errors import AlreadyExists
from bobrapet.runtime.reconcile import Request, Result
from bobrapet.runtime.recorder.recorder import NORMAL, WARNING, EventRecorder

from .job import Plan, controller_of, plan

log = logging.getLogger(__name__)

Job = Unstructured.of("batch/v1", "Job")
Pod = Unstructured.of("v1", "Pod")


class JobReconciler:
    """Brings pods and status of a Job to what its spec asks for.

    `client` must read its own writes. Every write may be repeated.
    """

    def __init__(self, client: Client, events: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._events = events
        self._clock = clock

    async def reconcile(self, request: Request) -> Result:
        job = await get_or_none(self._client, Job, request.key)
        if job is None:
            return Result()
        now = self._clock.now()
        planned = plan(job.object, await self._pods_of(job), now)
        await self._apply(job, planned)
        if planned.wake_at is None:
            return Result()
        return Result(requeue_after=max((planned.wake_at - now).total_seconds(), 0.001))

    async def _pods_of(self, job: Unstructured) -> list[dict[str, Any]]:
        labels = {"batch.kubernetes.io/controller-uid": job.metadata.uid or ""}
        listed = await self._client.list(Pod, namespace=job.metadata.namespace, labels=labels)
        return [pod.object for pod in listed if _controlled_by(pod.object, job)]

    async def _apply(self, job: Unstructured, planned: Plan) -> None:
        for pod in planned.create:
            created = await self._create(job, pod)
            if created is not None:
                self._events.event(job, created, NORMAL, "SuccessfulCreate", "Create", f"Created pod: {_name(created)}")
        if planned.status is not None:
            changed = job.deep_copy()
            changed.object["status"] = planned.status
            # Based on the version that was planned on: a plan from an outdated Job is refused, and made anew.
            await self._client.status().update(changed)
            self._tell_end(job, planned.status)
        for doomed in planned.delete:
            with ignore_not_found():
                same_pod = Preconditions(uid=doomed["metadata"]["uid"])
                await self._client.delete(Pod(dict(doomed)), preconditions=same_pod)
                note = f"Deleted pod: {doomed['metadata']['name']}"
                self._events.event(job, None, NORMAL, "SuccessfulDelete", "Delete", note)
        if planned.expired:
            with ignore_not_found():
                meta = job.metadata
                same = Preconditions(uid=meta.uid, resource_version=meta.resource_version)
                await self._client.delete(job, preconditions=same, propagation_policy="Background")

    async def _create(self, job: Unstructured, pod: dict[str, Any]) -> Unstructured | None:
        """The new pod; None when it had been created before, by a request whose answer was lost."""
        try:
            return await self._client.create(Pod(pod))
        except AlreadyExists:
            key = ObjectKey(pod["metadata"]["namespace"], pod["metadata"]["name"])
            existing = await get_or_none(self._client, Pod, key)
            if existing is not None and _controlled_by(existing.object, job):
                return None
            # Somebody else has the name; another one is as good.
            meta = {key: value for key, value in pod["metadata"].items() if key != "name"}
            return await self._client.create(Pod({**pod, "metadata": meta}))

    def _tell_end(self, job: Unstructured, status: dict[str, Any]) -> None:
        for condition in status.get("conditions") or ():
            if condition["type"] == "Complete":
                self._events.event(job, None, NORMAL, "Completed", "Complete", "Job completed")
            elif condition["type"] == "Failed":
                self._events.event(job, None, WARNING, condition["reason"], "Fail", condition["message"])


def _name(pod: Unstructured) -> str:
    return pod.metadata.name or ""


def _controlled_by(pod: dict[str, Any], job: Unstructured) -> bool:
    owner = controller_of(pod)
    return owner is not None and owner.get("uid") == job.metadata.uid
