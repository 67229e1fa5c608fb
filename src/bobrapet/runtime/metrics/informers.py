"""Informers as Prometheus series (spec runtime 15.6). The informers count; this reads when somebody scrapes."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bobrapet.runtime.cache.internal.informers import RUNNING, Entry
from bobrapet.runtime.metrics.registry import REGISTRY


class InformerCollector(Collector):
    """All informers that run. Several of one kind, one for each namespace, are added up."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries

    def describe(self) -> Iterator[Metric]:
        return self._families([])

    def collect(self) -> Iterator[Metric]:
        return self._families([*self._entries])

    def _families(self, entries: list[Entry]) -> Iterator[Metric]:
        objects: Counter[tuple[str, ...]] = Counter()
        synced: dict[tuple[str, ...], bool] = {}
        events: Counter[tuple[str, ...]] = Counter()
        relists: Counter[tuple[str, ...]] = Counter()
        ages: dict[tuple[str, ...], float] = {}
        misses: Counter[tuple[str, ...]] = Counter()
        errors: Counter[tuple[str, ...]] = Counter()
        for entry in entries:
            informer = entry.informer
            kind = (informer.gvk.group, informer.gvk.kind)
            key = (*kind, entry.projection)
            objects[key] += len(informer.store)
            synced[key] = informer.has_synced() and synced.get(key, True)
            misses[(informer.gvk.kind,)] += entry.expectations.misses
            errors.update({(name,): count for name, count in informer.handler_errors().items()})
            if informer.reflector is not None:
                counted = informer.reflector.metrics
                # A scrape runs in a thread of its own: what changes meanwhile is copied first.
                events.update({(*kind, type_): count for type_, count in [*counted.events.items()]})
                relists.update({(*kind, reason): count for reason, count in [*counted.relists.items()]})
                age = informer.watch_age()
                if age is not None:
                    ages[kind] = max(age, ages.get(kind, 0.0))
        yield _gauge("informer_objects", "Objects in the store", ("group", "kind", "projection"), objects)
        yield _gauge("informer_synced", "Whether the first list is complete", ("group", "kind", "projection"), synced)
        yield _counter("watch_events", "Events received from watches", ("group", "kind", "type"), events)
        yield _counter("relists", "Full lists read, by reason", ("group", "kind", "reason"), relists)
        yield _gauge("watch_age_seconds", "Age of the open watch", ("group", "kind"), ages)
        yield _counter("handler_errors", "Notifications lost to failing handlers", ("controller",), errors)
        yield _counter("read_your_writes_misses", "Reads answered behind our own writes", ("kind",), misses)


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(f"bobrapet_runtime_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(f"bobrapet_runtime_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


_INFORMERS = InformerCollector(RUNNING)


@functools.cache
def expose_informers() -> None:
    """Shows the informers of this process from now on. Repeating is harmless."""
    REGISTRY.register(_INFORMERS)
