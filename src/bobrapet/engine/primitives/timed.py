"""sleep, gate, wait, stop: steps that a clock, a person or a condition decides (spec runs 12.4, 12.5, 12.7, 12.8).

A deadline is computed when the step begins and recorded with it (`State.until`), so that neither a restart nor an
edit of the Story moves it. What is decided counts before what has run out of time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bobrapet.api import duration
from bobrapet.api.enums import GateDecisionState, Phase
from bobrapet.engine.evaluation import Failed, Needs
from bobrapet.engine.reasons import AwaitsCondition, AwaitsDecision, Reason, Sleeps, Wake
from bobrapet.engine.states import State

if TYPE_CHECKING:
    from bobrapet.api import GateStatus
    from bobrapet.api import Step as StepSpec

POLL: Final = timedelta(seconds=5)
"""How often a wait without pollInterval looks again; a signal or another event makes it look at once."""

MIN_POLL: Final = timedelta(milliseconds=10)

Condition = Callable[[], bool | Failed | Needs]


@dataclass(frozen=True, slots=True)
class Step:
    """What became of a step: its state, why, and when to look again."""

    state: State
    reason: Reason | None = None
    wake: Wake | None = None
    loads: tuple[Mapping[str, Any], ...] = ()


def sleep(step: StepSpec, now: datetime) -> Step:
    """Begins a sleep."""
    text = _text(step, "duration")
    begun = State(Phase.PAUSED, started_at=now)
    if not text:
        return Step(begun.ended(Phase.SUCCEEDED, at=now))
    span = _span(text)
    if span is None or span <= timedelta(0):
        return _invalid(begun, f'with.duration must be a duration above 0, not "{text}"', now)
    return sleeping(step, replace(begun, until=now + span), now)


def sleeping(step: StepSpec, state: State, now: datetime) -> Step:
    """Goes on sleeping, or wakes. A deadline that was not recorded is the one that the start of the step gives."""
    span = _span(_text(step, "duration"))
    if state.until is None and state.started_at is not None and span is not None:
        state = replace(state, until=state.started_at + span)
    if state.until is None or now >= state.until:
        return Step(state.ended(Phase.SUCCEEDED, at=now))
    return Step(state, Sleeps(state.until), Wake(state.until, f"step {step.name} wakes"))


STOP_PHASES: Final = {
    "": Phase.SUCCEEDED,
    "Succeeded": Phase.SUCCEEDED,
    "success": Phase.SUCCEEDED,
    "Failed": Phase.FAILED,
    "failure": Phase.FAILED,
    "Finished": Phase.FINISHED,
    "Canceled": Phase.CANCELED,
    "cancel": Phase.FINISHED,
}


def stop_phase(step: StepSpec) -> Phase | None:
    """The phase that a stop step gives the run; None when it names one that no stop can give."""
    return STOP_PHASES.get(_text(step, "phase") or _text(step, "mode"))


def stop(step: StepSpec, now: datetime) -> Step:
    """Reaches a stop: it succeeds, and the run begins to end."""
    begun = State(Phase.RUNNING, started_at=now)
    if _text(step, "phase") and _text(step, "mode"):
        return _invalid(begun, "with.phase and with.mode are two names of one thing; set one", now)
    if stop_phase(step) is None:
        named = _text(step, "phase") or _text(step, "mode")
        return _invalid(begun, f'with.phase "{named}" is none of Succeeded, Failed, Finished, Canceled', now)
    return Step(begun.ended(Phase.SUCCEEDED, _text(step, "message"), at=now))


def gate(step: StepSpec, decision: GateStatus | None, default: timedelta | None, now: datetime) -> Step:
    """Reaches a gate. A decision that is already there applies at once."""
    return _begin(step, default, now, lambda state: gated(step, state, decision, now))


def gated(step: StepSpec, state: State, decision: GateStatus | None, now: datetime) -> Step:
    """A gate that was reached: decided, out of time, or still waiting for somebody."""
    match decision.state if decision is not None else None:
        case GateDecisionState.APPROVED:
            return Step(state.ended(Phase.SUCCEEDED, (decision.message if decision else "") or "", at=now))
        case GateDecisionState.REJECTED:
            message = (decision.message if decision else "") or "rejected"
            return Step(state.ended(Phase.FAILED, message, "Rejected", at=now))
    if state.until is not None and now >= state.until:
        return _out_of_time(step, state, "nobody decided in time", now)
    return Step(state, AwaitsDecision(step.name, state.until), _timeout(step, state))


def wait(step: StepSpec, condition: Condition, default: timedelta | None, now: datetime) -> Step:
    """Reaches a wait."""
    if not _text(step, "until"):
        return _invalid(State(Phase.PAUSED, started_at=now), "with.until is required: a template that gives true", now)
    poll = _text(step, "pollInterval")
    if poll and ((span := _span(poll)) is None or span < MIN_POLL):
        return _invalid(
            State(Phase.PAUSED, started_at=now), f'with.pollInterval must be 10ms or more, not "{poll}"', now
        )
    return _begin(step, default, now, lambda state: waiting(step, state, condition(), now))


def waiting(step: StepSpec, state: State, verdict: bool | Failed | Needs, now: datetime) -> Step:
    """A wait that was reached: its condition holds, its time is up, or it looks again."""
    if verdict is True:
        return Step(state.ended(Phase.SUCCEEDED, at=now))
    if isinstance(verdict, Failed) and verdict.is_final:
        return Step(state.ended(Phase.FAILED, f"with.until: {verdict.message}", "ExpressionFailed", at=now))
    if state.until is not None and now >= state.until:
        return _out_of_time(step, state, "the condition did not become true in time", now)
    error = verdict.message if isinstance(verdict, Failed) else ""
    again = now + (_span(_text(step, "pollInterval")) or POLL)
    poll = Wake(again, f"step {step.name} checks its condition again")
    wake = min(poll, _timeout(step, state) or poll)
    loads = verdict.references if isinstance(verdict, Needs) else ()
    return Step(replace(state, message=error), AwaitsCondition(state.until, error), wake, loads)


def _begin(step: StepSpec, default: timedelta | None, now: datetime, then: Callable[[State], Step]) -> Step:
    begun = State(Phase.PAUSED, started_at=now)
    text = _text(step, "timeout")
    span = _span(text) if text else default
    if text and (span is None or span <= timedelta(0)):
        return _invalid(begun, f'with.timeout must be a duration above 0, not "{text}"', now)
    if _on_timeout(step) is None:
        return _invalid(begun, f'with.onTimeout must be fail or skip, not "{_text(step, "onTimeout")}"', now)
    return then(replace(begun, until=now + span if span is not None else None))


def _timeout(step: StepSpec, state: State) -> Wake | None:
    end = "is skipped" if _on_timeout(step) == "skip" else "times out"
    return Wake(state.until, f"step {step.name} {end}") if state.until is not None else None


def _out_of_time(step: StepSpec, state: State, message: str, now: datetime) -> Step:
    phase = Phase.SKIPPED if _on_timeout(step) == "skip" else Phase.TIMEOUT
    return Step(state.ended(phase, message, "TimedOut", at=now))


def _on_timeout(step: StepSpec) -> str | None:
    word = _text(step, "onTimeout").lower() or "fail"
    return word if word in ("fail", "skip") else None


def _invalid(state: State, message: str, now: datetime) -> Step:
    return Step(state.ended(Phase.FAILED, message, "InvalidConfiguration", at=now))


def _text(step: StepSpec, name: str) -> str:
    value = (step.with_ or {}).get(name)
    return "" if value is None else str(value).strip()


def _span(text: str) -> timedelta | None:
    try:
        return duration.to_timedelta(text) if text else None
    except duration.DurationError:
        return None
