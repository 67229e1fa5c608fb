"""What is to be done for a Job at a moment: the rules of the Kubernetes Job controller as one function.

Pure: the same Job, pods and moment give the same plan. `pods` are all pods that the Job controls, and those just
created that a cache does not show yet.

Instead of a finalizer on each pod, the Job's own status remembers which ended pods it has counted
(`uncountedTerminatedPods`, emptied at the end), and a pod that was active and is gone without a trace counts as failed.
That saves two writes for each pod, and counts the same: also across restarts, deletions by hand and lost answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Object = Mapping[str, Any]

FAILURE_BACKOFF = 10.0  # seconds before the pod after the first failure; doubled with each further one
FAILURE_BACKOFF_LIMIT = 600.0
MAX_STARTS = 500  # pods that one plan creates, as the real controller
BACKOFF_LIMIT = 6  # the default of spec.backoffLimit
CONTROLLER = "kubernetes.io/job-controller"
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels and no look-alikes, as in all generated names
MAX_NAME_BASE = 57


@dataclass(frozen=True, slots=True)
class Plan:
    """What the controller has to do, in this order; nothing of it is done when the Job changed meanwhile."""

    create: tuple[dict[str, Any], ...] = ()
    """Pods to create. Their names are deterministic, so that a repeated request creates nothing twice."""

    status: dict[str, Any] | None = None
    """The status to write; None: it is right already."""

    delete: tuple[Object, ...] = ()
    """Pods to delete gracefully."""

    expired: bool = False
    """The Job itself is to be deleted: its time after the end is over."""

    wake_at: datetime | None = None
    """The next moment at which time alone changes something."""


@dataclass(slots=True)
class _Pods:
    """The pods of a Job, sorted by what they mean to it."""

    active: list[Object] = field(default_factory=list)
    succeeded: list[Object] = field(default_factory=list)
    failed: list[Object] = field(default_factory=list)
    terminating: int = 0

    @property
    def ready(self) -> int:
        return sum(1 for pod in self.active if _condition_true(pod, "Ready"))


def plan(job: Object, pods: Sequence[Object], now: datetime) -> Plan:
    """Says what to do for the Job at `now`."""
    spec, status = job["spec"], job.get("status") or {}
    if job["metadata"].get("deletionTimestamp") or spec.get("managedBy", CONTROLLER) != CONTROLLER:
        return Plan()
    finished = finished_at(job)
    if finished is not None:
        return _after_the_end(spec, finished, now)
    return _Planner(job, spec, status, _sorted(pods, spec), now).plan()


def finished_at(job: Object) -> datetime | None:
    """When the Job became Complete or Failed."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return _moment(condition["lastTransitionTime"])
    return None


