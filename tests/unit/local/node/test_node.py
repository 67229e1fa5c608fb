"""The node against the embedded API server: pods in, processes, status and logs out."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bobrapet.local.apiserver import ApiServer
from bobrapet.local.node import ImageResolver, LogUnavailable, Node, NodeOptions, cgroups, processes
from bobrapet.local.node.services import Backoff
from bobrapet.runtime.clock import FakeClock
from bobrapet.runtime.errors import NotFound
from bobrapet.runtime.rest.client import RestClient
from bobrapet.runtime.rest.config import RestConfig

from .pods import container

FAST = Backoff(initial=0.05, limit=0.2)
Pod = dict[str, Any]


class Cluster:
    """An API server, a node, and the few verbs that the tests need."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.config = RestConfig(host=server.url, ca_data=server.ca_pem.encode(), token=server.admin_token)
        self.rest = RestClient(self.config)
        self.folder = folder
        self.node: Node | None = None

    async def start_node(self, **options: Any) -> Node:
        images = ImageResolver({"sh": ("sh", "-c")})
        settings = {"data_dir": self.folder, "images": images, "setup_backoff": FAST, "crash_backoff": FAST, **options}
        self.node = Node(self.config, NodeOptions(**settings))
        await self.node.start()
        return self.node

    async def kill_node(self) -> None:
        """The node ends as by SIGKILL: nothing is reported, its processes die."""
        assert self.node is not None
        for task in (*self.node._background, *self.node._tasks):
            task.cancel()
        await self.node._launcher.aclose()
        await self.node._client.close()
        self.node = None

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return json.loads(await self.rest.request(method, f"/api/v1/namespaces/default/{path}", None, data))

    async def run(self, script: str, name: str = "p", **fields: Any) -> Pod:
        """Creates a pod with one container that runs a shell script."""
        return await self.create(container(image="sh:1", args=[script], **fields), name=name)

    async def create(self, *containers: Pod, name: str = "p", **spec: Any) -> Pod:
        spec = {"restartPolicy": "Never", "containers": list(containers), **spec}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"a": "b"}}, "spec": spec}
        return await self.request("POST", "pods", pod)  # type: ignore[no-any-return]

    async def delete(self, name: str = "p", grace: int | None = None) -> None:
        await self.request("DELETE", f"pods/{name}", {} if grace is None else {"gracePeriodSeconds": grace})

    async def until(self, condition: Callable[[Pod], Any], name: str = "p") -> Pod:
        """The first version of the pod that meets the condition."""
        params = {"watch": "true", "fieldSelector": f"metadata.name={name}"}
        async with asyncio.timeout(90), self.rest.stream("/api/v1/namespaces/default/pods", params) as lines:
            async for line in lines:
                pod: Pod = json.loads(line)["object"]
                if condition(pod):
                    return pod
        raise AssertionError("the watch ended")

    async def ended(self, name: str = "p") -> Pod:
        return await self.until(lambda pod: phase(pod) in ("Succeeded", "Failed"), name)

    async def gone(self, name: str = "p") -> None:
        path, chosen = "/api/v1/namespaces/default/pods", {"fieldSelector": f"metadata.name={name}"}
        listed = json.loads(await self.rest.request("GET", path, chosen))
        if not listed["items"]:
            return
        params = {**chosen, "watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
        async with asyncio.timeout(90), self.rest.stream(path, params) as lines:
            async for line in lines:
                if json.loads(line)["type"] == "DELETED":
                    return
        raise AssertionError("the watch ended")

    async def recorded(self, reason: str) -> bool:
        """Whether the node has an Event with the reason to tell; what is still on its way is waited for."""
        assert self.node is not None
        if self.node._events._tasks:
            await asyncio.wait(self.node._events._tasks)
        return any(event["reason"] == reason for event in (await self.request("GET", "events"))["items"])

    async def logs(self, name: str = "p", container: str | None = None, **options: Any) -> str:
        assert self.node is not None
        stream = await self.node.logs.open("default", name, container, **options)
        return b"".join([chunk async for chunk in stream]).decode()


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    # Without a control group a SIGKILL is blamed on what the whole machine ran out of, which other tests see to.
    monkeypatch.setattr(processes, "_oom_kills", lambda: 0)
    async with AsyncExitStack() as stack:
        server = ApiServer()
        await server.start()
        stack.push_async_callback(server.stop)
        cluster = Cluster(server, tmp_path)
        stack.push_async_callback(cluster.rest.close)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        try:
            await cluster.request("GET", "serviceaccounts/default")
        except NotFound:
            await cluster.request("POST", "serviceaccounts", account)
        await cluster.start_node()
        yield cluster
        if cluster.node is not None:
            await cluster.node.stop()


def phase(pod: Pod) -> str:
    return str((pod.get("status") or {}).get("phase"))


def states(pod: Pod, field: str = "containerStatuses") -> dict[str, Pod]:
    return {entry["name"]: entry["state"] for entry in (pod.get("status") or {}).get(field) or ()}


def waiting(reason: str) -> Callable[[Pod], Any]:
    return lambda pod: any(state.get("waiting", {}).get("reason") == reason for state in states(pod).values())


def exit_code(pod: Pod, name: str = "engram") -> int:
    return int(states(pod)[name]["terminated"]["exitCode"])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_pod_is_bound_run_reported_and_its_output_kept(cluster: Cluster) -> None:
    await cluster.run("echo out; echo err >&2")
    pod = await cluster.ended()
    assert phase(pod) == "Succeeded"
    assert pod["spec"]["nodeName"] == "local"
    ended = states(pod)["engram"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed")
    assert ended["startedAt"] <= ended["finishedAt"]
    assert [entry["status"] for entry in pod["status"]["conditions"] if entry["type"] == "PodScheduled"] == ["True"]
    assert pod["metadata"]["generation"] == 1
    assert (pod["status"]["podIP"], pod["status"]["hostIP"]) == ("127.0.0.1", "127.0.0.1")
    assert sorted((await cluster.logs()).splitlines()) == ["err", "out"]


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$$$", 137), ("kill -15 $$$$", 143)])
async def test_a_failed_container_is_reported_with_its_exit_code(cluster: Cluster, script: str, code: int) -> None:
    await cluster.run(script)
    pod = await cluster.ended()
    assert phase(pod) == "Failed"
    assert exit_code(pod) == code
    assert states(pod)["engram"]["terminated"]["reason"] == "Error"


async def test_a_container_finds_its_credentials_as_on_a_cluster(cluster: Cluster) -> None:
    script = """
        here=$BUBU_POD_ROOT/var/run/secrets/kubernetes.io/serviceaccount
        cat $here/namespace; echo; test -s $here/token; test -s $here/ca.crt; test -w $TMPDIR
        echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT; cat $KUBECONFIG
    """
    await cluster.run(script)
    assert phase(await cluster.ended()) == "Succeeded"
    namespace, address, *kubeconfig = (await cluster.logs()).splitlines()
    assert namespace == "default"
    assert f"https://{address}" == cluster.config.host
    assert json.loads("\n".join(kubeconfig))["users"][0]["user"] == {"tokenFile": "token"}


async def test_the_environment_of_the_node_stays_with_the_node(
    cluster: Cluster,
) -> None:
    await cluster.run("env")
    await cluster.ended()
    names = {line.partition("=")[0] for line in (await cluster.logs()).splitlines()}
    assert "PATH" in names
    assert "PYTEST_CURRENT_TEST" in os.environ
    assert "PYTEST_CURRENT_TEST" not in names


async def test_a_secret_that_comes_later_heals_the_pod(cluster: Cluster) -> None:
    reference = {"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    await cluster.run("test $V = hush && cat $BUBU_POD_ROOT/etc/s/k", env=[reference], volumeMounts=[])
    pod = await cluster.until(waiting("CreateContainerConfigError"))
    assert states(pod)["engram"]["waiting"]["message"] == 'secret "s" not found'
    assert phase(pod) == "Pending"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "aHVzaA=="}}
    await cluster.request("POST", "secrets", secret)
    assert exit_code(await cluster.ended()) == 1  # no such mount


async def test_a_pod_that_finds_no_room_on_the_disk_says_so_and_goes_on_when_there_is(
    cluster: Cluster, tmp_path: Path
) -> None:
    obstacle = tmp_path / "claims"
    obstacle.touch()  # a file where a folder has to be: the same OSError path as a full disk
    await cluster.create(
        container(image="sh:1", args=["exit 0"]),
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}],
    )
    pod = await cluster.until(waiting("ContainerCreating"))
    assert str(obstacle) in states(pod)["engram"]["waiting"]["message"]
    obstacle.unlink()
    assert phase(await cluster.ended()) == "Succeeded"


