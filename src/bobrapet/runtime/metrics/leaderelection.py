"""The metrics of leader election (spec runtime 15.5)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from bobrapet.runtime.metrics.registry import REGISTRY

MASTER_STATUS = Gauge(
    "leader_election_master_status",
    "Whether the reporting system is master of the relevant lease: 0 is backup, 1 is master",
    ["name"],
    registry=REGISTRY,
)
SLOWPATH = Counter(
    "leader_election_slowpath_total",
    "Total number of slow path exercised in renewing leader leases",
    ["name"],
    registry=REGISTRY,
)
