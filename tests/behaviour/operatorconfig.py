"""The operator's ConfigMap, for a test: what is changed has been read before anything else goes on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from tests.behaviour.cluster import eventually
from tests.behaviour.worlds import World

SYSTEM, NAME = "bobrapet-system", "bobrapet-operator-config"
MARK = "controller.cleanup-interval"
"""A key that nothing uses. The operator complains of a value that is no time, so its log tells what it has read."""


def configure(world: World, data: Mapping[str, str | None]) -> None:
    """Changes keys, None takes one away, and waits until the operator goes by it.

    ConfigMap and runs come to the operator by watches of their own, so a run that is created after a change may be
    looked at before it.
    """
    cluster, mark = world.cluster, f"read-{uuid.uuid4().hex}"
    if cluster.find("Namespace", "", SYSTEM) is None:
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    if cluster.find("ConfigMap", SYSTEM, NAME) is None:
        metadata = {"name": NAME, "namespace": SYSTEM}
        cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}})
    cluster.merge("ConfigMap", SYSTEM, NAME, {"data": {**data, MARK: mark}})
    operator, *_ = world.logs
    eventually(lambda: mark in operator.read_text(errors="replace"), "the operator reads its ConfigMap")
