"""Before an attempt: what must be there, what may be reused, and the start (spec workloads 3, 4, 7, 15, 17.4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, assert_never

from bobrapet.api import labels
from bobrapet.api.enums import ExitClass, Phase, WorkloadMode
from bobrapet.api.timestamps import format_time
from bobrapet.engine import cache, inputs, materialize
from bobrapet.engine.plans import Annotate, CacheRead, Event, JobStart, StepPlan
from bobrapet.engine.reasons import Runs, Starting, WaitsFor, WaitsForPayload, WaitsForReference
from bobrapet.engine.retry import UNKNOWN_EXIT
from bobrapet.engine.states import moment
from bobrapet.engine.steprun import judge, references
from bobrapet.engine.steprun.basis import StepPass
from bobrapet.engine.steprun.debug import context_annotations

STARTS_WITHIN: Final = timedelta(seconds=5)
"""How long a pod may take to start before somebody looks whether the Secrets that it mounts are there."""

FIRST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(seconds=30)
"""Bounds of the pauses between two looks for a Secret without which there is no Job."""

CACHE_LAG: Final = timedelta(milliseconds=100)
"""Pause between two looks for the end of a dependency that the cache does not show yet."""

SLOW_END: Final = timedelta(seconds=60)
"""How long after the moment of a retry a pod of the attempt before may still be there without a word about it."""

EPHEMERAL: Final = (
    "storage.file has no volumeClaimName: what the step offloads there ends with its pod, and other steps cannot read "
    "it; name a PersistentVolumeClaim"
)

JOB_NOT_CREATED: Final = "JobCreateFailed"

EXTRA_RESTARTS: Final = 3
"""How often a lost Job is started again beyond the retries, so that somebody who deletes Jobs meets an end (15.2)."""


class Beginning(StepPass):
    """Starts an attempt, or says what it waits for."""

    def _start(self, *, restart: bool = False) -> StepPlan:
        if busy := [pod.name for pod in self._pods if not pod.is_over]:
            return self._wait_for_pod(busy[0])
        snapshot = self._snapshot
        if (refused := references.refused(snapshot)) is not None:
            return self._refuse(*refused)
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
            return self._refuse(
                "InvalidConfiguration",
                f'Story "{snapshot.story.metadata.name}" has no step "{self._step.spec.step_id}" any more',
            )
        if self._policy.problems:
            return self._refuse("InvalidConfiguration", "; ".join(self._policy.problems))
        mode = snapshot.engram.spec.mode or references.default_mode(snapshot.template.spec.supported_modes)
        if mode is not WorkloadMode.JOB:
            return self._refuse(
                "InvalidConfiguration",
                f'Engram "{snapshot.engram.metadata.name}" has mode {mode.value}; a batch step needs mode job',
            )
        needed = references.needed_secrets(snapshot.engram, self._policy)
        if unknown := tuple(name for name in needed if name not in snapshot.secrets):
            return StepPlan(look_for=unknown)
        if missing := [name for name in needed if not snapshot.secrets[name]]:
            return self._without_secret(missing[0], needed[missing[0]])
        if self._ready_reason() == JOB_NOT_CREATED and self._now >= self._patience():
            return self.fail(JOB_NOT_CREATED, self._ready_message(), event=JOB_NOT_CREATED)
        resolved = inputs.given(snapshot) if for_others else self._resolved()
        match resolved:
            case inputs.Waiting(on=names):
                # What is older than this step comes with the next news, which may not be about this step.
                return dataclasses.replace(self._wait(WaitsFor(names)), wake_at=self._now + CACHE_LAG)
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

    def _refuse(self, reason: str, message: str) -> StepPlan:
        """Fails the step for what the objects that it names say, when the newest ones say so: the StepRun may be newer
        than those in the cache."""
        if not self._snapshot.references_confirmed:
            return StepPlan(confirm_references=True)
        return self.fail(reason, message)

    def _resolved(self) -> inputs.Resolved | inputs.Waiting | inputs.Load | inputs.Materialize | inputs.Fault:
        assert self._definition is not None
        return inputs.resolve_step(self._snapshot, self._definition, self._policy)

    def _reuse_or_run(self, resolved: inputs.Resolved, *, restart: bool) -> StepPlan:
        """Takes the output of an earlier run, when the policy allows it and there is one; else starts the process."""
        store, policy = self._policy.storage.value, self._policy.cache.value
        found = cache.place(self._snapshot, policy, resolved.inputs, resolved.configuration)
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
            # A pod that waits wakes nobody; where a Secret may be what it waits for, somebody has to look, once.
            wake_at=self._now + min(self._policy.timeout.value, STARTS_WITHIN if self._mounted() else timedelta.max),
            reason=Starting(),
        )

    def _blocked(self, reason: str, kind: str, name: str) -> StepPlan:
        """A referenced object is missing: told at once, failed after the step's timeout (decision 4)."""
        until = self._patience()
        if self._now >= until:
            if not self._snapshot.references_confirmed:
                return StepPlan(confirm_references=True)
            return self.fail(reason, f'{kind} "{name}" does not exist', event=reason)
        message = f"{kind} '{name}' not found"
        events: tuple[Event, ...] = ()
        if self._step.status.phase is not Phase.BLOCKED or self._ready_message() != message:
            self._status.phase(Phase.BLOCKED, reason, message)
            events = (Event("Warning", reason, f"{message}; the step starts when it is there"),)
        waits = WaitsForReference(kind, name, until)
        return StepPlan(status=self._status.patch(), events=events, wake_at=until, reason=waits)

    def _without_secret(self, name: str, named_by: str) -> StepPlan:
        """A Secret is missing without which the pod could not start, or must not: so there is no Job yet (R-11.1)."""
        until = self._patience()
        message = self._absent("TLS Secret" if named_by == references.TLS else "Secret", name)
        if self._now >= until:
            return self.fail("SecretNotFound", message, event="SecretNotFound")
        events: tuple[Event, ...] = ()
        if self._step.status.phase is not Phase.PENDING or self._ready_reason() != "SecretNotFound":
            self._status.phase(Phase.PENDING, "SecretNotFound", message)
            told = f"{message}; create it, or correct {named_by}"
            events = (Event("Warning", "SecretNotFound", told),)
        # Secrets are not watched: that would be the right to read all of them. The longer it is missing, the longer
        # the pause; as anything else that fails closed and is tried again.
        waited = self._now - (moment(self._step.status.started_at) or self._now)
        wake_at = min(self._now + max(FIRST_PAUSE, min(waited, LONGEST_PAUSE)), until)
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

    def _lost(self) -> StepPlan:
        """The status says Running, but there is no Job: deleted by somebody, or never created because we went down."""
        restarts = self._restarts()
        limit = self._policy.retry.max_retries.value + EXTRA_RESTARTS
        if restarts >= limit:
            message = (
                f"the Job was lost {restarts + 1} times, and never because its component ended: somebody deletes it; "
                "look for who does, then redrive the run"
            )
            return self._end(Phase.FAILED, "ExecutionFailed", message, ExitClass.UNKNOWN, UNKNOWN_EXIT, failure=message)
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
