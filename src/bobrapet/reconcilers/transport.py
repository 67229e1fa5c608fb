"""Tells whether Transports are usable, what they offer and how many Stories use them (spec transport 5.2, 5.3).

What connectors negotiate is not gathered here: nothing in this version makes bindings, so a Transport offers what its
spec says.
"""

from __future__ import annotations

from typing import Any, Final

from bobrapet.api import Story, Transport
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
    Rule("transport.bubustack.io", ("transports",), READ),
    Rule("transport.bubustack.io", ("transports/status",), PATCH_STATUS),
    Rule("bubustack.io", ("stories",), READ),
)

StoryMetadata: Final = PartialObjectMetadata.of(Story.API_VERSION, Story.KIND)


class TransportReconciler:
    """Writes validationStatus, conditions, usageCount and what is available."""

    def __init__(self, operator: Operator, recorder: Any) -> None:
        self._operator = operator
        self._recorder = recorder

    async def reconcile(self, request: Request) -> Result:
        client = self._operator.client
        transport = await get_or_none(client, Transport, request.key)
        if transport is None or transport.metadata.deletion_timestamp:
            return Result()
        stories = await client.list(StoryMetadata, fields={indexes.STORY_TRANSPORTS: request.name})
        found = await examine(self._operator, transport)
        seen = Observed(
            faults=[str(fault) for fault in found.faults],
            facts={"usageCount": len(stories) or None, **available(transport)},
        )
        patch = status_patch(transport, seen, self._operator.clock.now())
        await apply.Fence(client, transport).patch_status(patch)
        if patch is not None and seen.faults and "validationErrors" in patch["status"]:
            refused = Event("Warning", Reason.VALIDATION_FAILED, "; ".join(seen.faults))
            apply.record(self._recorder, transport, [refused])
        return Result()


def available(transport: Transport) -> dict[str, Any]:
    """Codecs and MIME types that Stories may count on, as members of the status."""
    spec = transport.spec
    return {
        "availableAudio": [codec.to_wire() for codec in spec.supported_audio] or None,
        "availableVideo": [codec.to_wire() for codec in spec.supported_video] or None,
        "availableBinary": list(spec.supported_binary) or None,
    }
