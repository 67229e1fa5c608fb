"""The StepRun state machine: what to do for a StepRun at this moment.

Pending -> (inputs resolved) -> Running with a Job -> the component reports, or its Job ends, or its time is up ->
judged -> Pending again for a retry, or the definitive end. Every decision is one status patch, and the Job is written
after it: a snapshot that is stale loses at the patch, before anything runs twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, assert_never

from bobrapet.api import duration, labels
from bobrapet.api.enums import ExitClass, Phase, WorkloadMode
from bobrapet.api.timestamps import format_time
from bobrapet.config import policy as execution_policy
from bobrapet.config.tls import tls_secret
from bobrapet.engine import cache, inputs, materialize
from bobrapet.engine.graph import find_step
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.plans import Annotate, CacheRead, CacheWrite, Delete, Event, JobStart, StepPlan
from bobrapet.engine.reasons import (
    Ended,
    Reason,
    Retries,
    Runs,
    Starting,
    Stops,
    WaitsFor,
    WaitsForPayload,
    WaitsForReference,
)
from bobrapet.engine.retry import TIMEOUT_EXIT, UNKNOWN_EXIT, exit_class, is_retryable, retry_delay
from bobrapet.engine.states import moment
from bobrapet.engine.steprun import judge, references
from bobrapet.engine.steprun.debug import context_annotations
from bobrapet.engine.steprun.observed import Attempt, Exit, Pod, Trouble, attempt_of, pod_of
from bobrapet.engine.steprun.status import StepStatus

if TYPE_CHECKING:
    from bobrapet.api.story import Step
    from bobrapet.engine.snapshot import StepSnapshot

LINGER: Final = timedelta(seconds=60)
"""How long the process of a step that reported success may go on before its Job is deleted."""

LOOK_AGAIN: Final = timedelta(seconds=5)
"""Pause between two looks for a Secret that is missing."""

SLOW_END: Final = timedelta(seconds=60)
"""How long after the moment of a retry a pod of the attempt before may still be there without a word about it."""

EPHEMERAL: Final = (
    "storage.file has no volumeClaimName: what the step offloads there ends with its pod, and other steps cannot read "
    "it; name a PersistentVolumeClaim"
)

JOB_NOT_CREATED: Final = "JobCreateFailed"

EXTRA_RESTARTS: Final = 3
"""How often a lost Job is started again beyond the retries, so that somebody who deletes Jobs meets an end (15.2)."""


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


class _Machine:
    def __init__(self, snapshot: StepSnapshot, now: datetime) -> None:
        self._snapshot = snapshot
        self._now = now
        self._step = snapshot.step
        self._status = StepStatus(snapshot.step, now)
        self._number = max(snapshot.step.status.retries or 0, 0)
        self._pods = [pod_of(pod) for pod in snapshot.pods]
        self._attempt = attempt_of(snapshot.job, self._pods) if snapshot.job is not None else None
        self._definition = self._find_definition()
        self._policy = execution_policy.resolve(
            snapshot.config,
            template=snapshot.template,
            engram=snapshot.engram,
            story=snapshot.story,
            step=self._definition,
            steprun=snapshot.step,
        )

    def plan(self) -> StepPlan:
        if self._step.metadata.deletion_timestamp:
            return self._deletion()
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
                deletes=self._delete_job(),
                wake_at=retry_at,
                reason=Retries(retry_at, self._number, because),
            )
        if self._attempt is not None:
            return self._with_job(self._attempt)
        if phase is Phase.RUNNING:
            return self._lost() if self._snapshot.job_confirmed_absent else StepPlan(confirm_job=True)
        return self._start()

    # Before an attempt

    def _start(self, *, restart: bool = False) -> StepPlan:
        if busy := [pod.name for pod in self._pods if not pod.is_over]:
            return self._wait_for_pod(busy[0])
        snapshot = self._snapshot
        if (refused := references.refused(snapshot)) is not None:
            return self.fail(*refused)
        if snapshot.engram is None:
            return self._blocked("ReferenceNotFound", "Engram", references.engram_name(self._step))
        if snapshot.template is None:
            return self._blocked("TemplateNotFound", "EngramTemplate", snapshot.engram.spec.template_ref.name)
        if snapshot.run is None:
            return self._wait(WaitsForReference("StoryRun", self._step.spec.story_run_ref.name))
        if snapshot.story is None:
            return self._wait(WaitsForReference("Story", snapshot.run.spec.story_ref.name))
        for_others = materialize.is_materialize(self._step)
        if self._definition is None and not for_others:
            return self.fail(
                "InvalidConfiguration",
                f'Story "{snapshot.story.metadata.name}" has no step "{self._step.spec.step_id}" any more',
            )
        if self._policy.problems:
            return self.fail("InvalidConfiguration", "; ".join(self._policy.problems))
        mode = snapshot.engram.spec.mode or references.default_mode(snapshot.template.spec.supported_modes)
        if mode is not WorkloadMode.JOB:
            return self.fail(
                "InvalidConfiguration",
                f'Engram "{snapshot.engram.metadata.name}" has mode {mode.value}; a batch step needs mode job',
            )
        if (tls := tls_secret(snapshot.engram)) and not snapshot.secrets.get(tls, False):
            return self._without_secret(tls) if tls in snapshot.secrets else StepPlan(look_for=(tls,))
        if self._ready_reason() == JOB_NOT_CREATED and self._now >= self._patience():
            return self.fail(JOB_NOT_CREATED, self._ready_message(), event=JOB_NOT_CREATED)
        resolved = inputs.given(snapshot) if for_others else self._resolved()
        match resolved:
            case inputs.Waiting(on=names):
                return self._wait(WaitsFor(names))
            case inputs.Load(references=wanted):
                return StepPlan(load=wanted, reason=Starting())
            case inputs.Materialize(question=question):
                plan = self._wait(WaitsFor((question.name,)))
                is_asked = question.name in snapshot.siblings
                return plan if is_asked else dataclasses.replace(plan, materialize=question)
            case inputs.Fault(reason=reason, message=message):
                return self.fail(reason, message)
            case inputs.Resolved():
                return self._reuse_or_run(resolved, restart=restart)
            case other:
                assert_never(other)

    def _resolved(self) -> inputs.Resolved | inputs.Waiting | inputs.Load | inputs.Materialize | inputs.Fault:
        assert self._definition is not None
        return inputs.resolve_step(self._snapshot, self._definition, self._policy)

    def _reuse_or_run(self, resolved: inputs.Resolved, *, restart: bool) -> StepPlan:
        """Takes the output of an earlier run, when the policy allows it and there is one; else starts the process."""
        store, policy = self._policy.storage.value, self._policy.cache.value
        found = cache.place(self._snapshot, policy, resolved.inputs)
        if isinstance(found, cache.Unusable):
            unusable = Event("Warning", "CacheUnusable", found.message)
            return self._run(resolved, restart=restart, events=(unusable,))
        if found is None or store is None or not self._snapshot.has_cache:
            return self._run(resolved, restart=restart)
        result: Literal["", "miss"] = ""
        if found.is_read:
            if found.path not in self._snapshot.cached:
                return StepPlan(cache_read=CacheRead(store, found.path), reason=Starting())
            output = cache.reusable_output(self._snapshot.cached[found.path], self._now)
            if output is not None and isinstance(self._judge(output), judge.Accepted):
                self._status.reuse(output)
                plan = self._end(Phase.SUCCEEDED, "Completed", "cache hit, output reused", ExitClass.SUCCESS, 0)
                marks = cache.recorded_annotations(found) | {labels.ANNOTATION_CACHE_STATUS: cache.HIT}
                return dataclasses.replace(plan, metadata={"metadata": {"annotations": marks}}, cache_result="hit")
            result = "miss"
        marks = cache.recorded_annotations(found)
        return dataclasses.replace(self._run(resolved, restart=restart, marks=marks), cache_result=result)

    def _run(
        self,
        resolved: inputs.Resolved,
        *,
        restart: bool,
        events: tuple[Event, ...] = (),
        marks: Mapping[str, str] | None = None,
    ) -> StepPlan:
        """Starts the process. `marks`: annotations that the StepRun must have before."""
        assert self._snapshot.engram is not None
        assert self._snapshot.template is not None
        status = self._status
        status.set("nextRetryAt", None)
        status.set("podName", None)
        for name, reference in judge.schema_references(
            self._step, self._snapshot.engram, self._snapshot.template
        ).items():
            status.set(name, reference)
        status.phase(Phase.RUNNING, "Scheduled", "Job created")
        store = self._policy.storage.value
        if store is not None and store.is_ephemeral and not self._number:
            events = (*events, Event("Warning", "EphemeralStorage", EPHEMERAL))
        if restart:
            events = (*events, Event("Warning", "JobRestarted", "the Job was lost and is started again"))
        started = moment(self._step.status.started_at) or self._now
        marks = {**(marks or {}), **context_annotations(self._step, self._snapshot.run, resolved.context)}
        new = {key: value for key, value in marks.items() if self._step.metadata.annotations.get(key) != value}
        return StepPlan(
            metadata={"metadata": {"annotations": new}} if new else None,
            status=status.patch(),
            after_start=self._restarted() if restart else None,
            start=JobStart(
                attempt=self._number,
                started_at=started,
                inputs=resolved.inputs,
                configuration=resolved.configuration,
                context=resolved.context,
                skip_templating=resolved.is_complete,
                policy=self._policy,
                secrets=dict(self._definition.secrets) if self._definition is not None else {},
            ),
            events=events,
            wake_at=self._now + self._policy.timeout.value,
            reason=Starting(),
        )

    def _blocked(self, reason: str, kind: str, name: str) -> StepPlan:
        """A referenced object is missing: told at once, failed after the step's timeout (decision 4)."""
        until = self._patience()
        if self._now >= until:
            return self.fail(reason, f'{kind} "{name}" does not exist', event=reason)
        message = f"{kind} '{name}' not found"
        events: tuple[Event, ...] = ()
        if self._step.status.phase is not Phase.BLOCKED or self._ready_message() != message:
            self._status.phase(Phase.BLOCKED, reason, message)
            events = (Event("Warning", reason, f"{message}; the step starts when it is there"),)
        waits = WaitsForReference(kind, name, until)
        return StepPlan(status=self._status.patch(), events=events, wake_at=until, reason=waits)

    def _without_secret(self, name: str) -> StepPlan:
        """The TLS Secret is missing: a pod could not start without it, so there is no Job yet (R-11.1)."""
        until = self._patience()
        message = self._absent("TLS Secret", name)
        if self._now >= until:
            return self.fail("SecretNotFound", message, event="SecretNotFound")
        events: tuple[Event, ...] = ()
        if self._step.status.phase is not Phase.PENDING or self._ready_reason() != "SecretNotFound":
            self._status.phase(Phase.PENDING, "SecretNotFound", message)
            told = f"{message}; create it, or correct the Engram's spec.transport.tls or its annotation"
            events = (Event("Warning", "SecretNotFound", told),)
        # Secrets are not watched: that would be the right to read all of them.
        wake_at = min(self._now + LOOK_AGAIN, until)
        waits = WaitsForReference("Secret", name, until)
        return StepPlan(status=self._status.patch(), events=events, wake_at=wake_at, reason=waits)

    def not_created(self, message: str) -> StepPlan:
        """The Job was refused, but may be accepted later: a step without a Job is Pending, and says why."""
        self._status.phase(Phase.PENDING, JOB_NOT_CREATED, message)
        return StepPlan(
            status=self._status.patch(),
            events=(Event("Warning", JOB_NOT_CREATED, message),),
            wake_at=self._patience(),
        )

    def _patience(self) -> datetime:
        """Until when a step waits for what it needs to start: its timeout, counted from its creation (decision 4).

        Later attempts have theirs on top, since the earlier ones may have used up all of it."""
        created = moment(self._step.metadata.creation_timestamp) or self._now
        return created + self._policy.timeout.value * (self._number + 1)

    def _wait(self, reason: Reason) -> StepPlan:
        """Nothing to do until something else changes; a StepRun that nobody looked at yet gets its first phase."""
        if self._step.status.phase is None:
            self._status.phase(Phase.PENDING, "Pending", str(reason))
        return StepPlan(status=self._status.patch(), reason=reason)

    def wait_for_storage(self, message: str, retry_at: datetime) -> StepPlan:
        """Written once: what a store says differs from call to call, and each write wakes the run."""
        events: tuple[Event, ...] = ()
        if self._ready_reason() != "StorageUnavailable":
            self._status.phase(Phase.PENDING, "StorageUnavailable", message)
            events = (Event("Warning", "StorageUnavailable", message),)
        reason = WaitsForPayload(f"its payload store: {message}")
        return StepPlan(status=self._status.patch(), events=events, wake_at=retry_at, reason=reason)

    def _wait_for_pod(self, name: str) -> StepPlan:
        """A pod of an earlier attempt has not ended. Usually it does so within its grace period."""
        waits = Runs(note=f"waits for pod {name} of an earlier attempt to end")
        due = moment(self._step.status.next_retry_at)
        if due is None:
            return self._wait(waits)
        told_at = due + SLOW_END
        if self._now < told_at:
            return dataclasses.replace(self._wait(waits), wake_at=told_at)
        if self._ready_reason() != "WaitsForPod":
            message = (
                f"pod {name} of an earlier attempt has not ended; two attempts never run at once. If its node is lost, "
                f"kubectl delete pod {name} --force"
            )
            self._status.phase(Phase.PENDING, "WaitsForPod", message)
        return self._wait(waits)

    # During an attempt

    def _with_job(self, attempt: Attempt) -> StepPlan:
        if attempt.number is not None and attempt.number != self._number:
            return StepPlan(deletes=self._delete_job(), reason=Runs(note="waits for the earlier Job to go"))
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
        if trouble is None and pod is not None and not pod.has_started and (mounted := self._mounted()):
            # A pod whose volumes cannot be mounted says nothing in its status; the usual cause can be looked for.
            looks_at = max((pod.created_at or self._now) + LOOK_AGAIN, self._now)
            if looks_at <= self._now:
                if unknown := tuple(name for name in mounted if name not in self._snapshot.secrets):
                    return StepPlan(look_for=unknown)
                looks_at = self._now + LOOK_AGAIN
                if missing := [name for name in mounted if not self._snapshot.secrets[name]]:
                    trouble = Trouble("SecretNotFound", self._absent("Secret", missing[0]))
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

    def _mounted(self) -> list[str]:
        return references.mounted_secrets(self._snapshot, self._definition)

    def _absent(self, kind: str, name: str) -> str:
        return f"{kind} '{name}' not found in namespace {self._step.metadata.namespace}"

    def _deadline(self, attempt: Attempt) -> datetime:
        """When this attempt has used up its time: exact for the first, at most a second late for later ones, since
        the API server tells a Job's age in whole seconds."""
        started = moment(self._step.status.started_at) or self._now
        created = attempt.created_at
        if created is not None and created > started + timedelta(seconds=1):
            started = created + timedelta(seconds=1)
        return started + self._policy.timeout.value

    def _lost(self) -> StepPlan:
        """The status says Running, but there is no Job: deleted by somebody, or never created because we went down."""
        restarts = self._restarts()
        limit = self._policy.retry.max_retries.value + EXTRA_RESTARTS
        if restarts >= limit:
            message = f"the Job was lost {restarts + 1} times"
            return self._end(Phase.FAILED, "ExecutionFailed", message, ExitClass.UNKNOWN, UNKNOWN_EXIT)
        return self._start(restart=True)

    def _restarts(self) -> int:
        text = self._step.metadata.annotations.get(labels.ANNOTATION_RESTART_COUNT, "0")
        return int(text) if text.isdecimal() else 0

    def _restarted(self) -> Annotate:
        annotations = {
            labels.ANNOTATION_RESTART_COUNT: str(self._restarts() + 1),
            labels.ANNOTATION_RESTARTED_AT: format_time(self._now),
        }
        metadata = self._step.metadata
        return Annotate("StepRun", metadata.name or "", metadata.uid, {"metadata": {"annotations": annotations}})

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

    def _judge(self, output: Mapping[str, Any] | None) -> judge.Accepted | judge.Rejected:
        return judge.success(self._snapshot, self._definition, output)

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

    def fail(self, reason: str, message: str, *, event: str = "") -> StepPlan:
        """The step can never run. `event`: reason of its Event, that of the status when empty."""
        events = (Event("Warning", event or reason, message),)
        return self._end(
            Phase.FAILED, reason, message, ExitClass.TERMINAL, None, failure=message, events=events, delete=True
        )

    def _end(
        self,
        phase: Phase,
        reason: str,
        message: str,
        found: ExitClass,
        code: int | None,
        *,
        failure: str = "",
        events: tuple[Event, ...] = (),
        delete: bool = False,
    ) -> StepPlan:
        pod = self._attempt.newest_pod if self._attempt is not None else None
        self._status.finish(
            phase, reason, message, exit_class=found, exit_code=code, pod=pod.name if pod else "", failure=failure
        )
        return StepPlan(
            status=self._status.patch(),
            deletes=self._delete_job() if delete else (),
            events=events,
            wake_at=self._now if phase is Phase.SUCCEEDED and self._cache_place() is not None else None,
            reason=Ended(phase, message if phase is not Phase.SUCCEEDED else ""),
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

    def _cache_place(self) -> cache.Place | None:
        """Where the output of this step shall be stored, if nothing was stored or found there yet."""
        place = cache.recorded_place(self._step, self._snapshot.engram)
        return place if place is not None and place.is_written and self._snapshot.has_cache else None

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

    def _delete_job(self) -> tuple[Delete, ...]:
        if self._attempt is None or self._attempt.is_deleting:
            return ()
        return (Delete("Job", self._step.metadata.name or "", self._attempt.uid),)

    def _is_cancel_requested(self) -> bool:
        return self._step.metadata.annotations.get(labels.ANNOTATION_CANCEL_REQUESTED) == "true"

    def _attempt_is_not_current(self) -> bool:
        return self._attempt is None or (self._attempt.number is not None and self._attempt.number != self._number)

    def _exit_code(self) -> int | None:
        if self._step.status.exit_code is not None:
            return self._step.status.exit_code
        pod: Pod | None = self._attempt.newest_pod if self._attempt is not None else None
        return pod.exit_code if pod is not None else None

    def _ready_reason(self) -> str:
        return judge.ready(self._step)[0]

    def _ready_message(self) -> str:
        return judge.ready(self._step)[1]

    def _find_definition(self) -> Step | None:
        if self._snapshot.story is None:
            return None
        parent = self._step.metadata.labels.get(labels.PARENT_STEP, "")
        return find_step(self._snapshot.story, self._step.spec.step_id, parent)
