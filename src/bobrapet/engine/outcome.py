"""How a step ended, once the controller has said so (spec workloads 16.3).

A component writes its own terminal phase, and may be wrong about it: its output may violate the schema, its failure
may be tried again. So its phase is provisional. The controller's judgement is the condition `Finalized`, written in
the same patch as the definitive phase; everybody who asks how a step ended asks here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bobrapet.api.conditions import find_condition
from bobrapet.api.enums import Phase

if TYPE_CHECKING:
    from bobrapet.api import StepRun

FINALIZED: Final = "Finalized"
"""Condition type; the reason is the phase, the message names the attempt."""


def final_phase(step: StepRun) -> Phase | None:
    """The phase that the controller gave the step at its end; None while it goes on, whatever its component says."""
    mark = find_condition(step.status.conditions, FINALIZED)
    if mark is None or mark.status != "True":
        return None
    return Phase(mark.reason)


def has_succeeded(step: StepRun) -> bool:
    return final_phase(step) is Phase.SUCCEEDED
