"""Records what the operator does as Prometheus series (spec admission-and-config C1).

`debug.enable-metrics` switches recording; the few series that are always recorded say so. A label that would be empty
reads `(unknown)`. The number of values is bounded: what names a run is removed with the run, and of runs, Stories,
Engrams and images that come after the first `MAX_RUNS` and `MAX_NAMES` the label reads `(other)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from prometheus_client import Histogram

from bobrapet.api import StepRun, StoryRun, labels
from bobrapet.api.enums import ExitClass, Phase
from bobrapet.config.operator import DEFAULT_QUEUE, OperatorConfig
from bobrapet.engine import evaluation, settings
from bobrapet.engine.outcome import FINALIZED, final_phase
from bobrapet.engine.plans import Patch, RunPlan, StepPlan
from bobrapet.engine.snapshot import RunSnapshot, StepSnapshot
from bobrapet.engine.states import QUEUE_REASONS, moment
from bobrapet.reconcilers import series
from bobrapet.reconcilers.labelvalues import LabelValues
from bobrapet.runtime.errors import Conflict, Forbidden, Invalid, NotFound, TransportError, Unauthorized
from bobrapet.runtime.reconcile import Reconciler, Request, Result

UNKNOWN: Final = "(unknown)"
MAX_RUNS: Final = 1_000  # runs are kept for a day; a busy operator has many more than anybody looks at one by one
MAX_NAMES: Final = 2_000  # each is some forty series, most of them buckets


class Meter:
    """Records what the reconcilers did, after they did it. Several may live in one process; the series are its own."""

    def __init__(
        self, config: Callable[[], OperatorConfig], *, max_runs: int = MAX_RUNS, max_names: int = MAX_NAMES
    ) -> None:
        self._config = config
        self._runs = LabelValues(max_runs)
        self._stories, self._engrams, self._images = (LabelValues(max_names) for _ in range(3))
        self._waiting: dict[tuple[str, str, str], dict[str, int]] = {}
        """Labels of a depth -> how many steps of each run wait; more than one run shares `(other)`."""
        self._open: dict[Request, tuple[str, str, int, int]] = {}
        """Open StoryRun -> namespace, Story, active and completed steps that it adds to the gauges."""
        evaluation.observers[:] = [self._evaluated]

    @property
    def is_on(self) -> bool:
        return self._config().debug.enable_metrics

    # Steps

    def step_applied(self, snapshot: StepSnapshot, plan: StepPlan, now: datetime) -> None:
        """A step's plan was applied, its status written."""
        step, patch = snapshot.step, _status(plan.status)
        namespace, engram = _or_unknown(step.metadata.namespace), self._engram(step)
        if int(patch.get("retries") or 0) > (step.status.retries or 0):
            reason = plan.retry_class or ExitClass.UNKNOWN
            series.STEPRUN_RETRIES.labels(namespace, engram, reason.value).inc()  # always
        if not self.is_on:
            return
        if plan.cache_result:
            series.CACHE_LOOKUPS.labels(namespace, engram, plan.cache_result).inc()
        for delete in plan.deletes:
            series.RESOURCE_CLEANUP.labels(delete.kind.lower(), "success").inc()
        entered = entered_phase(step, patch)
        if not entered:
            return
        series.STEPRUNS.labels(namespace, engram, entered).inc()
        phase = Phase(entered)
        if phase.is_terminal:
            _observe(series.STEPRUN_DURATION.labels(namespace, engram, entered), step, patch)
        if snapshot.job is not None and phase is not Phase.RUNNING and snapshot.template is not None:
            image = self._images.of("", _or_unknown(snapshot.template.spec.image))
            series.JOBS.labels(namespace, image, "success" if phase is Phase.SUCCEEDED else "failure").inc()
            created = moment(snapshot.job["metadata"].get("creationTimestamp"))
            if created is not None:
                series.JOB_DURATION.labels(namespace, image).observe(max((now - created).total_seconds(), 0.0))

    # Runs

    def run_applied(self, snapshot: RunSnapshot, plan: RunPlan, now: datetime) -> None:
        """A run's plan was applied, its status written."""
        run, patch = snapshot.run, _status(plan.status)
        namespace = _or_unknown(run.metadata.namespace)
        story = self._stories.of(namespace, _or_unknown(run.spec.story_ref.name))
        is_over = self._count_steps(run, patch, namespace, story)
        if not self.is_on:
            return
        name = self._runs.of(namespace, run.metadata.name or "")
        for step in plan.starts:
            series.CHILD_STEPRUNS.labels(namespace, name, self._engram(step)).inc()
        for delete in plan.deletes:
            series.DEPENDENTS_DELETED.labels(namespace, name, f"{delete.kind.lower()}s").inc()
            series.RESOURCE_CLEANUP.labels(delete.kind.lower(), "success").inc()
        self._queue(run, patch, namespace, now, is_over=is_over)
        if entered := patch.get("stepStates"):
            found = [state for state in entered.values() if state is not None]
            skipped = sum(state.get("phase") == Phase.SKIPPED for state in found)
            series.DAG_STEPS.labels("storyrun-dag", "ready").observe(len(plan.starts) + len(plan.children))
            series.DAG_STEPS.labels("storyrun-dag", "skipped").observe(skipped)
        phase = patch.get("phase")
        if phase and phase != run.status.phase:
            series.STORYRUNS.labels(namespace, story, phase).inc()
            if Phase(phase).is_terminal:
                _observe(series.STORYRUN_DURATION.labels(namespace, story, phase), run, patch)
                self._windows(snapshot, namespace, story)

    def run_gone(self, request: Request) -> None:
        """A run was deleted, perhaps while it was open. Series that carry its name go with it (B-33)."""
        self._replace(request, None)
        mine = {"namespace": request.namespace, "storyrun": request.name}
        for metric in (series.CHILD_STEPRUNS, series.DEPENDENTS_DELETED):
            metric.remove_by_labels(mine)
        for key in [key for key, waiting in self._waiting.items() if request.name in waiting]:
            if key[0] == request.namespace:
                self._set_depth(key, request.name, 0)
        self._runs.forget(request.namespace, request.name)

    def _count_steps(self, run: StoryRun, patch: Mapping[str, Any], namespace: str, story: str) -> bool:
        """Keeps the gauges at the sum over open runs; says whether this one is over. Always recorded."""
        phase = patch.get("phase") or run.status.phase
        is_over = phase is not None and Phase(phase).is_terminal
        active = patch["active"] or () if "active" in patch else run.status.active
        completed = patch["completed"] or () if "completed" in patch else run.status.completed
        entry = None if is_over else (namespace, story, len(active), len(completed))
        self._replace(Request(run.metadata.namespace or "", run.metadata.name or ""), entry)
        return is_over

    def _replace(self, key: Request, entry: tuple[str, str, int, int] | None) -> None:
        before = self._open.pop(key, None)
        if entry is not None:
            self._open[key] = entry
        if before == entry:
            return
        for sign, (namespace, story, active, completed) in ((-1, before or _NOTHING), (1, entry or _NOTHING)):
            if namespace:
                series.STEPS_ACTIVE.labels(namespace, story).inc(sign * active)
                series.STEPS_COMPLETED.labels(namespace, story).inc(sign * completed)

    def _queue(self, run: StoryRun, patch: Mapping[str, Any], namespace: str, now: datetime, *, is_over: bool) -> None:
        queue = run.metadata.labels.get(labels.QUEUE) or DEFAULT_QUEUE
        changed: Mapping[str, Any] = patch.get("stepStates") or {}
        queued = {step for step, state in run.status.step_states.items() if state.reason in QUEUE_REASONS}
        for step in queued & changed.keys():
            after = changed[step] or {}
            since = run.status.step_states[step].started_at
            if "phase" in after and after["phase"] != Phase.PENDING and (began := moment(since)) is not None:
                series.QUEUE_AGE.labels(namespace, queue).observe(max((now - began).total_seconds(), 0.0))
        waiting = {
            step: after.get("reason", "") in QUEUE_REASONS if "reason" in (after := state or {}) else step in queued
            for step, state in changed.items()
        }
        depth = len(queued - changed.keys()) + sum(waiting.values())
        name = run.metadata.name or ""
        self._set_depth((namespace, self._runs.of(namespace, name), queue), name, 0 if is_over else depth)

    def _set_depth(self, key: tuple[str, str, str], run: str, depth: int) -> None:
        waiting = self._waiting.setdefault(key, {})
        waiting[run] = depth
        if not depth:
            del waiting[run]
        if waiting:
            series.QUEUE_DEPTH.labels(*key).set(sum(waiting.values()))
            return
        del self._waiting[key]
        if key in series.QUEUE_DEPTH._metrics:
            series.QUEUE_DEPTH.remove(*key)  # else every run that ever waited would stay a series

    def _windows(self, snapshot: RunSnapshot, namespace: str, story: str) -> None:
        config = snapshot.config
        kept = settings.retention(config, snapshot.story)
        ttl = settings.child_ttl(config, snapshot.story)
        series.STORYRUN_WINDOW.labels(namespace, story, "child_ttl").set(max(ttl.total_seconds(), 0))
        series.STORYRUN_WINDOW.labels(namespace, story, "retention").set(max(kept.total_seconds(), 0) if kept else 0)

    def _engram(self, step: StepRun) -> str:
        name = _or_unknown(step.spec.engram_ref.name if step.spec.engram_ref is not None else None)
        return self._engrams.of(step.metadata.namespace or "", name)

    def identity(self, resource: str, operation: str) -> None:
        """An object of a runner identity was looked at: created, updated or unchanged."""
        if self.is_on:
            series.RBAC_OPERATIONS.labels(resource.lower(), operation).inc()

    def _evaluated(self, kind: str, gave_value: bool, seconds: float) -> None:
        if self.is_on:
            series.EVALUATIONS.labels(kind, "success" if gave_value else "error").inc()
            series.EVALUATION_DURATION.labels(kind).observe(seconds)

    # Controllers

    def metered(self, controller: str, reconciler: Reconciler[Request]) -> Reconciler[Request]:
        """`reconciler` with its passes counted and timed."""
        return _Metered(self, controller, reconciler)


