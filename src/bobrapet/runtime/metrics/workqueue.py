"""Work queues as Prometheus series (spec runtime 15.2). The queues count; this reads when somebody scrapes."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from bobrapet.runtime.metrics.registry import REGISTRY
from bobrapet.runtime.workqueue.metrics import Histogram, QueueMetrics

_LABELS = ("name", "controller")


class WorkqueueCollector(Collector):
    """All queues that were registered and still live."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._queues: weakref.WeakValueDictionary[str, QueueMetrics] = weakref.WeakValueDictionary()
        if registry is not None:
            registry.register(self)

    def register(self, metrics: QueueMetrics) -> None:
        """Exposes the numbers of a queue under its name."""
        self._queues[metrics.name] = metrics

    def queues(self) -> list[QueueMetrics]:
        """All queues that live."""
        return [*self._queues.values()]

    def describe(self) -> Iterator[Metric]:
        """Names the series without looking at queues."""
        return self._families([])

    def collect(self) -> Iterator[Metric]:
        return self._families(self.queues())

    def _families(self, queues: list[QueueMetrics]) -> Iterator[Metric]:
        depth = GaugeMetricFamily(
            "workqueue_depth", "Items that wait in the queue, by priority", labels=(*_LABELS, "priority")
        )
        adds = CounterMetricFamily("workqueue_adds", "Items added that were not in it", labels=_LABELS)
        waiting = HistogramMetricFamily(
            "workqueue_queue_duration_seconds", "Seconds that an item waited in the queue", labels=_LABELS
        )
        work = HistogramMetricFamily(
            "workqueue_work_duration_seconds", "Seconds that the work on an item took", labels=_LABELS
        )
        unfinished = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds",
            "Seconds of work, summed over all items that are being worked on now",
            labels=_LABELS,
        )
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds",
            "Seconds that the item which is worked on for the longest time has taken so far",
            labels=_LABELS,
        )
        retries = CounterMetricFamily(
            "workqueue_retries", "Items that were added again after a failure", labels=_LABELS
        )
        for queue in queues:
            labels = (queue.name, queue.name)
            for priority, value in queue.depth.items():
                depth.add_metric((*labels, priority), value)
            adds.add_metric(labels, queue.adds)
            _add(waiting, labels, queue.queue_duration)
            _add(work, labels, queue.work_duration)
            unfinished.add_metric(labels, queue.unfinished)
            longest.add_metric(labels, queue.longest_running)
            retries.add_metric(labels, queue.retries)
        yield from (depth, adds, waiting, work, unfinished, longest, retries)


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], histogram: Histogram) -> None:
    buckets: list[tuple[str, float]] = []
    seen = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        seen += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), seen))
    family.add_metric(labels, buckets, histogram.total)


WORKQUEUES = WorkqueueCollector(REGISTRY)
"""The queues of this process."""
