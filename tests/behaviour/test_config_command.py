"""`bobrapet config` against a cluster, in both worlds."""

from __future__ import annotations

import json
import subprocess

from tests.behaviour import worlds
from tests.behaviour.worlds import World


def test_the_configuration_of_a_cluster_is_shown_with_its_sources(world: World, namespace: str) -> None:
    data = {"retry.max-retries": "0", "references.cross-namespace-policy": "sometimes"}
    metadata = {"name": "operator-config", "namespace": namespace}
    world.cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    command = worlds.bobrapet(
        *("config", "--kubeconfig", str(world.cluster.kubeconfig), "--config-namespace", namespace),
        *("--config-name", "operator-config", "--max-concurrent-reconciles", "story=7", "--changed", "-o", "json"),
    )
    shown = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=worlds.ROOT)
    assert json.loads(shown.stdout) == [
        {"key": "retry.max-retries", "value": "0", "source": "ConfigMap"},
        {"key": "story.max-concurrent-reconciles", "value": "7", "source": "flag"},
    ]
    assert "error: references.cross-namespace-policy" in shown.stderr
    assert shown.returncode == 1
    absent = subprocess.run(
        [*command, "--config-name", "absent"], capture_output=True, text=True, timeout=240, cwd=worlds.ROOT
    )
    assert absent.returncode == 0
    assert "there is no ConfigMap" in absent.stderr
