"""What `bobrapet explain` tells about a run: the plan that the engine would act on, put in order for people. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bobrapet.api.timestamps import format_time
from bobrapet.engine.graph import graph_of
from bobrapet.engine.launch import is_owned, steprun_name
from bobrapet.engine.outcome import final_phase
from bobrapet.engine.reasons import AwaitsRun, Ended, Runs, Starting, Wake
from bobrapet.engine.states import moment
from bobrapet.engine.status import rounded_duration

if TYPE_CHECKING:
    from bobrapet.api import StepRun
    from bobrapet.engine.plans import RunPlan, StepPlan
    from bobrapet.engine.reasons import Reason
    from bobrapet.engine.snapshot import RunSnapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLine:
    """Where one step or branch is, and why."""

    name: str
    """The step, or `parallel/branch`."""
    block: str
    """`steps`, `compensations` or `finally`."""
    phase: str
    """As recorded; empty before it began."""
    reason: str
    """The engine's word: the class of its reason."""
    why: str
    since: datetime | None
    """When it began to run or wait."""
    until: datetime | None
    on: tuple[str, ...]
    """The steps or run that it waits for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """A run at one moment."""

    namespace: str
    name: str
    story: str
    phase: str
    attempts: int
    now: datetime
    started: datetime | None
    finished: datetime | None
    summary: str
    steps: tuple[StepLine, ...]
    does: tuple[str, ...]
    """What the operator does as soon as it looks."""
    next: tuple[Wake, ...]
    """What time alone will change, the next thing first."""


def explain(snapshot: RunSnapshot, plan: RunPlan, step_plans: Mapping[str, StepPlan], now: datetime) -> Explanation:
    """Puts plans into words.

    Args:
        step_plans: what `engine.steprun.plan` says about StepRuns that go on, by name.
    """
    run = snapshot.run
    wakes = set(plan.wakes)
    lines = []
    for key, reason in plan.reasons.items():
        name, _, branch = key.partition("/")
        child = snapshot.steps.get(steprun_name(run, branch or name, name if branch else ""))
        own = step_plans.get(child.metadata.name or "") if child is not None else None
        if own is not None:
            wakes |= _step_wakes(key, own)
            if own.reason is not None and not isinstance(own.reason, Starting):
                reason = own.reason
        lines.append(_line(snapshot, key, reason, child))
    status = run.status
    return Explanation(
        namespace=run.metadata.namespace or "",
        name=run.metadata.name or "",
        story=run.spec.story_ref.key(run.metadata.namespace),
        phase=status.phase.value if status.phase is not None else "",
        attempts=status.attempts or 0,
        now=now,
        started=moment(status.started_at),
        finished=moment(status.finished_at),
        summary=plan.summary or status.message or "",
        steps=tuple(lines),
        does=tuple(_does(plan, step_plans)),
        next=tuple(sorted(wakes)),
    )


def ongoing(snapshot: RunSnapshot) -> Iterator[StepRun]:
    """The StepRuns of a run that go on."""
    for steprun in snapshot.steps.values():
        if is_owned(steprun, snapshot.run) and final_phase(steprun) is None:
            yield steprun


def _line(snapshot: RunSnapshot, key: str, reason: Reason, child: StepRun | None) -> StepLine:
    run = snapshot.run
    name, _, branch = key.partition("/")
    state = run.status.step_states.get(name) if not branch else None
    node = graph_of(snapshot.story).nodes.get(name) if snapshot.story is not None else None
    phase = state.phase.value if state is not None else ""
    since = moment(state.started_at) if state is not None else None
    if branch and child is not None:
        phase = child.status.phase.value if child.status.phase is not None else ""
        since = moment(child.status.started_at)
    if since is None and not branch and not isinstance(reason, Ended):
        since = moment(run.status.started_at)
    if isinstance(reason, Ended):
        phase = reason.phase.value
    on = getattr(reason, "on", None) or getattr(reason, "open", None) or ()
    if isinstance(reason, AwaitsRun):
        on = (reason.run,)
    return StepLine(
        name=key,
        block=node.block.value if node is not None else "steps",
        phase=phase,
        reason=type(reason).__name__,
        why=str(reason),
        since=since,
        until=getattr(reason, "until", None) or getattr(reason, "at", None),
        on=tuple(on),
    )


def _step_wakes(name: str, plan: StepPlan) -> set[Wake]:
    if plan.wake_at is None:
        return set()
    match plan.reason:
        case Runs() | Starting():
            what = f"step {name} times out"
        case Ended():
            what = f"what is left of step {name} is deleted"
        case None:
            what = f"step {name} is looked at again"
        case reason:
            what = f"step {name}: {re.sub(r' until [0-9:]+| at [0-9:]+', '', str(reason), count=1)} no longer"
            what = _NO_LONGER.get(type(reason).__name__, what).format(name=name)
    return {Wake(plan.wake_at, what)}


_NO_LONGER = {
    "Retries": "step {name} is tried again",
    "Stops": "step {name} is cut off",
    "WaitsForReference": "step {name} fails without what it waits for",
}


def _does(plan: RunPlan, step_plans: Mapping[str, StepPlan]) -> Iterator[str]:
    """The writes of the plans, as sentence parts."""
    for start in plan.starts:
        yield f"create StepRun {start.metadata.name}"
    for child in plan.children:
        yield f"create StoryRun {child.metadata.name}"
    for cancel in plan.cancels:
        yield f"ask {cancel.kind} {cancel.name} to end"
    for delete in plan.deletes:
        yield f"delete {delete.kind} {delete.name}"
    for name, own in step_plans.items():
        if own.start is not None:
            yield f"create Job {name} (attempt {own.start.attempt + 1})"
        for delete in own.deletes:
            yield f"delete {delete.kind} {delete.name}"
    if plan.delete_run:
        yield "delete the run"
    phase = ((plan.status or {}).get("status") or {}).get("phase")
    if phase:
        yield f"set the run to {phase}"


def to_json(found: Explanation) -> dict[str, Any]:
    """For programs; absent members are left out."""
    return _compact(
        {
            "storyRun": {"namespace": found.namespace, "name": found.name},
            "story": found.story,
            "phase": found.phase,
            "attempts": found.attempts or None,
            "at": format_time(found.now),
            "startedAt": _time(found.started),
            "finishedAt": _time(found.finished),
            "summary": found.summary,
            "steps": [
                _compact(
                    {
                        "name": line.name,
                        "block": line.block,
                        "phase": line.phase,
                        "reason": line.reason,
                        "message": line.why,
                        "since": _time(line.since),
                        "until": _time(line.until),
                        "on": list(line.on),
                    }
                )
                for line in found.steps
            ],
            "does": list(found.does),
            "next": [{"at": format_time(wake.at), "what": wake.what} for wake in found.next],
        }
    )


def to_text(found: Explanation) -> str:
    """For people."""
    return "\n".join(_text(found)) + "\n"


MAX_NEXT = 10


def _text(found: Explanation) -> Iterator[str]:
    yield f"StoryRun {found.namespace}/{found.name} of Story {found.story}: {found.phase or 'not begun'}{_times(found)}"
    if found.summary and found.summary != found.phase:
        yield f"  {found.summary}"
    if found.steps:
        yield ""
        width = max(len(line.name) for line in found.steps) + 2
        for line in found.steps:
            name = line.name if "/" not in line.name else f"  {line.name.partition('/')[2]}"
            age = ""
            if line.since is not None and line.reason not in ("Ended", "Starting"):
                age = f" ({_span(found.now - line.since)})"
            block = "" if line.block == "steps" else f" [{line.block}]"
            yield f"  {_mark(line)} {name:<{width}}{line.why}{age}{block}"
    if found.does:
        yield ""
        yield "As soon as the operator looks:"
        yield from (f"  {what}" for what in found.does[:MAX_NEXT])
        if len(found.does) > MAX_NEXT:
            yield f"  and {len(found.does) - MAX_NEXT} more writes"
    yield ""
    if not found.next:
        yield "No clock decides: it goes on when a step, a person or another run does something."
        if found.finished is not None:
            yield "The run has ended and is kept."
        return
    yield "Next by the clock (UTC):"
    for wake in found.next[:MAX_NEXT]:
        yield f"  {_moment(wake.at, found.now)}  {wake.what}"
    if len(found.next) > MAX_NEXT:
        yield f"  and {len(found.next) - MAX_NEXT} more"


def _mark(line: StepLine) -> str:
    if line.reason == "Ended":
        return {"Succeeded": "+", "Skipped": "-"}.get(line.phase, "x")
    return _MARKS.get(line.reason, ".")


_MARKS = {
    "Runs": ">",
    "Starting": ">",
    "Retries": "!",
    "Stops": "!",
    "WaitsForReference": "!",
    "AwaitsDecision": "?",
    "AwaitsCondition": "?",
    "AwaitsRun": ">",
    "AwaitsBranches": ">",
    "Sleeps": ">",
    "Queued": "=",
}


def _times(found: Explanation) -> str:
    if found.started is None:
        return ""
    attempt = f", attempt {found.attempts}" if found.attempts > 1 else ""
    if found.finished is not None:
        return f" after {_span(found.finished - found.started)}{attempt}, {_span(found.now - found.finished)} ago"
    return f" for {_span(found.now - found.started)}{attempt}"


def _moment(at: datetime, now: datetime) -> str:
    day = f"{at:%Y-%m-%d} " if at.date() != now.date() else ""
    left = f"in {_span(at - now)}" if at > now else "due"
    return f"{day}{at:%H:%M:%S} ({left})"


def _span(span: timedelta) -> str:
    return rounded_duration(span)


def _time(time: datetime | None) -> str | None:
    return format_time(time) if time is not None else None


def _compact(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value not in (None, "", [], ())}
