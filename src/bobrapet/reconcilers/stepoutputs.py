"""The log of finished steps' outputs, which `debug.enable-step-output-logging` switches on (spec admission C3).

It says how large an output is and how its keys are called, never a value: an output may hold anything.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bobrapet.api.enums import Phase
from bobrapet.engine.plans import StepPlan
from bobrapet.engine.snapshot import StepSnapshot
from bobrapet.reconcilers.metrics import entered_phase
from bobrapet.runtime.log.log import get_logger

MAX_KEYS: Final = 32
"""Keys that one line lists; it says how many there are."""
MAX_KEY_LENGTH: Final = 64

log = get_logger("steprun")


def log_output(snapshot: StepSnapshot, plan: StepPlan) -> None:
    """Logs the output of a step that the applied plan ended. Nothing for any other plan, or when it is not wanted."""
    if not snapshot.config.debug.enable_step_output_logging or plan.status is None:
        return
    step, patch = snapshot.step, plan.status.get("status") or {}
    phase = entered_phase(step, patch)
    if not phase or not Phase(phase).is_terminal:
        return
    output: Any = patch.get("output", step.status.output)
    keys = sorted(output) if isinstance(output, dict) else []
    log.info(
        "step output",
        steprun=step.metadata.name,
        namespace=step.metadata.namespace,
        storyrun=step.spec.story_run_ref.name,
        step=step.spec.step_id,
        phase=phase,
        sizeBytes=len(msgspec.json.encode(output)) if output is not None else 0,
        keyCount=len(keys),
        keys=[key[:MAX_KEY_LENGTH] for key in keys[:MAX_KEYS]],
    )
