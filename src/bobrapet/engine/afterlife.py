"""What happens to a run that has ended: its children go first, then the run itself (spec runs 20.3, 20.4).

A run needs no finalizer of ours: everything it makes is owned by it and collected with it. One that is there all the
same (set by another operator) is let go when the children are gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from bobrapet.api import StepRun, labels
from bobrapet.api.enums import Phase
from bobrapet.api.names import compose
from bobrapet.api.timestamps import format_time
from bobrapet.engine import settings
from bobrapet.engine.ending import ending_of
from bobrapet.engine.launch import is_owned
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.plans import Annotate, Delete, RunPlan
from bobrapet.engine.reasons import Ended, Wake
from bobrapet.engine.states import moment
from bobrapet.engine.status import RunStatus

if TYPE_CHECKING:
    from bobrapet.api import StepState, StoryRun
    from bobrapet.engine.snapshot import RunSnapshot


def after_the_end(snapshot: RunSnapshot, now: datetime) -> RunPlan:
    """Ends what still runs, deletes children after their time to live, and the run after its retention."""
    run = snapshot.run
    phase = run.status.phase
    assert phase is not None
    finished = moment(run.status.finished_at)
    reasons = {name: Ended(state.phase, state.message or "") for name, state in run.status.step_states.items()}
    summary = run.status.message or ""
    if finished is None:
        status = RunStatus(run, now)
        status.phase(phase, summary, reason=_ready_reason(run))
        return RunPlan(status=status.patch(), reasons=reasons, summary=summary)
    wakes: list[Wake] = []
    cancels: list[Annotate] = []
    deletes: list[Delete] = []
    for child in _left_running(snapshot):
        state = _state_of(child, run)
        asked = (moment(state.finished_at) if state is not None else None) or finished
        until = asked + settings.grace(snapshot.config, snapshot.story)
        end = ending_of(child, delete=now >= until)
        if isinstance(end, Delete):
            deletes.append(end)
        elif end is not None:
            cancels.append(end)
        if now < until:
            wakes.append(Wake(until, f"StepRun {child.metadata.name} is cut off"))
    status = RunStatus(run, now)
    delete_run = False
    remaining = list(_children(snapshot))
    if run.status.children_cleaned_at is None or remaining:  # a cache may show a child after it was said to be gone
        expiry = finished + settings.child_ttl(snapshot.config, snapshot.story)
        if now < expiry:
            wakes.append(Wake(expiry, "its StepRuns are deleted"))
        else:
            known = {delete.name for delete in deletes}
            deletes += [
                Delete(rest.KIND, rest.metadata.name or "", rest.metadata.uid)
                for rest in remaining
                if rest.metadata.name not in known and not rest.metadata.deletion_timestamp and _may_go(rest)
            ]
            if not remaining:
                status.keep("childrenCleanedAt", format_time(now))
    if not remaining:
        retention = settings.retention(snapshot.config, snapshot.story)
        if retention is not None:
            expiry = finished + retention
            delete_run = now >= expiry
            if not delete_run:
                wakes.append(Wake(expiry, "the run is deleted"))
    if delete_run:
        return RunPlan(confirm=not snapshot.authoritative, delete_run=True, reasons=reasons, summary=summary)
    return RunPlan(
        # An old copy of the run may show the end of the attempt before a redrive: what goes on is of the next one.
        confirm=bool(deletes or cancels) and not snapshot.authoritative,
        status=status.patch(),
        cancels=tuple(cancels),
        deletes=tuple(deletes),
        wakes=tuple(sorted(wakes)),
        reasons=reasons,
        summary=summary,
    )


def deletion(snapshot: RunSnapshot, now: datetime) -> RunPlan:
    """A run that is being deleted: without our finalizer the garbage collector does everything."""
    run = snapshot.run
    if labels.STORYRUN_FINALIZER not in run.metadata.finalizers:
        return RunPlan(summary="is being deleted")
    remaining = list(_children(snapshot))
    if remaining:
        deletes = tuple(
            Delete(child.KIND, child.metadata.name or "", child.metadata.uid)
            for child in remaining
            if not child.metadata.deletion_timestamp
        )
        return RunPlan(deletes=deletes, summary="is being deleted")
    if not snapshot.authoritative:
        return RunPlan(confirm=True, summary="is being deleted")
    kept = [name for name in run.metadata.finalizers if name != labels.STORYRUN_FINALIZER]
    return RunPlan(metadata={"metadata": {"finalizers": kept or None}}, summary="is being deleted")


def _children(snapshot: RunSnapshot) -> Iterator[StepRun | StoryRun]:
    """What the run made and owns, by uid (B-38)."""
    for steprun in snapshot.steps.values():
        if is_owned(steprun, snapshot.run):
            yield steprun
    for child in snapshot.children.values():
        if is_owned(child, snapshot.run):
            yield child


def _may_go(child: StepRun | StoryRun) -> bool:
    """A child run that nobody waited for is not cut off: its parent stays until it has ended."""
    return child.KIND != "StoryRun" or (child.status.phase is not None and child.status.phase.is_terminal)


def live_children(snapshot: RunSnapshot) -> Iterator[StepRun | StoryRun]:
    """What the run made and what goes on."""
    for steprun in snapshot.steps.values():
        if is_owned(steprun, snapshot.run) and final_phase(steprun) is None:
            yield steprun
    for child in snapshot.children.values():
        if is_owned(child, snapshot.run) and not _may_go(child):
            yield child


def _left_running(snapshot: RunSnapshot) -> Iterator[StepRun | StoryRun]:
    """What goes on although its run has ended; a child run that nobody waited for has every right to."""
    for child in live_children(snapshot):
        if isinstance(child, StepRun) or not _was_left_alone(child, snapshot.run):
            yield child


def _was_left_alone(child: StoryRun, run: StoryRun) -> bool:
    """Whether a child run belongs to a step that succeeded by starting it."""
    state = _state_of(child, run)
    return state is None or state.phase is Phase.SUCCEEDED


def _state_of(child: StepRun | StoryRun, run: StoryRun) -> StepState | None:
    """The state of the step that a child belongs to."""
    states = run.status.step_states
    if isinstance(child, StepRun):
        return states.get(child.spec.step_id)
    name = child.metadata.name or ""
    return next(
        (
            state
            for step, state in states.items()
            if name in (state.sub_story_run_name, compose(run.metadata.name or "", step))
        ),
        None,
    )


def _ready_reason(run: StoryRun) -> str:
    return next((condition.reason for condition in run.status.conditions if condition.type == "Ready"), "")
