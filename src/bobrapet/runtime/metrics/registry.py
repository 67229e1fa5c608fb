"""The registry of all metrics of this process."""

from __future__ import annotations

import functools

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

# Else each counter and histogram gets a *_created gauge that no dashboard knows (MET-1).
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry(auto_describe=False)
"""What /metrics shows. Programs may register their own collectors."""


@functools.cache
def expose_process() -> None:
    """Shows memory, CPU, garbage collection and the Python version from now on. Repeating is harmless."""
    ProcessCollector(registry=REGISTRY)
    GCCollector(registry=REGISTRY)
    PlatformCollector(registry=REGISTRY)
