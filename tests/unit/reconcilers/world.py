"""A cluster in memory around the run reconcilers, in virtual time: real client, CRD schemas, no network, no informers.

`settle` reconciles everything again and again until a whole round writes nothing, so each test also proves that passes
are idempotent. Components, Job controller and people are played by the test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from bobrapet.api import KINDS, StepRun, StoryRun
from bobrapet.api.crds import crd_manifests
from bobrapet.config.operator import OperatorConfig
from bobrapet.reconcilers import indexes
from bobrapet.reconcilers.apply import merge_patch
from bobrapet.reconcilers.builtin import Job, Pod
from bobrapet.reconcilers.operator import Operator, OutputStore
from bobrapet.reconcilers.steprun import StepRunReconciler
from bobrapet.reconcilers.stores import Stores
from bobrapet.reconcilers.storyrun import StoryRunReconciler
from bobrapet.runtime.client.client import ApiClient
from bobrapet.runtime.client.fake import ClientBuilder, FakeClient, FakeServer
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.errors import TransportError
from bobrapet.runtime.reconcile import Request
from tests.unit.reconcilers.objects import NAMESPACE, Recorder

Object = dict[str, Any]


class World:
    def __init__(
        self,
        *objects: Any,
        config: OperatorConfig | None = None,
        outputs: OutputStore | None = None,
        stores: Stores | None = None,
    ) -> None:
        self.clock = FakeClock()
        builder = ClientBuilder(self.clock).with_types(*KINDS).with_crds(*crd_manifests()).with_objects(*objects)
        for cls, field, extract in indexes.INDEXES:
            builder = builder.with_index(cls, field, extract)
        self.client: FakeClient = builder.build()
        self.recorder = Recorder()
        self.writes: list[str] = []
        self.before: Callable[[str], None] = lambda write: None
        """Called before each write of the operator; may raise, so that it does not happen."""
        self.after: Callable[[str], None] = lambda write: None
        """Called after each write of the operator; may raise, as when the answer is lost."""
        self.config = config or OperatorConfig()
        counting = _counting(self.client, self)
        self.operator = Operator(
            client=counting,
            live=counting,
            clock=self.clock,
            config=lambda: self.config,
            outputs=outputs,
            stores=stores or Stores(),
        )
        self.outputs = outputs
        self.storyruns = StoryRunReconciler(self.operator, self.recorder)
        self.stepruns = StepRunReconciler(self.operator, self.recorder)
        self.wake_at: datetime | None = None

    async def settle(self, rounds: int = 30) -> None:
        """Reconciles all runs and steps until nothing is written any more."""
        for _ in range(rounds):
            before = len(self.writes)
            wakes = [await self._pass(self.storyruns, run) for run in await self._all(StoryRun)]
            wakes += [await self._pass(self.stepruns, step) for step in await self._all(StepRun)]
            self._collect_garbage()
            if len(self.writes) == before:
                due = [wake for wake in wakes if wake]
                self.wake_at = self.clock.now() + timedelta(seconds=min(due)) if due else None
                return
        raise AssertionError(f"still writing after {rounds} rounds: {self.writes[-10:]}")

    async def sleep(self, seconds: float) -> None:
        """Lets time pass, stopping wherever a reconciler asked to be woken."""
        end = self.clock.now() + timedelta(seconds=seconds)
        await self.settle()
        while self.wake_at is not None and self.wake_at <= end:
            await self.clock.advance(max(0.0, (self.wake_at - self.clock.now()).total_seconds()))
            await self.settle()
        await self.clock.advance(max(0.0, (end - self.clock.now()).total_seconds()))
        await self.settle()

    @property
    def cost(self) -> int:
        """Writes of the operator so far, Events included."""
        return len(self.writes) + len(self.recorder.events)

    # What the test looks at.

    async def run(self, name: str = "run1") -> StoryRun:
        return await self.client.get(StoryRun, ObjectKey(NAMESPACE, name))

    async def step(self, name: str) -> StepRun:
        return await self.client.get(StepRun, ObjectKey(NAMESPACE, name))

    async def job(self, name: str) -> Unstructured | None:
        return await get_or_none(self.client, Job, ObjectKey(NAMESPACE, name))

    async def environment(self, step: str) -> dict[str, str]:
        job = await self.job(step)
        assert job is not None
        (container,) = job.get("spec", "template", "spec", "containers")
        return {entry["name"]: entry.get("value", "") for entry in container["env"]}

    # What the rest of the cluster does.

    async def component_reports(self, step: str, **status: Any) -> None:
        """The component patches its StepRun, as the SDK does."""
        await self._patch_status(StepRun, step, status)

    async def job_ends(self, step: str, condition: str, exit_code: int | None = None) -> None:
        """The Job controller reports; with an exit code there is a pod that tells it."""
        job = await self.job(step)
        assert job is not None
        if exit_code is not None:
            await self.pod(step, "Succeeded" if exit_code == 0 else "Failed", exit_code)
        await self._patch_status(Job, step, {"conditions": [{"type": condition, "status": "True"}]})

    async def pod(self, step: str, phase: str, exit_code: int | None = None, name: str | None = None) -> None:
        job = await self.job(step)
        assert job is not None
        template = job.get("spec", "template", "metadata")
        uid = job.metadata.uid
        state: Object = {"terminated": {"exitCode": exit_code, "reason": "Error"}} if exit_code is not None else {}
        created = await self.client.create(
            Pod(
                {
                    "metadata": {
                        "name": name or f"{step}-x1",
                        "namespace": NAMESPACE,
                        "labels": {
                            **template["labels"],
                            "batch.kubernetes.io/job-name": step,
                            "batch.kubernetes.io/controller-uid": uid,
                        },
                        "annotations": template.get("annotations", {}),
                        "ownerReferences": [
                            {"apiVersion": "batch/v1", "kind": "Job", "name": step, "uid": uid, "controller": True}
                        ],
                    },
                    "spec": {"containers": [{"name": "engram"}]},
                }
            )
        )
        status = {"phase": phase, "containerStatuses": [{"name": "engram", "state": state}]}
        await self._patch_status(Pod, created.metadata.name, status)

    def forget(self, resource: str, name: str) -> None:
        """Somebody deleted the object, with whatever belongs to it."""
        (gvr,) = (gvr for gvr in self.client.tracker._collections if gvr.resource == resource)
        del self.client.tracker._of(gvr).objects[ObjectKey(NAMESPACE, name)]
        self._collect_garbage()

    async def _patch_status(self, cls: type[Any], name: str, status: Mapping[str, Any]) -> None:
        obj = await self.client.get(cls, ObjectKey(NAMESPACE, name))
        await self.client.status().patch(obj, merge_patch({"status": status}))

    async def _pass(self, reconciler: Any, obj: Any) -> float:
        try:
            result = await reconciler.reconcile(Request(*ObjectKey.of(obj)))
        except TransportError:
            # The runtime would try again after its back-off; here the next round does. Nothing is settled yet.
            self.writes.append("failed")
            return 0.0
        return 0.0 if result is None else result.requeue_after

    async def _all(self, cls: type[Any]) -> list[Any]:
        return (await self.client.list(cls)).items

    def _collect_garbage(self) -> None:
        """Objects go with their owner, as the garbage collector of a cluster has it."""
        while self._sweep():
            pass

    def _sweep(self) -> bool:
        tracker = self.client.tracker
        found = [(gvr, change) for gvr in list(tracker._collections) for change in tracker._of(gvr).objects.values()]
        uids = {obj["metadata"]["uid"] for _, obj in found}
        for gvr, obj in found:
            owners = obj["metadata"].get("ownerReferences", [])
            if owners and not any(owner["uid"] in uids for owner in owners):
                del tracker._of(gvr).objects[ObjectKey(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])]
                return True
        return False


def _counting(client: FakeClient, world: World) -> Any:
    """The operator's own client on the same server, with every write noted and, if the test wants, failed."""
    server: FakeServer = client.server

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(server, name)

        async def request(self, method: str, path: str, *arguments: Any, **options: Any) -> Any:
            if method != "GET":
                write = f"{method} {path.split('/namespaces/')[-1]}"
                world.writes.append(write)
                world.before(write)
                answer = await server.request(method, path, *arguments, **options)
                world.after(write)
                return answer
            return await server.request(method, path, *arguments, **options)

    return ApiClient(Counting(), client.scheme, server.mapper)  # type: ignore[arg-type]
