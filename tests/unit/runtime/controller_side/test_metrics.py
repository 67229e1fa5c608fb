"""What /metrics shows (spec runtime section 15)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from bobrapet.runtime.clock import FakeClock, settle
from bobrapet.runtime.controller.priorityqueue import AddOpts, PriorityQueue
from bobrapet.runtime.internal.controller import metrics as controller_metrics
from bobrapet.runtime.metrics import REGISTRY, leaderelection
from bobrapet.runtime.metrics.client_go_adapter import UnknownMetric, _adapter, register_rest_client_metrics
from bobrapet.runtime.metrics.informers import InformerCollector
from bobrapet.runtime.metrics.looplag import LAG, LoopIsBlocked, LoopLag
from bobrapet.runtime.metrics.workqueue import WorkqueueCollector
from bobrapet.runtime.webhook.internal import metrics as webhook_metrics
from bobrapet.runtime.workqueue import QueueMetrics

RECONCILE_BUCKETS = [
    *(
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.15,
        0.2,
        0.25,
        0.3,
        0.35,
        0.4,
        0.45,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
        1,
        1.25,
        1.5,
        1.75,
    ),
    *(2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60, float("inf")),
]
SHORT_BUCKETS = [pytest.approx(10.0**power) for power in range(-8, 4)] + [float("inf")]
SECONDS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, float("inf")]
BYTES = [64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, float("inf")]

QUEUE = ["name", "controller"]

TABLE: dict[str, tuple[str, list[str], list[Any] | None]] = {
    "controller_runtime_reconcile": ("counter", ["controller", "result"], None),
    "controller_runtime_reconcile_errors": ("counter", ["controller"], None),
    "controller_runtime_terminal_reconcile_errors": ("counter", ["controller"], None),
    "controller_runtime_reconcile_panics": ("counter", ["controller"], None),
    "controller_runtime_reconcile_timeouts": ("counter", ["controller"], None),
    "controller_runtime_reconcile_time_seconds": ("histogram", ["controller"], RECONCILE_BUCKETS),
    "controller_runtime_max_concurrent_reconciles": ("gauge", ["controller"], None),
    "controller_runtime_active_workers": ("gauge", ["controller"], None),
    "workqueue_depth": ("gauge", [*QUEUE, "priority"], None),
    "workqueue_adds": ("counter", QUEUE, None),
    "workqueue_queue_duration_seconds": ("histogram", QUEUE, SHORT_BUCKETS),
    "workqueue_work_duration_seconds": ("histogram", QUEUE, SHORT_BUCKETS),
    "workqueue_unfinished_work_seconds": ("gauge", QUEUE, None),
    "workqueue_longest_running_processor_seconds": ("gauge", QUEUE, None),
    "workqueue_retries": ("counter", QUEUE, None),
    "controller_runtime_webhook_latency_seconds": ("histogram", ["webhook"], SHORT_BUCKETS),
    "controller_runtime_webhook_requests": ("counter", ["webhook", "code"], None),
    "controller_runtime_webhook_requests_in_flight": ("gauge", ["webhook"], None),
    "controller_runtime_webhook_panics": ("counter", [], None),
    "certwatcher_read_certificate": ("counter", [], None),
    "certwatcher_read_certificate_errors": ("counter", [], None),
    "rest_client_requests": ("counter", ["code", "method", "host"], None),
    "rest_client_request_duration_seconds": ("histogram", ["verb", "host"], SECONDS),
    "rest_client_dns_resolution_duration_seconds": ("histogram", ["host"], SECONDS),
    "rest_client_request_size_bytes": ("histogram", ["verb", "host"], BYTES),
    "rest_client_response_size_bytes": ("histogram", ["verb", "host"], BYTES),
    "rest_client_rate_limiter_duration_seconds": ("histogram", ["verb", "host"], SECONDS),
    "rest_client_request_retries": ("counter", ["code", "verb", "host"], None),
    "leader_election_master_status": ("gauge", ["name"], None),
    "leader_election_slowpath": ("counter", ["name"], None),
    "bobrapet_runtime_informer_objects": ("gauge", ["group", "kind", "projection"], None),
    "bobrapet_runtime_informer_synced": ("gauge", ["group", "kind", "projection"], None),
    "bobrapet_runtime_watch_events": ("counter", ["group", "kind", "type"], None),
    "bobrapet_runtime_relists": ("counter", ["group", "kind", "reason"], None),
    "bobrapet_runtime_watch_age_seconds": ("gauge", ["group", "kind"], None),
    "bobrapet_runtime_handler_errors": ("counter", ["controller"], None),
    "bobrapet_runtime_read_your_writes_misses": ("counter", ["kind"], None),
    "bobrapet_runtime_event_loop_lag_seconds": ("histogram", [], None),
}


def use_everything(clock: FakeClock) -> list[Any]:
    """Makes one series of each metric; returns what must be kept alive for it."""
    import bobrapet.runtime.certwatcher  # noqa: F401 - registers its metrics
    from bobrapet.runtime.cache.internal.informers import Entry
    from bobrapet.runtime.metrics.client_go_adapter import REQUESTS, observe_requests
    from bobrapet.runtime.toolscache.record import RecordDecoder
    from bobrapet.runtime.toolscache.reflector import Reflector
    from bobrapet.runtime.toolscache.shared_informer import SharedIndexInformer
    from tests.unit.runtime.controller_side.fakes import WIDGET, Script

    observe_requests()
    controller_metrics.ControllerMetrics("c").time.observe(1)
    webhook_metrics.LATENCY.labels("/x").observe(1)
    webhook_metrics.REQUESTS.labels("/x", "200")
    webhook_metrics.IN_FLIGHT.labels("/x")
    leaderelection.MASTER_STATUS.labels("x")
    leaderelection.SLOWPATH.labels("x")
    register_rest_client_metrics(
        "rest_client_request_duration_seconds",
        "rest_client_dns_resolution_duration_seconds",
        "rest_client_request_size_bytes",
        "rest_client_response_size_bytes",
        "rest_client_rate_limiter_duration_seconds",
        "rest_client_request_retries_total",
    )
    REQUESTS.labels("200", "GET", "h")
    _adapter.on_response(method="GET", host="h", code="200", seconds=1, request_bytes=1, response_bytes=1)
    _adapter.on_retry(method="GET", host="h", code="429")
    _adapter.on_rate_limited(method="GET", host="h", seconds=1)
    _adapter.on_dns(host="h", seconds=1)
    queue = QueueMetrics("q", clock.monotonic, by_priority=True)
    queue.ready("a", 5)
    informer = SharedIndexInformer(Script(), WIDGET, clock=clock)
    informer.reflector = Reflector(Script(), informer, RecordDecoder(WIDGET), clock=clock)
    informer.reflector.metrics.events["ADDED"] += 1
    informer.reflector.metrics.relists["initial"] += 1
    informer.reflector.metrics.watch_started = 0.0
    informer.add_event_handler(None)  # type: ignore[arg-type]  # is never called
    return [queue, Entry(informer, "object", True, clock)]


@pytest.mark.spec("runtime-112")
def test_names_types_labels_and_buckets_are_those_of_the_tables(clock: FakeClock) -> None:
    queue, entry = use_everything(clock)
    registry = CollectorRegistry()
    queues = WorkqueueCollector(registry)
    queues.register(queue)
    registry.register(InformerCollector([entry]))
    seen: dict[str, tuple[str, list[str], list[Any] | None]] = {}
    for family in (*REGISTRY.collect(), *registry.collect()):
        if not family.samples or family.name.startswith(("process_", "python_")):
            continue
        if family.name.startswith("bobrapet_") and not family.name.startswith("bobrapet_runtime_"):
            continue  # of the operator, whose tests may have run in this process
        sample = next(s for s in family.samples if not s.name.endswith("_bucket"))
        buckets = None
        if family.type == "histogram" and family.name != "bobrapet_runtime_event_loop_lag_seconds":
            first = [s for s in family.samples if s.name.endswith("_bucket")]
            own = [s for s in first if {**s.labels, "le": ""} == {**first[0].labels, "le": ""}]
            buckets = [float(s.labels["le"]) for s in own]
        seen[family.name] = family.type, [*sample.labels], buckets
    assert seen == TABLE


def test_the_page_has_no_series_of_its_own_making(clock: FakeClock) -> None:
    names = {line.split("{")[0].split(" ")[0] for line in generate_latest(REGISTRY).decode().splitlines()}
    assert not {name for name in names if name.endswith("_created")}


def test_unknown_optional_metrics_are_refused() -> None:
    with pytest.raises(UnknownMetric, match="rest_client_request_size_bytes"):
        register_rest_client_metrics("rest_client_everything")


def test_queues_are_shown_as_they_are_when_somebody_looks(clock: FakeClock) -> None:
    registry = CollectorRegistry()
    collector = WorkqueueCollector(registry)
    metrics = QueueMetrics("q", clock.monotonic, by_priority=True)
    collector.register(metrics)
    queue: PriorityQueue[str] = PriorityQueue(clock=clock, metrics=metrics)
    labels = {"name": "q", "controller": "q"}
    queue.add_with_opts(AddOpts(priority=-100), "a")
    queue.add("b")
    assert registry.get_sample_value("workqueue_depth", {**labels, "priority": "-100"}) == 1
    assert registry.get_sample_value("workqueue_depth", {**labels, "priority": "0"}) == 1
    assert registry.get_sample_value("workqueue_adds_total", labels) == 2
    assert registry.get_sample_value("workqueue_work_duration_seconds_count", labels) == 0


def test_a_queue_may_go_on_while_its_numbers_are_read() -> None:
    now = 0.0
    metrics = QueueMetrics("q", lambda: now)
    for item in "ab":
        metrics.ready(item)
        metrics.taken(item)

    class Meanwhile(float):
        """A moment that a scrape, in its thread, is just computing with."""

        def __sub__(self, other: float) -> float:
            metrics.taken(object())
            return float(self) - other

    now = Meanwhile(5.0)
    assert metrics.unfinished == 10.0
    assert metrics.longest_running == 5.0


async def test_a_blocked_loop_is_seen_and_unhealthy_for_a_while(clock: FakeClock) -> None:
    lag, seen = LoopLag(clock), LAG._sum.get()
    task = asyncio.create_task(lag.start())
    await clock.advance(2)
    await lag.check()
    clock.jump(12)
    await clock.advance(0)
    with pytest.raises(LoopIsBlocked, match=r"1[12]\.\d s"):
        await lag.check()
    await clock.advance(40)
    await lag.check()
    task.cancel()
    await settle()
    assert LAG._sum.get() >= seen + 11
