"""How a process names itself and its lock (controller-runtime pkg/leaderelection, spec runtime section 10)."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping
from pathlib import Path

from bobrapet.runtime.client.interfaces import Client
from bobrapet.runtime.client.object import ObjectKey
from bobrapet.runtime.leaderelection.errors import ElectionMisconfigured
from bobrapet.runtime.leaderelection.resourcelock import LeaseLock
from bobrapet.runtime.recorder import EventRecorder

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
LEASES = "leases"


def new_identity() -> str:
    """A name for this process; two processes on one host get different ones."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


def in_cluster_namespace(file: Path = NAMESPACE_FILE) -> str:
    """The namespace of the pod. Raises `ElectionMisconfigured` outside of pods."""
    try:
        namespace = file.read_text().strip()
    except OSError:
        namespace = ""
    if not namespace:
        raise ElectionMisconfigured("this is no pod: set the namespace of the Lease, leader_election_namespace")
    return namespace


def request_timeout(renew_deadline: float) -> float:
    """Seconds for one request about the lock: a hung one must not cost the lease."""
    return max(1.0, renew_deadline / 2)


def new_resource_lock(
    client: Client,
    *,
    lock_id: str,
    namespace: str = "",
    resource_lock: str = LEASES,
    labels: Mapping[str, str] | None = None,
    recorder: EventRecorder | None = None,
    namespace_file: Path = NAMESPACE_FILE,
) -> LeaseLock:
    """The lock of a manager. Raises `ElectionMisconfigured`."""
    if not lock_id:
        raise ElectionMisconfigured("leader election needs leader_election_id, or two operators could share a lock")
    if resource_lock != LEASES:
        raise ElectionMisconfigured(f"leader_election_resource_lock {resource_lock!r}: only {LEASES!r} exists")
    key = ObjectKey(namespace or in_cluster_namespace(namespace_file), lock_id)
    return LeaseLock(client, key, new_identity(), labels=labels, recorder=recorder)
