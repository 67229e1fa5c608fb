"""Jobs on the embedded control plane: API server, Job controller and node together."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bobrapet.local.apiserver import ApiServer
from bobrapet.local.controllers import controllers
from bobrapet.local.node import ImageResolver, Node, NodeOptions
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig

JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"


class Cluster:
    def __init__(self, server: ApiServer) -> None:
        self.config = RestConfig(host=server.url, ca_data=server.ca_pem.encode(), token=server.admin_token)
        self.rest = RestClient(self.config)

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(await self.rest.request(method, path, None, json.dumps(body).encode() if body else None))

    async def job(self, script: str, *, ready: str = "", **spec: Any) -> None:
        """A Job of one shell script; its pod is ready once the command `ready` succeeds."""
        containers: list[dict[str, Any]] = [{"name": "engram", "image": "sh", "args": [script]}]
        if ready:
            containers[0]["readinessProbe"] = {"exec": {"command": ["sh", "-c", ready]}, "periodSeconds": 1}
        template = {"spec": {"restartPolicy": "Never", "containers": containers, "terminationGracePeriodSeconds": 1}}
        spec = {"backoffLimit": 0, "template": template, **spec}
        await self.request("POST", JOBS, {"metadata": {"name": "j"}, "spec": spec})

    async def until(self, path: str, wanted: Any, since: str = "") -> dict[str, Any]:
        """The object of the first event that is as wanted; `since`: a version before which nothing is looked at."""
        params = {"watch": "true", "resourceVersion": since}
        async with asyncio.timeout(120), self.rest.stream(path, params) as lines:
            async for line in lines:
                event = json.loads(line)
                if wanted(event):
                    return event["object"]  # type: ignore[no-any-return]
        raise AssertionError("the watch ended")

    async def ended(self) -> dict[str, Any]:
        return await self.until(JOBS, lambda event: {"Complete", "Failed"} & set(conditions(event["object"])))


def conditions(job: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["reason"] for entry in (job.get("status") or {}).get("conditions") or ()}


def is_deletion(event: dict[str, Any]) -> bool:
    return event["type"] == "DELETED"


def is_ready(event: dict[str, Any]) -> bool:
    found = (event["object"].get("status") or {}).get("conditions") or ()
    return any((entry["type"], entry["status"]) == ("Ready", "True") for entry in found)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        server = ApiServer()
        await server.start()
        stack.push_async_callback(server.stop)
        cluster = Cluster(server)
        await stack.enter_async_context(cluster.rest)
        images = ImageResolver({"sh": ("sh", "-c")})
        await stack.enter_async_context(Node(cluster.config, NodeOptions(data_dir=tmp_path, images=images)))
        manager = await controllers(cluster.config)
        running = asyncio.create_task(manager.start())
        yield cluster
        running.cancel()
        await asyncio.wait({running})


async def test_a_job_whose_process_succeeds_is_complete(cluster: Cluster) -> None:
    await cluster.job("exit 0")
    job = await cluster.ended()
    assert conditions(job)["Complete"] == "CompletionsReached"
    assert job["status"]["succeeded"] == 1


async def test_a_job_whose_process_fails_has_one_failed_pod_with_the_exit_code(cluster: Cluster) -> None:
    await cluster.job("exit 3")
    job = await cluster.ended()
    assert conditions(job)["Failed"] == "BackoffLimitExceeded"
    (pod,) = (await cluster.request("GET", PODS))["items"]
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == job["metadata"]["uid"]


async def test_a_job_past_its_deadline_kills_its_process_and_fails(cluster: Cluster) -> None:
    await cluster.job("trap '' TERM; while :; do sleep 0.05; done", activeDeadlineSeconds=3)
    job = await cluster.ended()
    assert conditions(job)["Failed"] == "DeadlineExceeded"
    assert job["status"]["failed"] == 1


async def test_a_deleted_job_takes_its_pod_and_process_along(cluster: Cluster, tmp_path: Path) -> None:
    child = tmp_path / "child"
    await cluster.job(f"sleep 600 & echo $! > {child}; wait", ready=f"test -s {child}")
    pod = await cluster.until(PODS, is_ready)
    await cluster.request("DELETE", f"{JOBS}/j", {"propagationPolicy": "Background"})
    await cluster.until(PODS, is_deletion, pod["metadata"]["resourceVersion"])
    with open(child) as file, pytest.raises(ProcessLookupError):  # noqa: ASYNC230
        os.kill(int(file.read()), 0)


async def test_a_pod_that_is_deleted_by_force_fails_a_job_without_retries(cluster: Cluster) -> None:
    await cluster.job("sleep 600")
    pod = await cluster.until(PODS, lambda event: (event["object"].get("status") or {}).get("phase") == "Running")
    await cluster.request("DELETE", f"{PODS}/{pod['metadata']['name']}", {"gracePeriodSeconds": 0})
    assert conditions(await cluster.ended())["Failed"] == "BackoffLimitExceeded"


async def test_an_ended_job_disappears_after_its_ttl_with_its_pods(cluster: Cluster) -> None:
    before = (await cluster.request("GET", JOBS))["metadata"]["resourceVersion"]
    await cluster.job("exit 0", ttlSecondsAfterFinished=1)
    await asyncio.gather(*(cluster.until(path, is_deletion, before) for path in (JOBS, PODS)))


async def test_an_indexed_job_tells_each_process_its_index(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.job(
        f"touch {tmp_path}/index-$JOB_COMPLETION_INDEX", completions=3, parallelism=2, completionMode="Indexed"
    )
    job = await cluster.ended()
    assert job["status"]["completedIndexes"] == "0-2"
    assert {"index-0", "index-1", "index-2"} <= set(os.listdir(tmp_path))
