"""From the objects of a run to what a person is shown of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api.names import compose
from bobrapet.api.timestamps import parse_time
from bobrapet.cli.progress import RunView, StepView

if TYPE_CHECKING:
    from bobrapet.api import Step, StepRun, Story, StoryRun
    from bobrapet.engine.reasons import Reason

_QUIET: Final = frozenset({"Succeeded", "Running"})
_ENDED: Final = frozenset({"Skipped", "Failed", "Finished", "Canceled", "Compensated", "Timeout", "Aborted"})


def run_view(
    run: StoryRun, story: Story | None, steps: Mapping[str, StepRun], reasons: Mapping[str, Reason]
) -> RunView:
    """The view of a run; `steps` are its StepRuns by name, `reasons` the engine's own (`RunPlan.reasons`)."""
    status = run.status
    states = (status.step_states if status else None) or {}
    shown: list[StepView] = []
    for step, parent in _declared(story):
        name = f"{parent}/{step.name}" if parent else step.name
        state = states.get(step.name) if not parent else None
        child = steps.get(compose(run.metadata.name or "", *([parent] if parent else []), step.name))
        child_status = child.status if child else None
        phase = (
            state.phase.value if state else (child_status.phase.value if child_status and child_status.phase else "")
        )
        shown.append(
            StepView(
                name=step.name,
                phase=phase or "Waiting",
                note=_note(phase, reasons.get(name) or reasons.get(step.name), state.message if state else None),
                started=_time(state.started_at if state else child_status.started_at if child_status else None),
                finished=_time(state.finished_at if state else child_status.finished_at if child_status else None),
                retries=(child_status.retries or 0) if child_status else 0,
                depth=1 if parent else 0,
                progress=_progress(child) if phase == "Running" else "",
            )
        )
    phase = status.phase.value if status and status.phase else ""
    note = (status.message or "") if status and phase not in _QUIET else ""
    return RunView(
        name=run.metadata.name or "",
        phase=phase or "Pending",
        steps=tuple(shown),
        note=note,
        started=_time(status.started_at if status else None),
        finished=_time(status.finished_at if status else None),
    )


def _declared(story: Story | None) -> Iterator[tuple[Step, str]]:
    """Every step in declaration order with the parallel step above it, if any."""
    if story is None:
        return
    spec = story.spec
    for step in (*(spec.steps or ()), *(spec.compensations or ()), *(spec.finally_ or ())):
        yield step, ""
        for branch in _branches(step):
            yield branch, step.name


def _branches(step: Step) -> Iterator[Step]:
    from bobrapet.api import Step as StepModel

    if step.type is None or step.type.value != "parallel" or not isinstance(step.with_, dict):
        return
    branches: Any = step.with_.get("steps")
    for branch in branches if isinstance(branches, list) else ():
        if isinstance(branch, dict) and isinstance(branch.get("name"), str):
            yield StepModel.model_validate(branch)


def _note(phase: str, reason: Reason | None, message: str | None) -> str:
    """What stands behind a step: the engine's reason where it waits, the message where it went wrong."""
    from bobrapet.engine.reasons import Ended, Runs, Starting

    if phase == "Succeeded":
        return ""
    if phase in _ENDED:
        return message or ""
    match reason:
        case None:
            return message or ""
        case Starting() | Ended():  # ended as the engine knows already, but the status does not show it yet
            return ""
        case Runs(note=note):
            return note
        case _:
            return str(reason)


def _progress(child: StepRun | None) -> str:
    """The signal `progress` of a component (`ctx.progress` of the SDK): `30 of 120 (25 %) pages`."""
    signal = (child.status.signals or {}).get("progress") if child and child.status else None
    told = signal.get("sample") if isinstance(signal, dict) else None
    if not isinstance(told, dict):
        return ""
    done, total, fraction, message = (told.get(key) for key in ("done", "total", "fraction", "message"))
    parts = []
    if isinstance(done, int | float) and isinstance(total, int | float):
        parts.append(f"{done:g} of {total:g}")
    if isinstance(fraction, int | float):
        parts.append(f"({fraction:.0%})" if parts else f"{fraction:.0%}")
    return " ".join([*parts, message] if isinstance(message, str) else parts)


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
