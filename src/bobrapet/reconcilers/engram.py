"""Tells whether Engrams find their template, and how often they are used (spec workloads 23.2)."""

from __future__ import annotations

from typing import Any, Final

from bobrapet.api import Engram, EngramTemplate, StepRun, Story
from bobrapet.api.conditions import ConditionType, Reason
from bobrapet.api.enums import Phase
from bobrapet.engine.plans import Event
from bobrapet.reconcilers import apply, indexes
from bobrapet.reconcilers.definitions import Observation, Observed, examine, status_patch
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.rbac import PATCH_STATUS, READ, Rule
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import ObjectKey, PartialObjectMetadata
from bobrapet.runtime.reconcile import Request, Result

RBAC: Final = (
    Rule("bubustack.io", ("engrams", "stories"), READ),
    Rule("bubustack.io", ("engrams/status",), PATCH_STATUS),
    Rule("catalog.bubustack.io", ("engramtemplates",), READ),
    Rule("runs.bubustack.io", ("stepruns",), READ),
)

StoryMetadata: Final = PartialObjectMetadata.of(Story.API_VERSION, Story.KIND)


class EngramReconciler:
    """Writes validationStatus, conditions and counters."""

    def __init__(self, operator: Operator, recorder: Any) -> None:
        self._operator = operator
        self._recorder = recorder

    async def reconcile(self, request: Request) -> Result:
        client = self._operator.client
        engram = await get_or_none(client, Engram, request.key)
        if engram is None or engram.metadata.deletion_timestamp:
            return Result()
        template = await get_or_none(client, EngramTemplate, ObjectKey("", engram.spec.template_ref.name))
        key = f"{request.namespace}/{request.name}"
        stories = await client.list(StoryMetadata, fields={indexes.STORY_ENGRAMS: key})
        steps = await client.list(StepRun, fields={indexes.STEPRUN_ENGRAM: key}, unsafe_disable_copy=True)
        resolved = resolution(engram, template)
        found = await examine(self._operator, engram)
        seen = Observed(
            faults=[str(fault) for fault in found.faults],
            observations=[resolved],
            facts={"usageCount": len(stories), **_last_execution(steps.items)},
            totals=_totals(steps.items),
        )
        patch = status_patch(engram, seen, self._operator.clock.now())
        await apply.Fence(client, engram).patch_status(patch)
        if patch is not None and seen.faults and "validationErrors" in patch["status"]:
            reason = Reason.VALIDATION_FAILED if resolved.status == "True" else resolved.reason
            apply.record(self._recorder, engram, [Event("Warning", reason, "; ".join(seen.faults))])
        return Result()


def resolution(engram: Engram, template: EngramTemplate | None) -> Observation:
    """Whether the template is there, in the version that the Engram pins."""
    wanted = engram.spec.template_ref
    if template is None:
        message = f'EngramTemplate "{wanted.name}" does not exist (spec.templateRef.name)'
        return Observation(ConditionType.TEMPLATE_RESOLVED, "False", Reason.TEMPLATE_NOT_FOUND, message)
    pinned, there = (wanted.version or "").strip(), (template.spec.version or "").strip()
    if pinned and pinned != there:
        message = f'EngramTemplate "{wanted.name}" has version "{there}", spec.templateRef.version wants "{pinned}"'
        return Observation(ConditionType.TEMPLATE_RESOLVED, "False", Reason.TEMPLATE_RESOLUTION_FAILED, message)
    return Observation(ConditionType.TEMPLATE_RESOLVED, "True", Reason.TEMPLATE_RESOLVED)


def _totals(steps: list[StepRun]) -> dict[str, int]:
    ended = [step for step in steps if step.status.phase is not None and step.status.phase.is_terminal]
    return {
        "triggers": len(steps),
        "totalExecutions": len(ended),
        "failedExecutions": sum(step.status.phase in (Phase.FAILED, Phase.TIMEOUT) for step in ended),
    }


def _last_execution(steps: list[StepRun]) -> dict[str, str]:
    times = [step.status.finished_at for step in steps if step.status.finished_at]
    return {"lastExecutionTime": max(times)} if times else {}