async def test_volumes_are_found_below_the_root_and_shared_by_containers(cluster: Cluster) -> None:
    await cluster.request(
        "POST", "configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}}
    )
    mounts = [{"name": "c", "mountPath": "/etc/c"}, {"name": "work", "mountPath": "/work"}]
    await cluster.create(
        container("engram", "sh:1", args=["cat $BUBU_POD_ROOT/work/x"], volumeMounts=mounts),
        initContainers=[
            container("first", "sh:1", args=["cat $BUBU_POD_ROOT/etc/c/k > $BUBU_POD_ROOT/work/x"], volumeMounts=mounts)
        ],
        volumes=[{"name": "c", "configMap": {"name": "c"}}, {"name": "work", "emptyDir": {}}],
    )
    pod = await cluster.ended()
    assert phase(pod) == "Succeeded"
    assert states(pod, "initContainerStatuses")["first"]["terminated"]["exitCode"] == 0
    assert await cluster.logs(container="engram") == "v"


async def test_a_failed_init_container_fails_the_pod_and_the_others_never_start(cluster: Cluster) -> None:
    await cluster.create(
        container("engram", "sh:1", args=["echo never"]), initContainers=[container("first", "sh:1", args=["exit 5"])]
    )
    pod = await cluster.ended()
    assert phase(pod) == "Failed"
    assert "waiting" in states(pod)["engram"]
    with pytest.raises(LogUnavailable, match="is waiting to start"):
        await cluster.logs(container="engram")


