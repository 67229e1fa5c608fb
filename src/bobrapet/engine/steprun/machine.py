"""The StepRun state machine: what to do for a StepRun at this moment.

Pending -> (inputs resolved) -> Running with a Job -> the component reports, or its Job ends, or its time is up ->
judged -> Pending again for a retry, or the definitive end. Every decision is one status patch, and the Job is written
after it: a snapshot that is stale loses at the patch, before anything runs twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from bobrapet.api import duration, labels
from bobrapet.api.enums import ExitClass, Phase
from bobrapet.engine import cache
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.plans import Annotate, CacheWrite, Delete, Event, StepPlan
from bobrapet.engine.reasons import Ended, Retries, Runs, Stops
from bobrapet.engine.retry import TIMEOUT_EXIT, UNKNOWN_EXIT, exit_class, is_retryable, retry_delay
from bobrapet.engine.states import moment
from bobrapet.engine.steprun import judge
from bobrapet.engine.steprun.beginning import STARTS_WITHIN, Beginning
from bobrapet.engine.steprun.observed import LEFT_OVER, Attempt, Exit, Pod, Trouble

if TYPE_CHECKING:
    from bobrapet.engine.snapshot import StepSnapshot

LINGER: Final = timedelta(seconds=60)
"""How long the process of a step that reported success may go on before its Job is deleted."""


def plan(snapshot: StepSnapshot, now: datetime) -> StepPlan:
    """Decides what to do for a StepRun at `now`. Pure; applying the plan twice does no harm."""
    return _Machine(snapshot, now).plan()


def too_large(snapshot: StepSnapshot, now: datetime, *, context_bytes: int = 0) -> StepPlan:
    """The plan after the API server refused the Job because it is too large (R-4.8).

    Args:
        context_bytes: size of the template context that the Job would have carried.
    """
    message = (
        f"the API server refused the Job because it is too large; its template context has {context_bytes} bytes. "
        "Configure storage, so that large values are passed by reference, or pass less"
    )
    return _Machine(snapshot, now).fail("InputTooLarge", message, event="JobCreateTooLarge")


def not_created(snapshot: StepSnapshot, message: str, now: datetime) -> StepPlan:
    """The plan after the API server refused the Job for a reason that may pass: a quota, an admission policy."""
    return _Machine(snapshot, now).not_created(message)


def storage_unavailable(snapshot: StepSnapshot, now: datetime, message: str, retry_at: datetime) -> StepPlan:
    """The plan while the payload store of a step that is about to start fails: tell it, and try again."""
    return _Machine(snapshot, now).wait_for_storage(message, retry_at)


class _Machine(Beginning):
    def plan(self) -> StepPlan:
        if self._step.metadata.deletion_timestamp:
            return self._deletion()
        if self._attempt is not None and self._attempt.number == LEFT_OVER and not self._snapshot.job_confirmed:
            # The Job of another StepRun of this name: of an earlier one, or of a later one, and then it is the StepRun
            # in the cache that is gone.
            return StepPlan(confirm_job=True)
        if (final := final_phase(self._step)) is not None:
            return self._after_the_end(final)
        phase = self._step.status.phase
        if phase is not None and phase.is_terminal:
            return self._reported(phase)
        if self._is_cancel_requested():
            return self._drain()
        retry_at = moment(self._step.status.next_retry_at)
        if retry_at is not None and self._now < retry_at:
            because = self._step.status.last_failure_msg or ""
            return StepPlan(
                deletes=self._delete_earlier_job(),
                wake_at=retry_at,
                reason=Retries(retry_at, self._number, because),
            )
        if self._attempt is not None:
            return self._with_job(self._attempt)
        if phase is Phase.RUNNING:
            return self._lost() if self._snapshot.job_confirmed_absent else StepPlan(confirm_job=True)
        return self._start()

    # During an attempt

    def _with_job(self, attempt: Attempt) -> StepPlan:
        if attempt.number is not None and attempt.number != self._number:
            return StepPlan(deletes=self._delete_earlier_job(), reason=Runs(note="waits for the earlier Job to go"))
        if attempt.is_deleting:
            return StepPlan(reason=Runs(note="waits for the deleted Job to go"))
        ended = attempt.exit()
        if ended is not None:
            return self._silent(attempt, ended)
        deadline = self._deadline(attempt)
        if self._now >= deadline:
            text = duration.from_timedelta(self._policy.timeout.value)
            told = f"timed out after {text}{attempt.hindrance()}"
            return self._failed(Phase.TIMEOUT, ExitClass.RETRY, TIMEOUT_EXIT, told, delete=True)
        trouble = attempt.trouble()
        looks_at: datetime | None = None
        pod = attempt.newest_pod
        if trouble is None and (pod is None or not pod.has_started) and (mounted := self._mounted()):
            # A pod whose volumes cannot be mounted says nothing in its status; the usual cause can be looked for. One
            # look is enough: the kubelet tries again by itself, and the pod tells when it starts.
            began = pod.created_at if pod is not None else attempt.created_at
            looks_at = (began or self._now) + STARTS_WITHIN
            if looks_at <= self._now:
                looks_at = None
                if unknown := tuple(name for name in mounted if name not in self._snapshot.secrets):
                    return StepPlan(look_for=unknown)
                if missing := [name for name in mounted if not self._snapshot.secrets[name]]:
                    trouble = Trouble("SecretNotFound", "; ".join(self._absent("Secret", name) for name in missing))
        note = ""
        if trouble is not None:
            note = f"{trouble.reason}: {trouble.message}" if trouble.message else trouble.reason
            if self._ready_reason() != trouble.reason:
                self._status.phase(Phase.RUNNING, trouble.reason, f"pod cannot run: {note}")
        elif self._step.status.phase is not Phase.RUNNING:
            self._status.phase(Phase.RUNNING, "Running", "resuming monitoring")
        elif self._ready_reason() not in ("Scheduled", "Running"):
            self._status.phase(Phase.RUNNING, "Running", "the pod runs")
        if self._number and pod is not None and trouble is None:
            # From the second attempt on there may be a pod of an earlier one somewhere that still talks; the name of
            # the right one lets components of the Go ecosystem refuse to (16.4).
            self._status.set("podName", pod.name)
        started = moment(self._step.status.started_at)
        wake_at = min(deadline, looks_at) if looks_at is not None else deadline
        return StepPlan(status=self._status.patch(), wake_at=wake_at, reason=Runs(started, self._number, note))

    def _deadline(self, attempt: Attempt) -> datetime:
        """When this attempt has used up its time: exact for the first, at most a second late for later ones, since
        the API server tells a Job's age in whole seconds."""
        started = moment(self._step.status.started_at) or self._now
        created = attempt.created_at
        if created is not None and created > started + timedelta(seconds=1):
            started = created + timedelta(seconds=1)
        return started + self._policy.timeout.value

    # At the end of an attempt

    def _silent(self, attempt: Attempt, ended: Exit) -> StepPlan:
        """The process ended without a word from the component."""
        if ended.code == 0:
            told = "the component reported nothing; its Job succeeded"
            return self._succeeded(Event("Normal", "JobStatusPatched", told))
        message = f"exited with code {ended.code}" if ended.code != UNKNOWN_EXIT else "ended for an unknown reason"
        if ended.message:
            message = f"{message}: {ended.message}"
        phase = Phase.TIMEOUT if ended.code == TIMEOUT_EXIT else Phase.FAILED
        fallback = Event("Warning", "JobStatusFallback", f"the component reported nothing; {message}")
        return self._failed(phase, exit_class(ended.code), ended.code, message, event=fallback)

    def _reported(self, phase: Phase) -> StepPlan:
        """The component wrote its end; it becomes definitive here, or not."""
        status = self._step.status
        if status.next_retry_at is not None and self._attempt_is_not_current():
            # Between two attempts: a process of the one before still talks. Its failure is known, and its success came
            # after the decision to repeat it (16.4).
            self._status.ignore_report(f"a report of an earlier attempt ({phase.value}) was ignored")
            return StepPlan(
                status=self._status.patch(), deletes=self._delete_job(), wake_at=moment(status.next_retry_at)
            )
        if phase is Phase.SUCCEEDED:
            return self._succeeded()
        code = self._exit_code()
        found = judge.reported_class(status, code)
        message = judge.reported_message(status, code)
        if self._is_cancel_requested():
            return self._end(Phase.CANCELED, "Canceled", message or "canceled", found, code)
        return self._failed(phase, found, code, message)

    def _succeeded(self, *events: Event) -> StepPlan:
        verdict = self._judge(self._step.status.output)
        if isinstance(verdict, judge.Rejected):
            return self._end(
                Phase.FAILED,
                verdict.reason,
                verdict.message,
                ExitClass.TERMINAL,
                None,
                failure=verdict.message,
                events=(Event("Warning", verdict.reason, verdict.message),),
            )
        events = (*events, *verdict.events)
        return self._end(Phase.SUCCEEDED, "Completed", verdict.message, ExitClass.SUCCESS, 0, events=events)

    def _failed(
        self,
        phase: Phase,
        found: ExitClass,
        code: int | None,
        message: str,
        *,
        delete: bool = False,
        event: Event | None = None,
    ) -> StepPlan:
        """An attempt failed: try again, or end (14.3)."""
        retry = self._policy.retry
        most = retry.max_retries.value
        if not is_retryable(found) or self._number >= most or self._is_cancel_requested():
            reason = "TimedOut" if phase is Phase.TIMEOUT else "ExecutionFailed"
            events = (event or Event("Warning", reason, message),)
            return self._end(phase, reason, message, found, code, failure=message, events=events, delete=delete)
        asked = judge.retry_after(self._step.status) if found is ExitClass.RATE_LIMITED else timedelta(0)
        delay = retry_delay(retry, self._number + 1, seed=self._step.metadata.uid or "", at_least=asked)
        at = self._now + delay
        text = duration.from_timedelta(delay)
        told = f"Retrying in {text} (attempt {self._number + 1}/{most}): {message}"
        self._status.retry(at, told, message)
        return StepPlan(
            status=self._status.patch(),
            deletes=self._delete_job(),
            events=(Event("Warning", "JobRetryScheduled", told),),
            wake_at=at,
            reason=Retries(at, self._number + 1, message),
            retry_class=found,
        )

    # Cancel, after the end, deletion

    def _drain(self) -> StepPlan:
        """Asked to end: the pod gets SIGTERM with the Job's deletion, and its grace period to report."""
        attempt = self._attempt
        if attempt is None:
            if self._step.status.phase is Phase.RUNNING and not self._snapshot.job_confirmed_absent:
                return StepPlan(confirm_job=True)
            if any(not pod.is_over for pod in self._pods):
                return StepPlan(reason=Stops())
            return self._end(Phase.CANCELED, "Canceled", "canceled", ExitClass.TERMINAL, None)
        ended = attempt.exit()
        if ended is not None and ended.code == 0:
            return self._succeeded()
        if ended is not None:
            return self._end(Phase.CANCELED, "Canceled", "canceled", exit_class(ended.code), ended.code, delete=True)
        return StepPlan(deletes=self._delete_job(), reason=Stops())

    def _after_the_end(self, final: Phase) -> StepPlan:
        """The end stands, whatever a late process writes; and no process outlives it for long."""
        if self._step.status.phase is not final:
            # A late process changed the phase; conditions and times still say how it ended.
            self._status.keep("phase", final.value)
        deletes: tuple[Delete, ...] = ()
        wake_at = None
        attempt = self._attempt
        if attempt is not None and not attempt.is_over and not attempt.is_deleting:
            finished = moment(self._step.status.finished_at) or self._now
            wake_at = finished + LINGER if final is Phase.SUCCEEDED else self._now
            if self._now >= wake_at:
                deletes, wake_at = self._delete_job(), None
        message = self._ready_message() if final is not Phase.SUCCEEDED else ""
        return StepPlan(
            status=self._status.patch(),
            deletes=deletes,
            cache_write=self._cache_write() if final is Phase.SUCCEEDED else None,
            wake_at=wake_at,
            reason=Ended(final, message),
        )

    def _cache_write(self) -> CacheWrite | None:
        """What the success leaves to later runs; again after a crash, until it is marked as stored."""
        place, store, output = self._cache_place(), self._policy.storage.value, self._step.status.output
        if place is None or store is None or not output or not cache.may_be_stored(output):
            return None
        metadata = self._step.metadata
        mark = {"metadata": {"annotations": {labels.ANNOTATION_CACHE_STATUS: cache.STORED}}}
        return CacheWrite(
            store,
            place.path,
            cache.entry(output, place.ttl_seconds, self._now),
            Annotate("StepRun", metadata.name or "", metadata.uid, mark),
        )

    def _deletion(self) -> StepPlan:
        """Owner references clean up by themselves; only a finalizer that is there must be let go at the right time."""
        if labels.STEPRUN_FINALIZER not in self._step.metadata.finalizers:
            return StepPlan(reason=Stops())
        if self._attempt is not None:
            return StepPlan(deletes=self._delete_job(), reason=Stops())
        if not self._snapshot.job_confirmed_absent:
            return StepPlan(confirm_job=True)
        kept = [name for name in self._step.metadata.finalizers if name != labels.STEPRUN_FINALIZER]
        return StepPlan(metadata={"metadata": {"finalizers": kept or None}}, reason=Stops())

    # Facts

    def _attempt_is_not_current(self) -> bool:
        return self._attempt is None or (self._attempt.number is not None and self._attempt.number != self._number)

    def _exit_code(self) -> int | None:
        if self._step.status.exit_code is not None:
            return self._step.status.exit_code
        pod: Pod | None = self._attempt.newest_pod if self._attempt is not None else None
        return pod.exit_code if pod is not None else None
