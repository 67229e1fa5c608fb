"""The operator's own series, beside those of the runtime (spec admission-and-config C1).

Names, labels and buckets are those that dashboards of the Go operator know. `reconcilers.metrics` records them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from bobrapet import __version__
from bobrapet.expressions import cache_hits
from bobrapet.runtime.metrics import REGISTRY

_RUN_SECONDS: Final = (1, 5, 15, 30, 60, 300, 600, 1800, 3600)
_STEP_SECONDS: Final = (0.1, 0.5, 1, 5, 15, 30, 60, 300)
_JOB_SECONDS: Final = (1, 5, 15, 30, 60, 300, 600, 1800)


def _counter(name: str, help: str, *names: str) -> Counter:
    return Counter(f"bobrapet_{name}", help, names, registry=REGISTRY)


def _gauge(name: str, help: str, *names: str) -> Gauge:
    return Gauge(f"bobrapet_{name}", help, names, registry=REGISTRY)


def _histogram(name: str, help: str, buckets: tuple[float, ...], *names: str) -> Histogram:
    return Histogram(f"bobrapet_{name}", help, names, buckets=buckets, registry=REGISTRY)


STORYRUNS = _counter("storyruns_total", "StoryRuns that entered a phase", "namespace", "story", "phase")
STORYRUN_DURATION = _histogram(
    "storyrun_duration_seconds", "Seconds from start to end of a StoryRun", _RUN_SECONDS, "namespace", "story", "phase"
)
STEPS_ACTIVE = _gauge("storyrun_steps_active", "Steps that run now, over all open runs", "namespace", "story")
STEPS_COMPLETED = _gauge("storyrun_steps_completed", "Steps that are done in open runs", "namespace", "story")
STORYRUN_WINDOW = _gauge(
    "storyrun_window_seconds",
    "How long children (child_ttl) and the run itself (retention) are kept after its end",
    *("namespace", "story", "window"),
)
QUEUE_AGE = _histogram(
    "storyrun_queue_age_seconds", "Seconds that a step waited for a slot", _RUN_SECONDS, "namespace", "queue"
)
QUEUE_DEPTH = _gauge("storyrun_queue_depth", "Steps of a run that wait for a slot", "namespace", "storyrun", "queue")
DEPENDENTS_DELETED = _counter(
    "storyrun_dependents_deleted_total", "Children deleted by a run", "namespace", "storyrun", "resource"
)
RBAC_OPERATIONS = _counter(
    "storyrun_rbac_operations_total", "What happened to objects of runner identities", "resource", "operation"
)
CHILD_STEPRUNS = _counter("child_stepruns_created_total", "StepRuns created", "namespace", "storyrun", "engram")
STEPRUNS = _counter("stepruns_total", "StepRuns that entered a phase", "namespace", "engram", "phase")
STEPRUN_DURATION = _histogram(
    "steprun_duration_seconds", "Seconds from start to end of a StepRun", _STEP_SECONDS, "namespace", "engram", "phase"
)
STEPRUN_RETRIES = _counter(
    "steprun_retries_total", "Attempts that failed and are tried again, by exit class", "namespace", "engram", "reason"
)
CACHE_LOOKUPS = _counter(
    "steprun_cache_lookups_total", "Look-ups of cached step outputs (hit, miss)", "namespace", "engram", "result"
)
JOBS = _counter("job_execution_total", "Attempts of steps that ended, by how", "namespace", "image", "result")
JOB_DURATION = _histogram(
    "job_execution_duration_seconds",
    "Seconds from the start of an attempt to its end",
    _JOB_SECONDS,
    "namespace",
    "image",
)
RESOURCE_CLEANUP = _counter("resource_cleanup_total", "Deletions by the operator", "resource_type", "result")
RECONCILES = _counter("controller_reconcile_total", "Reconciles that ended (success, error)", "controller", "result")
RECONCILE_DURATION = Histogram(
    "bobrapet_controller_reconcile_duration_seconds", "Seconds of a reconcile", ["controller"], registry=REGISTRY
)
RECONCILE_ERRORS = _counter(
    "controller_reconcile_errors_total", "Reconciles that ended in an error, by its kind", "controller", "error_type"
)
EVALUATIONS = _counter("cel_evaluation_total", "Values with templates that were evaluated", "expression_type", "result")
EVALUATION_DURATION = _histogram(
    "cel_evaluation_duration_seconds",
    "Seconds of an evaluation of templates",
    (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1),
    "expression_type",
)


class TemplateCache(Collector):
    """How often a compiled template was found; the cache counts by itself."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        found = CounterMetricFamily(
            "bobrapet_cel_cache_hits", "Templates that were compiled already", labels=["cache_type"]
        )
        found.add_metric(["template"], cache_hits())
        yield found


REGISTRY.register(TemplateCache())
DAG_STEPS = _histogram(
    "dag_iteration_steps",
    "Steps that one pass over a run made ready or skipped",
    (0, 1, 2, 5, 10, 20, 40),
    *("controller", "type"),
)

BUILD_INFO = _gauge("build_info", "1, labelled with the version that runs", "version")
BUILD_INFO.labels(__version__).set(1)
