"""Pods on our node mean the same whichever API server they come from: volumes, probes, hooks, several containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.builders import step, story
from tests.behaviour.cluster import ApiFailure
from tests.behaviour.worlds import World


def container(name: str, script: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "test/wire-shell", "command": ["/bin/sh", "-c", script], **fields}


def pod(namespace: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": {"restartPolicy": "Never", "containers": list(containers), **spec},
    }


def phase(obj: dict[str, Any]) -> str:
    return str((obj.get("status") or {}).get("phase"))


def is_ready(obj: dict[str, Any]) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def test_containers_share_volumes_and_read_what_the_api_server_has(world: World, namespace: str) -> None:
    data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}}
    world.cluster.create({**data, "data": {"greeting": "hello"}})
    volumes = [{"name": "c", "configMap": {"name": "c"}}, {"name": "w", "emptyDir": {}}]
    mounts = [{"name": "c", "mountPath": "/etc/c"}, {"name": "w", "mountPath": "/work-of-test"}]
    first = container("first", "cat $BUBU_POD_ROOT/etc/c/greeting > $BUBU_POD_ROOT/work-of-test/x", volumeMounts=mounts)
    main = container(
        "main",
        "cat $BUBU_POD_ROOT/work-of-test/x > $BUBU_POD_ROOT/dev/termination-log; exit 4",
        volumeMounts=mounts,
    )

    world.cluster.create(pod(namespace, main, initContainers=[first], volumes=volumes))
    ended = world.cluster.wait("Pod", namespace, "p", lambda obj: phase(obj) == "Failed")

    (status,) = ended["status"]["containerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 4
    assert status["state"]["terminated"]["message"] == "hello"


def test_probes_and_hooks_decide_what_a_pod_says_of_itself(world: World, namespace: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    hooks = {"postStart": {"exec": {"command": ["/bin/sh", "-c", "touch $BUBU_POD_ROOT/tmp/started"]}}}
    ready = {"exec": {"command": ["/bin/sh", "-c", "test -e $BUBU_POD_ROOT/tmp/ready"]}, "periodSeconds": 1}
    script = f"""
        until test -e $BUBU_POD_ROOT/tmp/started && test -e {seen}; do sleep 0.05; done
        touch $BUBU_POD_ROOT/tmp/ready; sleep 600
    """

    world.cluster.create(pod(namespace, container("main", script, lifecycle=hooks, readinessProbe=ready)))
    unready = world.cluster.wait("Pod", namespace, "p", lambda obj: phase(obj) == "Running")
    assert not is_ready(unready)
    seen.touch()

    world.cluster.wait("Pod", namespace, "p", is_ready)
    world.cluster.delete("Pod", namespace, "p", gracePeriodSeconds=0)


def test_a_sick_container_is_started_again_and_the_reason_is_an_event(world: World, namespace: str) -> None:
    sick = {"tcpSocket": {"port": 1}, "periodSeconds": 1, "failureThreshold": 1}
    main = container("main", "sleep 600", livenessProbe=sick)

    world.cluster.create(pod(namespace, main, restartPolicy="Always"))
    world.cluster.wait(
        "Pod",
        namespace,
        "p",
        lambda obj: any(entry["restartCount"] for entry in (obj.get("status") or {}).get("containerStatuses") or ()),
    )

    for reason in ("Unhealthy", "Killing"):
        assert world.cluster.wait_event(namespace, reason)
    world.cluster.delete("Pod", namespace, "p", gracePeriodSeconds=0)


def test_the_operator_of_bobrapet_dev_is_asked_before_an_object_is_stored(world: World, namespace: str) -> None:
    if not world.asks_webhooks():
        pytest.skip("nobody registered webhooks in this world")
    circle = story("circle", namespace, step("a", "echo", "b"), step("b", "echo", "a"))

    with pytest.raises(ApiFailure) as refused:
        world.cluster.create(circle)

    message = refused.value.status["message"]
    assert message.startswith('admission webhook "vstory-v1alpha1.kb.io" denied the request: ')
    assert "spec.steps" in message
