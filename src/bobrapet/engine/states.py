"""The state of a step inside a run: what `status.stepStates` records, and how it may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bobrapet.api.conditions import shorten
from bobrapet.api.enums import Phase, StepType
from bobrapet.api.timestamps import format_deadline, parse_time

if TYPE_CHECKING:
    from bobrapet.api import StepState

FAILED_PHASES: Final = frozenset(
    {Phase.FAILED, Phase.TIMEOUT, Phase.FINISHED, Phase.CANCELED, Phase.ABORTED, Phase.COMPENSATED}
)

QUEUE_REASONS: Final = frozenset({"StoryConcurrency", "QueueConcurrency", "GlobalConcurrency", "Priority"})

IDENTITY_REFUSED: Final = "IdentityRefused"
"""Reason of a step that may start, but whose account somebody else's object keeps from being made."""


@dataclass(frozen=True, slots=True)
class State:
    """Where one step stands. A step without a state has not begun."""

    phase: Phase
    message: str = ""
    reason: str = ""
    """One word; of a queued step, the limit that holds it."""
    started_at: datetime | None = None
    """When it got its first phase; of a queued or waiting step, since when it waits."""
    finished_at: datetime | None = None
    until: datetime | None = None
    child: str = ""
    """The StoryRun that an executeStory step started."""
    attempt: int = 1
    """The attempt of the run in which the step began; what it started bears the same number (`attempts`)."""

    @property
    def is_terminal(self) -> bool:
        return self.phase.is_terminal

    @property
    def is_failed(self) -> bool:
        """Ended, and neither Succeeded nor Skipped."""
        return self.phase in FAILED_PHASES

    @property
    def is_queued(self) -> bool:
        """Waits for a slot: as a whole, or with branches of a parallel step that runs already."""
        return not self.is_terminal and self.reason in QUEUE_REASONS

    @property
    def is_held(self) -> bool:
        """Queued, or kept from starting for want of its account."""
        return self.is_queued or (not self.is_terminal and self.reason == IDENTITY_REFUSED)

    @property
    def is_unstarted(self) -> bool:
        """Pending: ready, but held by a limit or by a reference that is missing."""
        return self.phase is Phase.PENDING

    def served(self) -> State:
        """The same state, without the word that something of the step stands in line."""
        return replace(self, message="", reason="")

    def ended(self, phase: Phase, message: str = "", reason: str = "", *, at: datetime) -> State:
        """This step at its end."""
        return replace(
            self,
            phase=phase,
            message=message,
            reason=reason,
            started_at=self.started_at or at,
            finished_at=at,
            until=None,
        )

    def to_wire(self, message_limit: int) -> dict[str, Any]:
        """The state as it is recorded, its message cut to `message_limit` characters."""
        wire: dict[str, Any] = {"phase": self.phase.value}
        texts = {"message": shorten(self.message, message_limit), "reason": self.reason, "subStoryRunName": self.child}
        times = {"startedAt": self.started_at, "finishedAt": self.finished_at, "until": self.until}
        wire |= {name: text for name, text in texts.items() if text}
        wire |= {name: format_deadline(time) for name, time in times.items() if time is not None}
        if self.attempt > 1:
            wire["attempt"] = self.attempt
        return wire


def from_api(state: StepState) -> State:
    return State(
        phase=state.phase,
        message=state.message or "",
        reason=state.reason or "",
        started_at=moment(state.started_at),
        finished_at=moment(state.finished_at),
        until=moment(state.until),
        child=state.sub_story_run_name or "",
        attempt=state.attempt or 1,
    )


TIMERS: Final = {StepType.SLEEP: "sleepUntil", StepType.WAIT: "waitTimeoutAt", StepType.GATE: "gateTimeoutAt"}
"""Kind of step -> the name of its deadline in the annotation."""


def timers(kinds: Mapping[str, StepType | None], states: Mapping[str, State]) -> str | None:
    """The annotation that shows the deadlines of steps that go on; None: there are none (runs 9.4).

    A copy for people, and for the Go operator should it take over: what counts here are the states.
    """
    found = {
        name: {TIMERS[kind]: format_deadline(state.until)}
        for name, state in states.items()
        if state.until is not None
        and not state.is_terminal
        and (kind := kinds.get(name)) in TIMERS
        and kind is not None
    }
    return msgspec.json.encode(found, order="sorted").decode() if found else None


def recorded_timers(annotation: str | None) -> dict[str, datetime]:
    """Step -> the deadline that the Go operator keeps in an annotation of the run, not with the state (runs 9.4).

    What cannot be read is left out: its timer starts anew.
    """
    if not annotation:
        return {}
    try:
        entries = msgspec.json.decode(annotation, type=dict[str, dict[str, str | None]])
        return {
            step: parse_time(text)
            for step, entry in entries.items()
            for name in TIMERS.values()
            if (text := entry.get(name))
        }
    except (msgspec.MsgspecError, ValueError):
        return {}


def moment(text: str | None) -> datetime | None:
    """A time of a status; None when it is absent."""
    return parse_time(text) if text else None