def controller_of(obj: Object) -> Object | None:
    """The owner reference of the controller of an object."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return reference  # type: ignore[no-any-return]  # JSON
    return None


def _after_the_end(spec: Object, finished: datetime, now: datetime) -> Plan:
    ttl = spec.get("ttlSecondsAfterFinished")
    if ttl is None:
        return Plan()
    expiry = finished + timedelta(seconds=int(ttl))
    return Plan(expired=True) if now >= expiry else Plan(wake_at=expiry)


class _Planner:
    """One pass over a Job that has not ended."""

    def __init__(self, job: Object, spec: Object, status: Object, pods: _Pods, now: datetime) -> None:
        self.job, self.spec, self.before, self.pods, self.now = job, spec, status, pods, now
        self.indexed = spec.get("completionMode") == "Indexed"
        self.completions: int | None = spec.get("completions")
        self.parallelism = int(spec.get("parallelism", 1))
        self.conditions = [dict(condition) for condition in status.get("conditions") or ()]
        self.wake: list[datetime] = []
        ledger = status.get("uncountedTerminatedPods") or {}
        self.known_failed = set(ledger.get("failed") or ())
        known = self.known_failed.union(ledger.get("succeeded") or ())
        self.new_failed = [pod for pod in pods.failed if _uid(pod) not in known]
        self.new_succeeded = [pod for pod in pods.succeeded if _uid(pod) not in known]
        self.ignored = self._ignored_by_policy()
        self.indexes = _parse_ranges(status.get("completedIndexes") or "") | self._newly_completed()
        self.succeeded = len(self.indexes) if self.indexed else self._count_succeeded()
        self.failed = int(status.get("failed") or 0) + len(self.new_failed) - len(self.ignored) + self._lost()
        self.suspended = bool(spec.get("suspend"))
        self.started = self._start_time()

    def plan(self) -> Plan:
        reason = self._decide()
        ending = reason is not None
        create = () if ending or self.suspended else self._creations()
        delete = tuple(self.pods.active) if ending or self.suspended else self._surplus()
        gone = {_uid(pod) for pod in delete}
        if reason is not None:
            self._end(reason)
            if reason.kind == "Failed":
                self.failed += len(gone - self.known_failed)
        status = self._status(len(create), gone)
        # Time says nothing more about a Job that is ending: its end follows from its pods.
        wake = min(self.wake) if self.wake and not ending else None
        wanted = None if status == self.before else status
        ends_now = any(entry["type"] in ("Complete", "Failed") for entry in self.conditions)
        if ends_now:
            wake = _after_the_end(self.spec, self.now, self.now).wake_at
        return Plan(create, wanted, delete, wake_at=wake)

    # -- counting

    def _count_succeeded(self) -> int:
        return int(self.before.get("succeeded") or 0) + len(self.new_succeeded)

    def _newly_completed(self) -> set[int]:
        if not self.indexed:
            return set()
        return {index for pod in self.pods.succeeded if (index := _index(pod)) is not None and index < self._size()}

    def _lost(self) -> int:
        """Pods that the last status counts as active and that are neither active nor ended: gone without a trace."""
        seen = len(self.pods.active) + len(self.new_failed) + len(self.new_succeeded)
        return max(0, int(self.before.get("active") or 0) - seen)

    def _ignored_by_policy(self) -> list[Object]:
        return [pod for pod in self.new_failed if (rule := _matching_rule(self.spec, pod)) and rule[1] == "Ignore"]

    def _size(self) -> int:
        return self.completions if self.completions is not None else self.parallelism

    # -- deciding

    def _decide(self) -> _Ending | None:
        """Whether the Job is to end, and how. Once decided (in a condition) it stays so."""
        for condition in self.conditions:
            if condition["status"] == "True" and condition["type"] in ("FailureTarget", "SuccessCriteriaMet"):
                kind = "Failed" if condition["type"] == "FailureTarget" else "Complete"
                return _Ending(kind, condition.get("reason") or "", condition.get("message") or "")
        by_policy = self._failed_by_policy()
        if by_policy is not None:
            return by_policy
        limit = self.spec.get("backoffLimit")
        limit = BACKOFF_LIMIT if limit is None else int(limit)
        if self.failed > limit or self._restarted_too_often(limit):
            return _Ending("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        if self._past_deadline():
            return _Ending("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
        if self._complete():
            return _Ending("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        return None

    def _failed_by_policy(self) -> _Ending | None:
        for pod in self.new_failed:
            rule = _matching_rule(self.spec, pod)
            if rule is not None and rule[1] == "FailJob":
                return _Ending("Failed", "PodFailurePolicy", rule[2])
        return None

    def _restarted_too_often(self, limit: int) -> bool:
        """With restartPolicy OnFailure the restarts of containers count as failures."""
        if self.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
            return False
        restarts = 0
        for pod in self.pods.active:
            status = pod.get("status") or {}
            if status.get("phase") in ("Running", "Pending"):
                for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
                    restarts += int(entry.get("restartCount") or 0)
        return restarts > 0 if limit == 0 else restarts >= limit

    def _past_deadline(self) -> bool:
        seconds = self.spec.get("activeDeadlineSeconds")
        if seconds is None or self.suspended or self.started is None:
            return False
        deadline = self.started + timedelta(seconds=int(seconds))
        if self.now >= deadline:
            return True
        self.wake.append(deadline)
        return False

    def _complete(self) -> bool:
        if self.indexed or self.completions is not None:
            return self.succeeded >= self._size()
        # A work queue: the first success says that nothing is left to do; the others may finish.
        return self.succeeded > 0 and not self.pods.active

    def _end(self, ending: _Ending) -> None:
        """First the decision, at once; then, when no pod is left, the end."""
        first = "FailureTarget" if ending.kind == "Failed" else "SuccessCriteriaMet"
        if not any(condition["type"] == first for condition in self.conditions):
            self._add_condition(first, ending.reason, ending.message)
        if not self.pods.active and not self.pods.terminating:
            self._add_condition(ending.kind, ending.reason, ending.message)

    # -- pods

    def _creations(self) -> tuple[dict[str, Any], ...]:
        active = len(self.pods.active)
        if self.indexed or self.completions is not None:
            wanted = min(self.parallelism, self._size() - self.succeeded)
        else:
            wanted = active if self.succeeded else self.parallelism
        missing = min(wanted - active, MAX_STARTS)
        if missing <= 0:
            return ()
        allowed = self._backoff_until()
        if allowed is not None and self.now < allowed:
            self.wake.append(allowed)
            return ()
        taken = {pod["metadata"]["name"] for pod in (*self.pods.active, *self.pods.succeeded, *self.pods.failed)}
        if self.indexed:
            busy = {_index(pod) for pod in self.pods.active}
            free = (number for number in range(self._size()) if number not in busy and number not in self.indexes)
            return tuple(self._pod(taken, index) for index, _ in zip(free, range(missing), strict=False))
        return tuple(self._pod(taken, None) for _ in range(missing))

    def _backoff_until(self) -> datetime | None:
        """Doubling pauses after failures, counted from the end of the last one."""
        if not self.failed or not self.pods.failed:
            return None
        last = max(_ended_at(pod) or self.now for pod in self.pods.failed)
        since = max((_ended_at(pod) or self.now for pod in self.pods.succeeded), default=None)
        in_a_row = [pod for pod in self.pods.failed if since is None or (_ended_at(pod) or self.now) > since]
        if not in_a_row:
            return None
        delay = min(FAILURE_BACKOFF * 2.0 ** min(len(in_a_row) - 1, 16), FAILURE_BACKOFF_LIMIT)
        return last + timedelta(seconds=delay)

    def _surplus(self) -> tuple[Object, ...]:
        """Pods beyond the parallelism: the youngest, and those not ready first."""
        excess = len(self.pods.active) - self.parallelism
        if excess <= 0:
            return ()
        youngest = sorted(
            self.pods.active, key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""), reverse=True
        )
        return tuple(sorted(youngest, key=lambda pod: _condition_true(pod, "Ready"))[:excess])

    def _pod(self, taken: set[str], index: int | None) -> dict[str, Any]:
        meta = self.job["metadata"]
        base = meta["name"] if index is None else f"{meta['name']}-{index}"
        attempt = self.succeeded + self.failed + len(self.pods.active)
        while True:
            name = f"{base[:MAX_NAME_BASE]}-{_suffix(meta['uid'], index, attempt)}"
            attempt += 1
            if name not in taken:
                break
        taken.add(name)
        return new_pod(self.job, name, index)

    # -- status

    def _start_time(self) -> datetime | None:
        """Set when the Job starts to run, taken away while it is suspended."""
        if self.suspended:
            return None
        told = self.before.get("startTime")
        return _moment(told) if told else self.now.replace(microsecond=0)

    def _status(self, created: int, deleted: set[str]) -> dict[str, Any]:
        self._note_suspension()
        left = [pod for pod in self.pods.active if _uid(pod) not in deleted]
        active, terminating = len(left) + created, self.pods.terminating + len(deleted)
        ready = sum(1 for pod in left if _condition_true(pod, "Ready"))
        over = any(condition["type"] in ("Complete", "Failed") for condition in self.conditions)
        status: dict[str, Any] = {
            # What others put into the status stays.
            **{key: value for key, value in self.before.items() if key not in _OWN_FIELDS},
            "ready": ready,
            "terminating": terminating,
            "uncountedTerminatedPods": {} if over else self._ledger(deleted),
        }
        counters = {"active": active, "succeeded": self.succeeded, "failed": self.failed}
        status |= {key: value for key, value in counters.items() if value}
        if self.started is not None:
            status["startTime"] = _text(self.started)
        if self.indexed and self.indexes:
            status["completedIndexes"] = _ranges(self.indexes)
        if self.conditions:
            status["conditions"] = self.conditions
        if any(condition["type"] == "Complete" for condition in self.conditions):
            status["completionTime"] = _text(self.now)
        return status

    def _ledger(self, deleted: set[str]) -> dict[str, list[str]]:
        """The ended pods that exist and are counted; also those that the Job itself ends, which count for nothing."""
        ended = {_uid(pod) for pod in self.pods.succeeded}
        # A pod that counted as failed when it was deleted may still succeed; it is not counted again.
        failed = {_uid(pod) for pod in self.pods.failed} | deleted | (ended & self.known_failed)
        succeeded = ended - failed
        ledger = {"succeeded": sorted(succeeded), "failed": sorted(failed)}
        return {key: uids for key, uids in ledger.items() if uids}

    def _note_suspension(self) -> None:
        known = next((entry for entry in self.conditions if entry["type"] == "Suspended"), None)
        if self.suspended and (known is None or known["status"] != "True"):
            self._add_condition("Suspended", "JobSuspended", "Job suspended")
        elif not self.suspended and known is not None and known["status"] == "True":
            self._add_condition("Suspended", "JobResumed", "Job resumed", "False")

    def _add_condition(self, kind: str, reason: str, message: str, status: str = "True") -> None:
        self.conditions = [entry for entry in self.conditions if entry["type"] != kind]
        self.conditions.append(
            {
                "type": kind,
                "status": status,
                "lastProbeTime": _text(self.now),
                "lastTransitionTime": _text(self.now),
                "reason": reason,
                "message": message,
            }
        )


@dataclass(frozen=True, slots=True)
class _Ending:
    kind: str
    reason: str
    message: str


_OWN_FIELDS = frozenset(
    (
        *("active", "ready", "terminating", "succeeded", "failed", "uncountedTerminatedPods"),
        *("startTime", "completionTime", "completedIndexes", "conditions"),
    )
)


def new_pod(job: Object, name: str, index: int | None = None) -> dict[str, Any]:
    """A pod of the Job as the real controller makes it."""
    meta, template = job["metadata"], job["spec"]["template"]
    template_meta = template.get("metadata") or {}
    labels = {
        **(template_meta.get("labels") or {}),
        "job-name": meta["name"],
        "controller-uid": meta["uid"],
        "batch.kubernetes.io/job-name": meta["name"],
        "batch.kubernetes.io/controller-uid": meta["uid"],
    }
    annotations = dict(template_meta.get("annotations") or {})
    spec = dict(template["spec"])
    if index is not None:
        labels[COMPLETION_INDEX] = annotations[COMPLETION_INDEX] = str(index)
        spec.setdefault("hostname", f"{meta['name']}-{index}")
        for kind in ("initContainers", "containers"):
            if kind in spec:
                spec[kind] = [_with_index(container, index) for container in spec[kind]]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "generateName": f"{meta['name']}-",
            "namespace": meta["namespace"],
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }


def _with_index(container: Object, index: int) -> dict[str, Any]:
    env = [entry for entry in container.get("env") or () if entry["name"] != "JOB_COMPLETION_INDEX"]
    return {**container, "env": [*env, {"name": "JOB_COMPLETION_INDEX", "value": str(index)}]}


def _suffix(uid: str, index: int | None, attempt: int) -> str:
    digest = hashlib.sha256(f"{uid}/{index}/{attempt}".encode()).digest()
    return "".join(SUFFIX_ALPHABET[byte % len(SUFFIX_ALPHABET)] for byte in digest[:5])


def _sorted(pods: Sequence[Object], spec: Object) -> _Pods:
    only_ended = spec.get("podReplacementPolicy") == "Failed" or spec.get("podFailurePolicy") is not None
    result = _Pods()
    for pod in pods:
        phase = (pod.get("status") or {}).get("phase")
        leaving = bool(pod["metadata"].get("deletionTimestamp"))
        if phase == "Succeeded":
            result.succeeded.append(pod)
        elif phase == "Failed":
            result.failed.append(pod)
        elif leaving:
            # Deleted by somebody: it counts as failed at once, unless only ended pods may be replaced.
            result.terminating += 1
            (result.active if only_ended else result.failed).append(pod)
        else:
            result.active.append(pod)
    return result


def _matching_rule(spec: Object, pod: Object) -> tuple[int, str, str] | None:
    """The first rule of podFailurePolicy that the pod meets: its place, its action, a sentence."""
    meta, status = pod["metadata"], pod.get("status") or {}
    where = f"pod {meta.get('namespace')}/{meta['name']}"
    for place, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        action = rule["action"]
        codes = rule.get("onExitCodes")
        if codes is not None:
            for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
                code = ((entry.get("state") or {}).get("terminated") or {}).get("exitCode")
                named = not codes.get("containerName") or codes["containerName"] == entry["name"]
                if code and named and (code in codes["values"]) == (codes["operator"] == "In"):
                    sentence = f"Container {entry['name']} for {where} failed with exit code {code}"
                    return place, action, f"{sentence} matching {action} rule at index {place}"
        for pattern in rule.get("onPodConditions") or ():
            for condition in status.get("conditions") or ():
                if condition["type"] == pattern["type"] and condition["status"] == pattern.get("status", "True"):
                    sentence = f"Pod {meta.get('namespace')}/{meta['name']} has condition {pattern['type']}"
                    return place, action, f"{sentence} matching {action} rule at index {place}"
    return None


def _condition_true(pod: Object, kind: str) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(entry["type"] == kind and entry["status"] == "True" for entry in conditions)


def _ended_at(pod: Object) -> datetime | None:
    """When the last container ended; for a pod that was deleted, when that was asked for."""
    ends = [
        ended["finishedAt"]
        for entry in (pod.get("status") or {}).get("containerStatuses") or ()
        if (ended := (entry.get("state") or {}).get("terminated")) and ended.get("finishedAt")
    ]
    text = max(ends, default=None) or pod["metadata"].get("deletionTimestamp")
    return _moment(text) if text else None


def _uid(pod: Object) -> str:
    return str(pod["metadata"]["uid"])


def _index(pod: Object) -> int | None:
    text = (pod["metadata"].get("annotations") or {}).get(COMPLETION_INDEX, "")
    return int(text) if text.isdigit() else None


def _ranges(numbers: set[int]) -> str:
    """`{0, 1, 2, 5}` as `0-2,5`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _parse_ranges(text: str) -> set[int]:
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
