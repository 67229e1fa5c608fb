from __future__ import annotations

from typing import Any

import pytest

from bobrapet.local.controllers.job_controller import Job, JobReconciler, Pod
from bobrapet.runtime.client.fake.client import ClientBuilder, FakeClient
from bobrapet.runtime.client.object import ObjectKey, Unstructured
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.errors import Conflict, NotFound
from bobrapet.runtime.reconcile import Request, Result

KEY = ObjectKey("ns", "j")


def a_job(**spec: Any) -> Unstructured:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "tool"}]}}
    meta = {"name": "j", "namespace": "ns", "uid": "job-uid"}
    spec = {"backoffLimit": 0, "completions": 1, "parallelism": 1, "template": template, **spec}
    return Job({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec})


class Setting:
    """A Job on a fake server with its reconciler."""

    def __init__(self, *objects: Any, **spec: Any) -> None:
        self.clock = FakeClock()
        self.client: FakeClient = ClientBuilder(self.clock).with_objects(a_job(**spec), *objects).build()
        self.events: list[str] = []
        self.reconciler = JobReconciler(self.client, self, self.clock)

    def event(self, regarding: Any, related: Any, type: str, reason: str, action: str, note: str, **_: Any) -> None:
        self.events.append(f"{type} {reason}")

    async def reconcile(self) -> Result:
        return await self.reconciler.reconcile(Request("ns", "j"))

    async def job(self) -> dict[str, Any]:
        return (await self.client.get(Job, KEY)).object

    async def pods(self) -> list[Unstructured]:
        return list(await self.client.list(Pod, namespace="ns"))

    async def ends(self, pod: Unstructured, phase: str) -> None:
        ended = pod.deep_copy()
        ended.object["status"] = {"phase": phase}
        await self.client.status().update(ended)


async def test_a_job_runs_to_its_end_in_two_passes() -> None:
    setting = Setting()
    await setting.reconcile()
    (pod,) = await setting.pods()
    assert (await setting.job())["status"]["active"] == 1
    await setting.ends(pod, "Succeeded")
    await setting.reconcile()
    status = (await setting.job())["status"]
    assert [entry["type"] for entry in status["conditions"]] == ["SuccessCriteriaMet", "Complete"]
    assert len(await setting.pods()) == 1
    assert setting.events == ["Normal SuccessfulCreate", "Normal Completed"]


async def test_a_pass_without_news_writes_nothing() -> None:
    setting = Setting()
    await setting.reconcile()
    before = (await setting.job())["metadata"]["resourceVersion"]
    await setting.reconcile()
    assert (await setting.job())["metadata"]["resourceVersion"] == before
    assert len(await setting.pods()) == 1


async def test_it_comes_back_exactly_at_the_deadline_and_removes_the_pod() -> None:
    setting = Setting(activeDeadlineSeconds=60)
    assert (await setting.reconcile()).requeue_after == 60
    await setting.clock.advance(60)
    await setting.reconcile()
    conditions = (await setting.job())["status"]["conditions"]
    assert {entry["reason"] for entry in conditions} == {"DeadlineExceeded"}
    assert setting.events == ["Normal SuccessfulCreate", "Normal SuccessfulDelete"]
    assert all(pod.metadata.deletion_timestamp for pod in await setting.pods())


async def test_an_expired_job_is_deleted() -> None:
    setting = Setting(ttlSecondsAfterFinished=5)
    await setting.reconcile()
    await setting.ends((await setting.pods())[0], "Succeeded")
    assert (await setting.reconcile()).requeue_after == 5
    await setting.clock.advance(5)
    await setting.reconcile()
    with pytest.raises(NotFound):
        await setting.job()
    assert await setting.reconcile() == Result()


async def test_a_name_that_somebody_else_has_is_evaded() -> None:
    other = Setting()
    await other.reconcile()
    name = (await other.pods())[0].metadata.name
    squatter = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": {}}
    setting = Setting(Pod(squatter))
    await setting.reconcile()
    owned = [pod for pod in await setting.pods() if pod.metadata.owner_references]
    assert len(owned) == 1
    assert owned[0].metadata.name != name


async def test_a_plan_made_on_an_outdated_job_is_refused() -> None:
    setting = Setting()
    stale = await setting.client.get(Job, KEY)

    class Stale:
        """Reads the Job as it was, everything else as it is."""

        async def get(self, cls: Any, key: Any) -> Any:
            return stale

        def __getattr__(self, name: str) -> Any:
            return getattr(setting.client, name)

    await setting.reconcile()
    await setting.ends((await setting.pods())[0], "Failed")
    with pytest.raises(Conflict):
        await JobReconciler(Stale(), setting, setting.clock).reconcile(Request("ns", "j"))  # type: ignore[arg-type]
    assert len(await setting.pods()) == 1