async def test_a_sidecar_serves_the_others_and_ends_with_them(cluster: Cluster) -> None:
    mounts = [{"name": "w", "mountPath": "/w"}]
    sidecar = container(
        "sidecar",
        "sh:1",
        args=["trap 'exit 0' TERM; touch $BUBU_POD_ROOT/w/ready; while :; do sleep 0.05; done"],
        volumeMounts=mounts,
        restartPolicy="Always",
    )
    await cluster.create(
        container(
            "engram", "sh:1", args=["until test -e $BUBU_POD_ROOT/w/ready; do sleep 0.01; done"], volumeMounts=mounts
        ),
        initContainers=[sidecar],
        volumes=[{"name": "w", "emptyDir": {}}],
    )
    pod = await cluster.ended()
    assert phase(pod) == "Succeeded"
    assert states(pod, "initContainerStatuses")["sidecar"]["terminated"]["exitCode"] == 0


async def test_an_image_that_nobody_provides_tells_flag_and_entry_point(cluster: Cluster) -> None:
    await cluster.create(container(image="ghcr.io/who/knows:1"))
    pod = await cluster.until(waiting("ErrImagePull"))
    message = states(pod)["engram"]["waiting"]["message"]
    assert "--image ghcr.io/who/knows:1=COMMAND" in message
    assert "bobrapet.images" in message
    assert phase(pod) == "Pending"
    await cluster.delete()
    await cluster.gone()


