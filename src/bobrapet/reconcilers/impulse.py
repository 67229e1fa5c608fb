"""Tells whether Impulses find their template and Story, and how often they triggered (spec workloads 21.1, 21.4).

Only the validating half of the Impulse controller: nothing here makes the workload that listens, and the condition
Ready says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from bobrapet.api import Impulse
from bobrapet.api.conditions import ConditionType, Reason
from bobrapet.api.enums import Phase
from bobrapet.engine.plans import Event
from bobrapet.reconcilers import apply, indexes
from bobrapet.reconcilers.definitions import Observation, Observed, examine, status_patch
from bobrapet.reconcilers.glance import RawStoryRun
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.rbac import PATCH_STATUS, READ, Rule
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import Unstructured
from bobrapet.runtime.reconcile import Request, Result
from bobrapet.validation.faults import Fault, FaultReason

RBAC: Final = (
    Rule("bubustack.io", ("impulses", "stories"), READ),
    Rule("bubustack.io", ("impulses/status",), PATCH_STATUS),
    Rule("catalog.bubustack.io", ("impulsetemplates",), READ),
    Rule("runs.bubustack.io", ("storyruns",), READ),
)


class ImpulseReconciler:
    """Writes phase, conditions and counters."""

    def __init__(self, operator: Operator, recorder: Any) -> None:
        self._operator = operator
        self._recorder = recorder

    async def reconcile(self, request: Request) -> Result:
        client = self._operator.client
        impulse = await get_or_none(client, Impulse, request.key)
        if impulse is None or impulse.metadata.deletion_timestamp:
            return Result()
        key = f"{request.namespace}/{request.name}"
        runs = await client.list(RawStoryRun, fields={indexes.STORYRUN_IMPULSE: key}, unsafe_disable_copy=True)
        found = await examine(self._operator, impulse)
        seen = observe(impulse, found.faults, runs.items)
        patch = status_patch(impulse, seen, self._operator.clock.now())
        await apply.Fence(client, impulse).patch_status(patch)
        if patch is not None and found.faults and _says_something_new(impulse, seen):
            event = Event("Warning", reason(found.faults), "; ".join(seen.faults))
            apply.record(self._recorder, impulse, [event])
        return Result()


def observe(impulse: Impulse, faults: Iterable[Fault], runs: Iterable[Unstructured]) -> Observed:
    """What the status says about an Impulse with these faults and runs."""
    faults = list(faults)
    texts = [str(fault) for fault in faults]
    facts: dict[str, Any] = {"phase": phase(faults).value, "throttledTriggers": impulse.status.throttled_triggers or 0}
    counted = _counted(runs)
    for name, time in counted.times.items():
        before = getattr(impulse.status, name)
        facts[_WIRE[name]] = max(filter(None, (time, before)), default=None)
    if faults:
        blocked = phase(faults) is Phase.BLOCKED
        word = Reason.SCHEDULING_FAILED if blocked else Reason.EXECUTION_FAILED
        ready = Observation(ConditionType.READY, "False", word, "; ".join(texts))
        valid = Observation(ConditionType.VALIDATED, "False", Reason.VALIDATION_FAILED, "; ".join(texts))
    else:
        text = "everything it needs is there; its workload is not managed by this version"
        ready = Observation(ConditionType.READY, "False", Reason.RECONCILING, text)
        valid = Observation(ConditionType.VALIDATED, "True", Reason.VALIDATION_PASSED, "everything it needs is there")
    return Observed(faults=texts, observations=[valid], facts=facts, totals=counted.totals, ready=ready)


def phase(faults: Iterable[Fault]) -> Phase:
    """Blocked by something that may still appear, Failed by something that must be changed, else Pending."""
    faults = list(faults)
    if not faults:
        return Phase.PENDING
    return Phase.BLOCKED if all(fault.reason is FaultReason.NOT_FOUND for fault in faults) else Phase.FAILED


def reason(faults: Iterable[Fault]) -> Reason:
    """The word for the first fault."""
    first = next(iter(faults))
    if first.field.startswith("spec.storyRef"):
        missing = first.reason is FaultReason.NOT_FOUND
        return Reason.STORY_NOT_FOUND if missing else Reason.STORY_REFERENCE_INVALID
    if first.field.startswith("spec.templateRef") and first.reason is FaultReason.NOT_FOUND:
        return Reason.TEMPLATE_NOT_FOUND
    return Reason.INVALID_CONFIGURATION


_WIRE: Final = {"last_trigger": "lastTrigger", "last_success": "lastSuccess"}


class _Counted:
    """Runs of an Impulse by what became of them."""

    def __init__(self) -> None:
        self.totals = {"triggersReceived": 0, "storiesLaunched": 0, "failedTriggers": 0}
        self.times: dict[str, str | None] = {"last_trigger": None, "last_success": None}

    def later(self, name: str, time: str | None) -> None:
        if time:
            self.times[name] = max(time, self.times[name] or "")


def _counted(runs: Iterable[Unstructured]) -> _Counted:
    counted = _Counted()
    for run in runs:
        tokens = run.get("status", "triggerTokens", default=()) or ()
        if "impulse" in tokens:
            counted.totals["triggersReceived"] += 1
            counted.later("last_trigger", run.get("status", "startedAt") or run.metadata.creation_timestamp)
        if "impulse-success" in tokens:
            counted.totals["storiesLaunched"] += 1
            counted.later("last_success", run.get("status", "finishedAt"))
        counted.totals["failedTriggers"] += "impulse-failed" in tokens
    return counted


def _says_something_new(impulse: Impulse, seen: Observed) -> bool:
    """Whether the faults are others than those that the condition told before."""
    told = next((each.message for each in impulse.status.conditions if each.type == ConditionType.VALIDATED), None)
    return told != "; ".join(seen.faults)
