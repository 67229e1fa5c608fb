"""What a Job and its pods tell, read from their JSON (spec workloads 14.1, 15, 18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bobrapet.api import labels
from bobrapet.engine.retry import TIMEOUT_EXIT, UNKNOWN_EXIT
from bobrapet.engine.states import moment

CONTAINER: Final = "engram"

LEFT_OVER: Final = -1
"""The attempt of a Job that belonged to an earlier StepRun of the same name and is about to be collected."""

_CONTROLLER_UID: Final = "batch.kubernetes.io/controller-uid"
_IMAGE_TROUBLE: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_TROUBLE: Final = _IMAGE_TROUBLE | {
    "CreateContainerConfigError",
    "CreateContainerError",
    "CrashLoopBackOff",
    "RunContainerError",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod cannot run at the moment."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    job_uid: str
    attempt: str
    phase: str
    exit_code: int | None
    """Exit code of the component's container, of its last run where it is restarted in place; None: nobody knows."""
    exit_message: str
    trouble: Trouble | None
    created_at: datetime | None
    finished_at: datetime | None
    """When the component's container ended."""
    has_started: bool
    is_deleting: bool

    @property
    def is_over(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Exit:
    """How an attempt ended without a word from its component."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """The Job that the StepRun has, with its pods."""

    uid: str
    number: int | None
    """Which attempt it belongs to; None when it does not say (made by another operator); LEFT_OVER: to none."""
    created_at: datetime | None
    is_deleting: bool
    is_complete: bool
    failure: str
    """Reason of the Failed condition; empty while the Job has not failed."""
    failure_message: str
    pods: tuple[Pod, ...]
    starts_more_pods: bool
    """Whether the Job may start another pod after one has failed."""

    @property
    def is_over(self) -> bool:
        return self.is_complete or bool(self.failure)

    @property
    def newest_pod(self) -> Pod | None:
        return max(self.pods, key=_age, default=None)

    def exit(self) -> Exit | None:
        """How the attempt ended; None while it goes on."""
        pod = self.newest_pod
        if self.failure == "DeadlineExceeded":
            return Exit(TIMEOUT_EXIT, "the Job exceeded its active deadline")
        if self.is_complete:
            return Exit(0, "")
        if self.failure:
            # Lists have no order: the pod whose container ended last tells how the attempt ended.
            over = max((pod for pod in self.pods if pod.exit_code), key=_end, default=None)
            if over is not None and over.exit_code is not None:
                return Exit(over.exit_code, over.exit_message)
            # Evicted, preempted, lost with its node: the pod may still say so.
            told = pod.exit_message if pod is not None else ""
            return Exit(UNKNOWN_EXIT, told or self.failure_message or self.failure)
        # The Job's own verdict comes a second or more after the pod's end; where no other pod can follow, the pod's
        # end is the attempt's end. But of a pod that was deleted only the Job knows why: its deadline may have passed.
        if self.starts_more_pods or pod is None or not pod.is_over or pod.is_deleting or pod.exit_code is None:
            return None
        return Exit(pod.exit_code, pod.exit_message)

    def trouble(self) -> Trouble | None:
        pod = self.newest_pod
        return pod.trouble if pod is not None and not pod.is_over else None

    def hindrance(self) -> str:
        """What kept the component from running, as the end of a sentence; empty when it ran."""
        pod = self.newest_pod
        if pod is None:
            return "; its Job has no pod: the Events of the Job tell why"
        if (trouble := self.trouble()) is not None:
            return f"; the pod cannot run: {trouble.reason}: {trouble.message}".rstrip(": ")
        if not pod.has_started:
            return f"; pod {pod.name} never started: its Events tell why (often a Secret or volume that is missing)"
        return ""


def attempt_of(job: Mapping[str, Any], pods: Sequence[Pod], owner: str | None = None) -> Attempt:
    """`owner`: uid of the StepRun that looks; the Job of another one of the same name is no attempt of it."""
    metadata, spec, status = job.get("metadata") or {}, job.get("spec") or {}, job.get("status") or {}
    uid = metadata.get("uid") or ""
    conditions = {
        condition.get("type"): condition
        for condition in status.get("conditions") or ()
        if condition.get("status") == "True"
    }
    failed = conditions.get("Failed") or {}
    number = (metadata.get("annotations") or {}).get(labels.ANNOTATION_ATTEMPT, "")
    is_left_over = owner is not None and _owner_uid(metadata, "StepRun") not in ("", owner)
    template = (spec.get("template") or {}).get("spec") or {}
    return Attempt(
        uid=uid,
        number=LEFT_OVER if is_left_over else int(number) if number.isdecimal() else None,
        created_at=moment(metadata.get("creationTimestamp")),
        is_deleting=bool(metadata.get("deletionTimestamp")),
        is_complete="Complete" in conditions,
        failure=(failed.get("reason") or "Failed") if failed else "",
        failure_message=failed.get("message") or "",
        pods=tuple(pod for pod in pods if pod.job_uid == uid),
        starts_more_pods=bool(spec.get("backoffLimit", 6)) or template.get("restartPolicy") == "OnFailure",
    )


def pod_of(raw: Mapping[str, Any]) -> Pod:
    metadata, status = raw.get("metadata") or {}, raw.get("status") or {}
    found_labels = metadata.get("labels") or {}
    container: Mapping[str, Any] = next(
        (entry for entry in status.get("containerStatuses") or () if entry.get("name") == CONTAINER),
        {},
    )
    state = container.get("state") or {}
    # Where the kubelet restarts containers in place, the end of the last one is all that there is.
    terminated = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    code = terminated.get("exitCode") if terminated else None
    return Pod(
        name=metadata.get("name") or "",
        job_uid=found_labels.get(_CONTROLLER_UID) or _owner_uid(metadata, "Job"),
        attempt=(metadata.get("annotations") or {}).get(labels.ANNOTATION_ATTEMPT, ""),
        phase=status.get("phase") or "",
        exit_code=code if isinstance(code, int) else None,
        exit_message=_exit_message(terminated or {}, status),
        trouble=_trouble(state.get("waiting") or {}, status),
        created_at=moment(metadata.get("creationTimestamp")),
        finished_at=moment((terminated or {}).get("finishedAt")),
        has_started="running" in state or bool(terminated),
        is_deleting=bool(metadata.get("deletionTimestamp")),
    )


def _owner_uid(metadata: Mapping[str, Any], kind: str) -> str:
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == kind:
            return str(owner.get("uid") or "")
    return ""


_ADVICE: Final = {
    "OOMKilled": "it used more memory than its limit; raise spec.executionPolicy.resources.memoryLimit of the Engram"
}
"""What a person can do about reasons that a kubelet gives without a word."""


def _exit_message(terminated: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    reason = terminated.get("reason") or status.get("reason") or ""
    parts = [
        reason if reason not in ("Error", "Completed") else "",
        terminated.get("message") or status.get("message") or _ADVICE.get(reason, ""),
    ]
    return ": ".join(part for part in parts if part)


def _trouble(waiting: Mapping[str, Any], status: Mapping[str, Any]) -> Trouble | None:
    reason = waiting.get("reason") or ""
    if reason in _TROUBLE:
        # The kubelet alternates between these two words; one of them keeps the status from being written each time.
        word = "ErrImagePull" if reason == "ImagePullBackOff" else reason
        return Trouble(word, waiting.get("message") or "")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Trouble(condition.get("reason") or "Unschedulable", condition.get("message") or "")
    return None


def _age(pod: Pod) -> tuple[str, str]:
    return (pod.created_at.isoformat() if pod.created_at else "", pod.name)


def _end(pod: Pod) -> tuple[str, str, str]:
    return (pod.finished_at.isoformat() if pod.finished_at else "", *_age(pod))