async def test_a_command_that_cannot_be_executed_fails_the_pod(cluster: Cluster) -> None:
    await cluster.create(container(image="sh:1", command=["/no/such/program"]))
    pod = await cluster.ended()
    ended = states(pod)["engram"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "No such file or directory" in ended["message"]


async def test_a_deleted_pod_may_end_its_work_and_is_removed_afterwards(cluster: Cluster) -> None:
    await cluster.run("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    stream = await follow_until(cluster, "ready")
    await cluster.delete(grace=300)
    assert "bye" in "".join([chunk.decode() async for chunk in stream])
    await cluster.gone()
    await cluster.run("exit 0", name="later")
    await cluster.ended("later")  # the node heard of the first pod's end before it heard of this one
    assert [folder.name.split("_")[1] for folder in (cluster.folder / "pods").iterdir()] == ["later"]


async def test_a_deleted_pod_that_does_not_listen_is_killed_after_its_grace_period_with_all_it_started(
    cluster: Cluster,
) -> None:
    await cluster.run("trap '' TERM; (setsid sleep 600 & echo $!); echo ready; while :; do sleep 0.05; done")
    assert cluster.node is not None
    await follow_until(cluster, "ready")
    child = int((await cluster.logs()).splitlines()[0])
    assert alive(child)
    await cluster.delete(grace=1)
    await cluster.gone()
    assert not alive(child)


async def test_a_pod_whose_container_waits_to_be_restarted_goes_at_once_when_it_is_deleted(cluster: Cluster) -> None:
    assert cluster.node is not None
    await cluster.node.stop()
    await cluster.start_node(crash_backoff=Backoff(initial=600, limit=600))
    await cluster.create(container(image="sh:1", args=["exit 1"]), restartPolicy="Always")
    pod = await cluster.until(waiting("CrashLoopBackOff"))
    assert pod["status"]["phase"] == "Running"
    await cluster.delete()
    await cluster.gone()


async def test_a_pod_past_its_deadline_fails_with_the_reason(cluster: Cluster) -> None:
    assert cluster.node is not None
    await cluster.node.stop()
    clock = FakeClock()
    await cluster.start_node(clock=clock)
    await cluster.create(container(image="sh:1", args=["sleep 600"]), activeDeadlineSeconds=100)
    await cluster.until(lambda pod: phase(pod) == "Running")
    await clock.advance(99)
    assert phase(await cluster.request("GET", "pods/p")) == "Running"
    await clock.advance(1)
    pod = await cluster.ended()
    assert (phase(pod), pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert exit_code(pod) == 143


async def test_a_failed_container_is_started_again_under_on_failure(cluster: Cluster) -> None:
    script = """
        cd $BUBU_POD_ROOT/w
        echo once; test -e second && exit 0; test -e first && touch second; touch first; exit 1
    """
    await cluster.create(
        container(image="sh:1", args=[script], volumeMounts=[{"name": "w", "mountPath": "/w"}]),
        restartPolicy="OnFailure",
        volumes=[{"name": "w", "emptyDir": {}}],
    )
    pod = await cluster.ended()
    (status,) = pod["status"]["containerStatuses"]
    assert phase(pod) == "Succeeded"
    assert status["restartCount"] == 2
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert await cluster.logs(previous=True) == "once\n"


async def test_what_ran_when_the_node_was_killed_is_reported_by_the_next_one(cluster: Cluster) -> None:
    await cluster.run("echo $$$$; sleep 600")
    pod = await cluster.until(lambda pod: phase(pod) == "Running")
    await follow_until(cluster, "\n")
    pid = int(await cluster.logs())
    await cluster.kill_node()
    assert not alive(pid)
    await cluster.start_node()
    pod = await cluster.ended()
    assert (phase(pod), exit_code(pod)) == ("Failed", 137)
    assert await cluster.logs() == f"{pid}\n"


async def test_a_pod_that_may_have_run_is_not_run_again(cluster: Cluster) -> None:
    marker = cluster.folder / "ran"
    await cluster.run(f"echo x >> {marker}; echo ready; sleep 600")
    await follow_until(cluster, "ready")
    await cluster.kill_node()
    await cluster.start_node()
    assert exit_code(await cluster.ended()) == 137
    assert marker.read_text() == "x\n"


async def test_stopping_the_node_ends_the_containers_and_says_why(cluster: Cluster) -> None:
    assert cluster.node is not None
    await cluster.node.stop()
    node = await cluster.start_node(shutdown_grace=90)  # nobody waits that long: the container ends when it is asked to
    await cluster.run("sleep 600")
    await cluster.until(lambda pod: phase(pod) == "Running")
    await node.stop()
    cluster.node = None
    pod = await cluster.ended()
    assert (phase(pod), exit_code(pod)) == ("Failed", 143)
    assert "shutdown" in pod["status"]["message"]


async def test_pods_beyond_the_capacity_wait_for_their_turn(cluster: Cluster) -> None:
    assert cluster.node is not None
    await cluster.node.stop()
    await cluster.start_node(max_pods=1)
    for number in range(3):
        await cluster.run("exit 0", name=f"p{number}")
    ended = await asyncio.gather(*(cluster.ended(f"p{number}") for number in range(3)))
    assert [phase(pod) for pod in ended] == ["Succeeded"] * 3


async def test_a_pod_of_another_node_is_left_alone(cluster: Cluster) -> None:
    await cluster.create(container(image="sh:1", args=["exit 0"]), name="theirs", nodeName="elsewhere")
    await cluster.run("exit 0", name="ours")
    await cluster.ended("ours")
    theirs = await cluster.request("GET", "pods/theirs")
    assert phase(theirs) in ("Pending", "None")


async def test_many_pods_at_once_all_come_to_their_end(cluster: Cluster) -> None:
    for number in range(20):
        await cluster.run(f"exit {number}", name=f"p{number}")
    pods = await asyncio.gather(*(cluster.ended(f"p{number}") for number in range(20)))
    assert [exit_code(pod) for pod in pods] == list(range(20))


async def follow_until(cluster: Cluster, text: str) -> AsyncIterator[bytes]:
    """Follows the log of the pod until it holds the text; answers the stream for more."""
    await cluster.until(lambda pod: phase(pod) == "Running")
    assert cluster.node is not None
    stream = await cluster.node.logs.open("default", "p", follow=True)
    seen = ""
    async with asyncio.timeout(90):
        while text not in seen:
            seen += (await anext(stream)).decode()
    return stream


async def test_volumes_are_at_the_paths_that_the_pod_asks_for(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.request("POST", "secrets", {"metadata": {"name": "s"}, "stringData": {"k": "hush"}})
    volumes = [
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "w", "emptyDir": {}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
    ]
    mounts = [
        {"name": "s", "mountPath": "/etc/bobrapet-node-test/s"},
        {"name": "w", "mountPath": "/bobrapet-node-test"},
        {"name": "c", "mountPath": "/var/bobrapet-claim", "subPath": "sub"},
    ]
    code = """
        cat /etc/bobrapet-node-test/s/k && echo x > /bobrapet-node-test/f && cat $BUBU_POD_ROOT/bobrapet-node-test/f
        test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo kept > /var/bobrapet-claim/f
        touch /etc/bobrapet-node-test/s/no || echo refused
    """
    main = container(image="sh:1", args=[code], volumeMounts=mounts)
    await cluster.create(main, volumes=volumes)
    pod = await cluster.ended()
    if await cluster.recorded("VolumesNotMounted"):
        pytest.skip("this machine permits no mount namespace")
    assert exit_code(pod) == 0
    assert "hushx" in await cluster.logs()
    assert "refused" in await cluster.logs()
    assert (tmp_path / "claims/default/claim/sub/f").read_text() == "kept\n"
    assert "bobrapet-node-test" not in os.listdir("/")


async def test_a_volume_that_cannot_be_mounted_is_told_and_found_below_the_root(cluster: Cluster) -> None:
    volumes = [{"name": "h", "hostPath": {"path": "/no/such/folder"}}]
    mounts = [{"name": "h", "mountPath": "/bobrapet-node-test"}]
    script = "test -L $BUBU_POD_ROOT/bobrapet-node-test"
    await cluster.create(container(image="sh:1", args=[script], volumeMounts=mounts),
                         volumes=volumes)  # fmt: skip
    pod = await cluster.ended()
    assert exit_code(pod) == 0
    (event,) = await events(cluster, "VolumesNotMounted")
    assert "/bobrapet-node-test" in event["message"]
    assert "BUBU_POD_ROOT" in event["message"]


async def test_a_container_that_fails_its_liveness_probe_is_started_again(cluster: Cluster) -> None:
    # It asks only once the container listens to signals, however slow the machine is.
    check = "until test -e $TMPDIR/listens; do sleep 0.05; done; echo sick; exit 1"
    probe = {"exec": {"command": ["sh", "-c", check]}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 90}
    # The file goes with the container, so that the probe of the next one does not take it for its own.
    code = "trap 'rm $TMPDIR/listens; exit 9' TERM; touch $TMPDIR/listens; while :; do sleep 0.05; done"
    main = container(image="sh:1", args=[code], livenessProbe=probe)
    await cluster.create(main, restartPolicy="Always")
    pod = await cluster.until(lambda pod: restarts(pod) >= 1 and "running" in states(pod).get("engram", {}))
    assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 9
    (unhealthy,), (killing,) = await events(cluster, "Unhealthy"), await events(cluster, "Killing")
    assert unhealthy["message"] == "Liveness probe failed: sick"
    assert killing["message"] == "Container engram failed liveness probe, will be restarted"
    await cluster.delete(grace=0)


def restarts(pod: Pod) -> int:
    return sum(entry["restartCount"] for entry in (pod.get("status") or {}).get("containerStatuses") or ())


def condition(pod: Pod, kind: str) -> str:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((str(entry["status"]) for entry in conditions if entry["type"] == kind), "")


async def test_a_pod_is_ready_when_its_readiness_probe_says_so(cluster: Cluster, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1}
    await cluster.create(container(image="sh:1", args=["sleep 600"], readinessProbe=probe))
    pod = await cluster.until(lambda pod: phase(pod) == "Running")
    assert condition(pod, "Ready") == condition(pod, "ContainersReady") == "False"
    flag.touch()
    await cluster.until(lambda pod: condition(pod, "Ready") == "True")
    flag.unlink()
    await cluster.until(lambda pod: condition(pod, "Ready") == "False")
    await cluster.delete(grace=0)


async def test_hooks_run_after_the_start_and_before_the_end(cluster: Cluster, tmp_path: Path) -> None:
    told, listens = tmp_path / "told", tmp_path / "listens"
    # The container counts as started once it listens to signals.
    started = f"until test -e {listens}; do sleep 0.02; done; echo started >> {told}"
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", started]}},
        "preStop": {"exec": {"command": ["sh", "-c", f"echo stopping >> {told}"]}},
    }
    code = f"trap 'echo term >> {told}; exit 0' TERM; touch {listens}; while :; do sleep 0.02; done"
    await cluster.create(container(image="sh:1", args=[code], lifecycle=hooks))
    await cluster.until(lambda pod: condition(pod, "Ready") == "True")
    await cluster.delete(grace=300)
    await cluster.gone()
    assert told.read_text().split() == ["started", "stopping", "term"]


async def test_a_failed_post_start_hook_ends_the_container(cluster: Cluster) -> None:
    hooks = {"postStart": {"exec": {"command": ["sh", "-c", "echo nope; exit 1"]}}}
    await cluster.create(container(image="sh:1", args=["sleep 600"], lifecycle=hooks))
    pod = await cluster.ended()
    assert exit_code(pod) == 143
    (event,) = await events(cluster, "FailedPostStartHook")
    assert event["message"] == "PostStartHook failed: nope"


async def test_a_termination_message_is_what_the_container_wrote(cluster: Cluster) -> None:
    await cluster.run("echo -n why > $BUBU_POD_ROOT/dev/termination-log; exit 3")
    assert states(await cluster.ended())["engram"]["terminated"]["message"] == "why"


async def test_init_containers_wait_until_a_sidecar_has_started_up(cluster: Cluster, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1}
    sidecar = container("side", "sh:1", args=[f"sleep 0.3; touch {flag}; sleep 600"], restartPolicy="Always",
                        startupProbe=probe)  # fmt: skip
    init = container("init", "sh:1", args=[f"test -e {flag}"])
    await cluster.create(container(image="sh:1", args=["true"]), initContainers=[sidecar, init])
    pod = await cluster.ended()
    assert phase(pod) == "Succeeded"


def existing(folders: Sequence[str]) -> list[str]:
    return [folder for folder in folders if os.path.exists(folder)]


async def events(cluster: Cluster, reason: str) -> list[Pod]:
    """The Events with this reason, as soon as there is one."""
    params = {"watch": "true", "fieldSelector": f"reason={reason}"}
    async with asyncio.timeout(90), cluster.rest.stream("/api/v1/namespaces/default/events", params) as lines:
        async for line in lines:
            return [json.loads(line)["object"]]
    return []


EATER = f"{sys.executable} -c 'held = bytearray(300 << 20)'"


@pytest.mark.skipif("memory" not in cgroups.find(), reason="this machine lets this process limit no memory")
async def test_a_container_beyond_its_limit_of_memory_is_oom_killed(cluster: Cluster) -> None:
    await cluster.run(f"exec {EATER}", resources={"limits": {"memory": "100Mi"}})
    ended = states(await cluster.ended())["engram"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["signal"]) == (137, "OOMKilled", 9)
    await cluster.run("exit 3", name="q", resources={"limits": {"memory": "100Mi"}})
    ended = states(await cluster.ended("q"))["engram"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert cluster.node is not None
    await cluster.node.stop()
    assert not existing(cluster.node._groups.folders)


async def test_a_node_that_cannot_start_leaves_no_control_group_and_no_process(
    cluster: Cluster, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = NodeOptions(data_dir=tmp_path / "other", name="other", log_port=taken.getsockname()[1])
        node = Node(cluster.config, options)
        with pytest.raises(OSError, match="address already in use"):
            await node.start()
    assert bool(node._groups.folders) == bool(cgroups.find()), "it had made some"
    assert not existing(node._groups.folders)
    assert node._launcher._launcher is None
    await node._client.close()


async def test_a_node_whose_folder_is_a_file_does_not_start(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "pods").touch()
    node = Node(cluster.config, NodeOptions(data_dir=folder, name="other"))
    with pytest.raises(FileExistsError):
        await node.start()
    await node._client.close()


async def test_limits_that_cannot_be_applied_are_a_warning_of_the_node(cluster: Cluster) -> None:
    assert cluster.node is not None
    cluster.node._groups._bases.clear()
    await cluster.run("true", resources={"limits": {"memory": "1Mi"}})
    assert phase(await cluster.ended()) == "Succeeded"
    (event,) = await events(cluster, "LimitsNotApplied")
    assert event["involvedObject"]["kind"] == "Node"
    assert "memory" in event["message"]


STRICT = {"runAsUser": 4242, "runAsGroup": 43, "fsGroup": 44, "runAsNonRoot": True}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")
async def test_a_strict_node_holds_containers_to_their_security_context(cluster: Cluster) -> None:
    assert cluster.node is not None
    await cluster.node.stop()
    await cluster.start_node(strict=True, working_directory="/")
    await cluster.request("POST", "secrets", {"metadata": {"name": "s"}, "stringData": {"key": "hush"}})
    volumes = [
        {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
        {"name": "work", "emptyDir": {}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "c"}},
    ]
    mounts = [
        {"name": "s", "mountPath": "/bobrapet-test/s"},
        {"name": "work", "mountPath": "/bobrapet-test/work"},
        {"name": "claim", "mountPath": "/bobrapet-test/claim"},
    ]
    code = """
        set -e
        echo user $(id -u) group $(id -g) groups $(id -G) home $HOME
        cat /bobrapet-test/s/key; echo
        test -s $BUBU_POD_ROOT/var/run/secrets/kubernetes.io/serviceaccount/token
        test -s $KUBECONFIG
        echo x > /bobrapet-test/work/f; echo x > /bobrapet-test/claim/f; echo x > $TMPDIR/f
        echo why > $BUBU_POD_ROOT/dev/termination-log
        touch /var/bobrapet-test 2>&1 | grep -o 'Read-only' || true
    """
    context = {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    main = container(image="sh:1", args=[code], volumeMounts=mounts, securityContext=context)
    await cluster.create(main, volumes=volumes, securityContext=STRICT)
    pod = await cluster.ended()
    if await cluster.recorded("SecurityContextNotApplied"):
        pytest.skip("this machine permits no mount namespace")
    told = await cluster.logs()
    assert exit_code(pod) == 0, told
    assert "user 4242 group 43 groups 43 44 home /" in told
    assert "hush" in told
    assert "Read-only" in told
    assert states(pod)["engram"]["terminated"]["message"] == "why\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else is refused")
async def test_a_strict_node_runs_nothing_as_root_that_must_not_be(cluster: Cluster) -> None:
    assert cluster.node is not None
    await cluster.node.stop()
    await cluster.start_node(strict=True)
    await cluster.create(container(image="sh:1", args=["true"]), securityContext={"runAsNonRoot": True})
    pod = await cluster.until(waiting("CreateContainerConfigError"))
    assert "would run as root" in states(pod)["engram"]["waiting"]["message"]
    await cluster.delete(grace=0)


async def test_a_component_that_its_user_could_not_read_runs_as_the_user_of_the_node(cluster: Cluster) -> None:
    assert cluster.node is not None
    await cluster.node.stop()
    closed = cluster.folder / "closed"
    closed.mkdir(mode=0o700)
    await cluster.start_node(strict=True, working_directory=str(closed))
    await cluster.create(container(image="sh:1", args=["id -u"]), securityContext={"runAsUser": 4242})
    assert phase(await cluster.ended()) == "Succeeded"
    assert (await cluster.logs()).strip() == str(os.geteuid())
    (event,) = await events(cluster, "SecurityContextNotApplied")
    assert "runAsUser" in event["message"]


async def test_a_node_that_is_not_strict_lets_containers_do_what_it_may_itself(cluster: Cluster) -> None:
    context = {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    main = container(image="sh:1", args=[f"id -u; echo x > {cluster.folder}/f"], securityContext=context)
    await cluster.create(main, securityContext=STRICT)
    assert phase(await cluster.ended()) == "Succeeded"
    assert (await cluster.logs()).strip() == str(os.geteuid())


async def test_a_running_container_sees_a_changed_secret_at_its_path(cluster: Cluster) -> None:
    assert cluster.node is not None
    await cluster.node.stop()
    await cluster.start_node(volume_refresh=0.1)
    await cluster.request("POST", "secrets", {"metadata": {"name": "s"}, "stringData": {"key": "old"}})
    volume = {"name": "v", "secret": {"secretName": "s"}}
    code = "cat $AT/key; until grep -q new $AT/key; do sleep 0.05; done"
    env = [{"name": "AT", "value": "/bobrapet-test/v"}]
    mounts = [{"name": "v", "mountPath": "/bobrapet-test/v"}]
    main = container(image="sh:1", args=[code], env=env, volumeMounts=mounts)
    await cluster.create(main, volumes=[volume])
    running = await cluster.until(lambda pod: phase(pod) in ("Running", "Failed"))
    if await cluster.recorded("VolumesNotMounted"):
        pytest.skip("this machine permits no mount namespace")
    assert phase(running) == "Running"
    await cluster.request("PUT", "secrets/s", {"metadata": {"name": "s"}, "stringData": {"key": "new"}})
    assert phase(await cluster.ended()) == "Succeeded"
