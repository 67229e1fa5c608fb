"""The metrics of reconciles (spec runtime 15.1)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from bobrapet.runtime.metrics.registry import REGISTRY

SUCCESS, ERROR, REQUEUE, REQUEUE_AFTER = "success", "error", "requeue", "requeue_after"
RESULTS = (ERROR, REQUEUE_AFTER, REQUEUE, SUCCESS)

_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9),
    *(1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60),
)

RECONCILE_TOTAL = Counter(
    "controller_runtime_reconcile_total",
    "Reconciles that ended, by how they ended",
    ["controller", "result"],
    registry=REGISTRY,
)
RECONCILE_ERRORS = Counter(
    "controller_runtime_reconcile_errors_total",
    "Reconciles that ended in an error and are tried again",
    ["controller"],
    registry=REGISTRY,
)
TERMINAL_ERRORS = Counter(
    "controller_runtime_terminal_reconcile_errors_total",
    "Reconciles that ended in an error that trying again would not mend",
    ["controller"],
    registry=REGISTRY,
)
PANICS = Counter(
    "controller_runtime_reconcile_panics_total",
    "Reconciles that ended in an exception nobody expected",
    ["controller"],
    registry=REGISTRY,
)
TIMEOUTS = Counter(
    "controller_runtime_reconcile_timeouts_total",
    "Reconciles that were cancelled at the time limit",
    ["controller"],
    registry=REGISTRY,
)
RECONCILE_TIME = Histogram(
    "controller_runtime_reconcile_time_seconds",
    "Seconds that one reconcile took",
    ["controller"],
    buckets=_BUCKETS,
    registry=REGISTRY,
)
MAX_CONCURRENT = Gauge(
    "controller_runtime_max_concurrent_reconciles",
    "Workers of the controller",
    ["controller"],
    registry=REGISTRY,
)
ACTIVE_WORKERS = Gauge(
    "controller_runtime_active_workers",
    "Workers that are reconciling now",
    ["controller"],
    registry=REGISTRY,
)


class ControllerMetrics:
    """The series of one controller, looked up once."""

    def __init__(self, controller: str) -> None:
        self.results = {result: RECONCILE_TOTAL.labels(controller, result) for result in RESULTS}
        self.errors = RECONCILE_ERRORS.labels(controller)
        self.terminal_errors = TERMINAL_ERRORS.labels(controller)
        self.panics = PANICS.labels(controller)
        self.timeouts = TIMEOUTS.labels(controller)
        self.time = RECONCILE_TIME.labels(controller)
        self.max_concurrent = MAX_CONCURRENT.labels(controller)
        self.active_workers = ACTIVE_WORKERS.labels(controller)