class _Metered:
    def __init__(self, meter: Meter, controller: str, inner: Reconciler[Request]) -> None:
        self._meter, self._controller, self._inner = meter, controller, inner

    async def reconcile(self, request: Request) -> Result | None:
        if not self._meter.is_on:
            return await self._inner.reconcile(request)
        began = time.perf_counter()
        try:
            result = await self._inner.reconcile(request)
        except Exception as error:
            series.RECONCILES.labels(self._controller, "error").inc()
            series.RECONCILE_ERRORS.labels(self._controller, error_type(error)).inc()
            raise
        else:
            series.RECONCILES.labels(self._controller, "success").inc()
            return result
        finally:
            series.RECONCILE_DURATION.labels(self._controller).observe(time.perf_counter() - began)


def error_type(error: Exception) -> str:
    """The word of an error in `bobrapet_controller_reconcile_errors_total`, by its class, never by its text."""
    for kind, word in _ERROR_TYPES:
        if isinstance(error, kind):
            return word
    return "unknown"


_ERROR_TYPES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (NotFound, "not_found"),
    (Conflict, "conflict"),
    (TimeoutError, "timeout"),
    (TransportError, "connection"),
    (Forbidden, "permission"),
    (Unauthorized, "permission"),
    (Invalid, "validation"),
)
_NOTHING: Final = ("", "", 0, 0)


def _status(patch: Patch | None) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (patch or {}).get("status") or {}
    return found


def entered_phase(step: StepRun, patch: Mapping[str, Any]) -> str:
    """The phase that the controller moved a step to; what a component wrote counts when it is judged."""
    if final_phase(step) is None:
        for condition in patch.get("conditions") or ():
            if condition["type"] == FINALIZED:
                return str(condition["reason"])
    phase = patch.get("phase")
    return str(phase) if phase and phase != step.status.phase else ""


def _or_unknown(text: str | None) -> str:
    return (text or "").strip() or UNKNOWN


def _observe(histogram: Histogram, target: StepRun | StoryRun, patch: Mapping[str, Any]) -> None:
    """Observes how long a run or step took; nothing when it never began."""
    started = moment(patch.get("startedAt") or target.status.started_at)
    finished = moment(patch.get("finishedAt") or target.status.finished_at)
    if started is not None and finished is not None and finished > started:
        histogram.observe((finished - started).total_seconds())
