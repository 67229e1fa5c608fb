"""The metrics of webhooks (spec runtime 15.3)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from bobrapet.runtime.metrics.registry import REGISTRY
from bobrapet.runtime.workqueue.metrics import BUCKETS

LATENCY = Histogram(
    "controller_runtime_webhook_latency_seconds",
    "Seconds from the arrival of an AdmissionReview to its answer",
    ["webhook"],
    buckets=BUCKETS,
    registry=REGISTRY,
)
REQUESTS = Counter(
    "controller_runtime_webhook_requests_total",
    "AdmissionReviews answered, by the HTTP code of the answer",
    ["webhook", "code"],
    registry=REGISTRY,
)
IN_FLIGHT = Gauge(
    "controller_runtime_webhook_requests_in_flight",
    "AdmissionReviews that are being answered now",
    ["webhook"],
    registry=REGISTRY,
)
PANICS = Counter(
    "controller_runtime_webhook_panics_total",
    "AdmissionReviews that ended in an exception nobody expected",
    registry=REGISTRY,
)
