"""The metrics of webhooks (spec runtime 15.3)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from bobrapet.runtime.metrics.registry import REGISTRY
from bobrapet.runtime.workqueue.metrics import BUCKETS

LATENCY = Histogram(
    "controller_runtime_webhook_latency_seconds",
    "Histogram of the latency of processing admission requests",
    ["webhook"],
    buckets=BUCKETS,
    registry=REGISTRY,
)
REQUESTS = Counter(
    "controller_runtime_webhook_requests_total",
    "Total number of admission requests by HTTP status code.",
    ["webhook", "code"],
    registry=REGISTRY,
)
IN_FLIGHT = Gauge(
    "controller_runtime_webhook_requests_in_flight",
    "Current number of admission requests being served.",
    ["webhook"],
    registry=REGISTRY,
)
PANICS = Counter(
    "controller_runtime_webhook_panics_total",
    "Total number of webhook requests that failed by a fault of their code",
    registry=REGISTRY,
)
