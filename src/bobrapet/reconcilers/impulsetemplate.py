"""Tells whether ImpulseTemplates are usable and how often they are used (spec workloads 23.1)."""

from __future__ import annotations

from typing import Final

from bobrapet.api import Impulse, ImpulseTemplate
from bobrapet.reconcilers import apply, indexes
from bobrapet.reconcilers.definitions import Observed, examine, status_patch
from bobrapet.reconcilers.operator import Operator
from bobrapet.reconcilers.rbac import PATCH_STATUS, READ, Rule
from bobrapet.runtime.client.interfaces import get_or_none
from bobrapet.runtime.client.object import PartialObjectMetadata
from bobrapet.runtime.reconcile import Request, Result

RBAC: Final = (
    Rule("catalog.bubustack.io", ("impulsetemplates",), READ),
    Rule("catalog.bubustack.io", ("impulsetemplates/status",), PATCH_STATUS),
    Rule("bubustack.io", ("impulses",), READ),
)

ImpulseMetadata: Final = PartialObjectMetadata.of(Impulse.API_VERSION, Impulse.KIND)


class ImpulseTemplateReconciler:
    """Writes validationStatus, conditions and usageCount."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def reconcile(self, request: Request) -> Result:
        client = self._operator.client
        template = await get_or_none(client, ImpulseTemplate, request.key)
        if template is None or template.metadata.deletion_timestamp:
            return Result()
        users = await client.list(ImpulseMetadata, fields={indexes.IMPULSE_TEMPLATE: request.name})
        found = await examine(self._operator, template)
        seen = Observed(faults=[str(fault) for fault in found.faults], facts={"usageCount": len(users)})
        await apply.Fence(client, template).patch_status(status_patch(template, seen, self._operator.clock.now()))
        return Result()
