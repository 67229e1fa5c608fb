"""The registry of all metrics of this process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, disable_created_metrics

# Else each counter and histogram gets a *_created gauge that no dashboard knows (MET-1).
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry(auto_describe=False)
"""What /metrics shows. Programs may register their own collectors."""
