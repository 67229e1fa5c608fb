"""Tells whether Stories can run, and how often they did (spec workloads 23.3).

A Story owns nothing that its deletion would have to wait for, so it gets no finalizer; one that the Go operator put on
it is taken off.
"""

from __future__ import annotations

from typing import Any, Final

from bobrapet.api import Impulse, Story, StoryRun, labels
from bobrapet.api.conditions import Reason
from bobrapet.engine.plans import Event
from bobrapet.reconcilers import apply, indexes
from bobrapet.reconcilers.definitions import Observed, examine, status_patch
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.rbac import PATCH_STATUS, READ, Rule
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import PartialObjectMetadata
from bobrapet.runtime.reconcile import Request, Result

RBAC: Final = (
    Rule("bubustack.io", ("stories",), (*READ, "patch")),
    Rule("bubustack.io", ("stories/status",), PATCH_STATUS),
    Rule("bubustack.io", ("stories/finalizers",), ("update",)),
    Rule("bubustack.io", ("engrams", "impulses"), READ),
    Rule("runs.bubustack.io", ("storyruns",), READ),
    Rule("transport.bubustack.io", ("transports",), READ),
)

ImpulseMetadata: Final = PartialObjectMetadata.of(Impulse.API_VERSION, Impulse.KIND)
StoryRunMetadata: Final = PartialObjectMetadata.of(StoryRun.API_VERSION, StoryRun.KIND)


class StoryReconciler:
    """Writes validationStatus, conditions and counters."""

    def __init__(self, operator: Operator, recorder: Any) -> None:
        self._operator = operator
        self._recorder = recorder

    async def reconcile(self, request: Request) -> Result:
        client = self._operator.client
        story = await get_or_none(client, Story, request.key)
        if story is None:
            return Result()
        if story.metadata.deletion_timestamp:
            await self._let_go(story)
            return Result()
        key = f"{request.namespace}/{request.name}"
        runs = await client.list(StoryRunMetadata, fields={indexes.STORYRUN_STORY: key})
        impulses = await client.list(ImpulseMetadata, fields={indexes.IMPULSE_STORY: key})
        spec = story.spec
        found = await examine(self._operator, story)
        seen = Observed(
            faults=[str(fault) for fault in found.faults],
            warnings=found.warnings,
            facts={
                "stepsTotal": len(spec.steps) + len(spec.compensations) + len(spec.finally_),
                "transports": transports(story) or None,
                "usageCount": len(impulses),
            },
            totals={"triggers": len(runs)},
        )
        patch = status_patch(story, seen, self._operator.clock.now())
        await apply.Fence(client, story).patch_status(patch)
        if patch is not None and seen.faults and "validationErrors" in patch["status"]:
            refused = Event("Warning", reason(found.faults[0].field), "; ".join(seen.faults))
            apply.record(self._recorder, story, [refused])
        return Result()

    async def _let_go(self, story: Story) -> None:
        kept = [name for name in story.metadata.finalizers if name != labels.STORY_FINALIZER]
        if len(kept) < len(story.metadata.finalizers):
            await apply.Fence(self._operator.client, story).patch({"metadata": {"finalizers": kept}})


def transports(story: Story) -> list[dict[str, Any]]:
    """How each declared transport is used: a batch Story cannot stream."""
    mode, why = ("hot", "streaming-default") if story.spec.is_streaming else ("fallback", "batch-pattern")
    return [
        {"name": each.name, "transportRef": each.transport_ref, "mode": mode, "modeReason": why}
        for each in story.spec.transports
    ]


def reason(field: str) -> Reason:
    """The word for a fault of a Story, by the field that has it."""
    if ".storyRef" in field:
        return Reason.STORY_REFERENCE_INVALID
    if ".ref" in field:
        return Reason.ENGRAM_REFERENCE_INVALID
    if field.startswith("spec.transports") or field.endswith(".transport"):
        return Reason.TRANSPORT_REFERENCE_INVALID
    return Reason.VALIDATION_FAILED
