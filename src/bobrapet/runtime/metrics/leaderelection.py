"""The metrics of leader election (spec runtime 15.5)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from bobrapet.runtime.metrics.registry import REGISTRY

MASTER_STATUS = Gauge(
    "leader_election_master_status",
    "1 while this process holds the lease, 0 while it stands by",
    ["name"],
    registry=REGISTRY,
)
SLOWPATH = Counter(
    "leader_election_slowpath_total",
    "Renewals of the lease that had to read it first",
    ["name"],
    registry=REGISTRY,
)
