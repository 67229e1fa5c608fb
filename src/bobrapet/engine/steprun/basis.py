"""What every decision about a StepRun stands on: what was seen, the status under construction, and how a step ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bobrapet.api import labels
from bobrapet.api.enums import ExitClass, Phase
from bobrapet.config import policy as execution_policy
from bobrapet.engine import cache
from bobrapet.engine.graph import find_step
from bobrapet.engine.plans import Delete, Event, StepPlan
from bobrapet.engine.reasons import Ended, Reason
from bobrapet.engine.steprun import judge, references
from bobrapet.engine.steprun.observed import attempt_of, pod_of
from bobrapet.engine.steprun.status import StepStatus

if TYPE_CHECKING:
    from bobrapet.api.story import Step
    from bobrapet.engine.snapshot import StepSnapshot


class StepPass:
    """One look at a StepRun."""

    def __init__(self, snapshot: StepSnapshot, now: datetime) -> None:
        self._snapshot = snapshot
        self._now = now
        self._step = snapshot.step
        self._status = StepStatus(snapshot.step, now)
        self._number = max(snapshot.step.status.retries or 0, 0)
        self._pods = [pod_of(pod) for pod in snapshot.pods]
        self._attempt = (
            attempt_of(snapshot.job, self._pods, self._step.metadata.uid) if snapshot.job is not None else None
        )
        self._definition = self._find_definition()
        self._policy = execution_policy.resolve(
            snapshot.config,
            template=snapshot.template,
            engram=snapshot.engram,
            story=snapshot.story,
            step=self._definition,
            steprun=snapshot.step,
        )

    def _wait(self, reason: Reason) -> StepPlan:
        """Nothing to do until something else changes; a StepRun that nobody looked at yet gets its first phase."""
        if self._step.status.phase is None:
            self._status.phase(Phase.PENDING, "Pending", str(reason))
        return StepPlan(status=self._status.patch(), reason=reason)

    def _mounted(self) -> list[str]:
        return references.mounted_secrets(self._snapshot, self._definition)

    def _absent(self, kind: str, name: str) -> str:
        return f"{kind} '{name}' not found in namespace {self._step.metadata.namespace}"

    def _judge(self, output: Mapping[str, Any] | None) -> judge.Accepted | judge.Rejected:
        return judge.success(self._snapshot, self._definition, output)

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

    def _cache_place(self) -> cache.Place | None:
        """Where the output of this step shall be stored, if nothing was stored or found there yet."""
        place = cache.recorded_place(self._step, self._snapshot.engram)
        return place if place is not None and place.is_written and self._snapshot.has_cache else None

    def _delete_job(self) -> tuple[Delete, ...]:
        if self._attempt is None or self._attempt.is_deleting:
            return ()
        return (Delete("Job", self._step.metadata.name or "", self._attempt.uid),)

    def _delete_earlier_job(self) -> tuple[Delete, ...]:
        """Deletes the Job of an earlier attempt. One of this attempt or a later one is alive: then it is the StepRun
        that is old, because the cache lags, and no status patch stands between its plan and the deletion."""
        number = self._attempt.number if self._attempt is not None else None
        return self._delete_job() if number is None or number < self._number else ()

    def _is_cancel_requested(self) -> bool:
        return self._step.metadata.annotations.get(labels.ANNOTATION_CANCEL_REQUESTED) == "true"

    def _ready_reason(self) -> str:
        return judge.ready(self._step)[0]

    def _ready_message(self) -> str:
        return judge.ready(self._step)[1]

    def _find_definition(self) -> Step | None:
        if self._snapshot.story is None:
            return None
        parent = self._step.metadata.labels.get(labels.PARENT_STEP, "")
        return find_step(self._snapshot.story, self._step.spec.step_id, parent)
